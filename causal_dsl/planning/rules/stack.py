"""All interventions of all tests and cells on a network ride in one pass: each layer's weights are met once."""

from __future__ import annotations

from dataclasses import replace

from causal_dsl.planning import graph as g
from causal_dsl.planning.lower import Plan
from causal_dsl.planning.steps import Step
from causal_dsl.program.identity import NetworkKey


def stack(plan: Plan) -> Plan:
    """One step a network."""
    first: dict[NetworkKey, Step] = {}
    forwards: dict[NetworkKey, dict[g.Forward, None]] = {}
    resumes: dict[NetworkKey, dict[g.Resume, None]] = {}
    for step in plan.steps:
        first.setdefault(step.network, step)
        forwards.setdefault(step.network, {}).update(dict.fromkeys(step.forwards))
        resumes.setdefault(step.network, {}).update(dict.fromkeys(step.resumes))
    merged = [
        replace(step, forwards=tuple(forwards[name]), resumes=tuple(resumes[name])) for name, step in first.items()
    ]
    return replace(plan, steps=tuple(merged))
