"""All interventions of all tests and cells on a network ride in one pass: each layer's weights are met once."""

from __future__ import annotations

from dataclasses import replace

from causal_dsl.planning.lower import Plan
from causal_dsl.planning.steps import Step
from causal_dsl.program.identity import NetworkKey


def stack(plan: Plan) -> Plan:
    """One step a network."""
    merged: dict[NetworkKey, Step] = {}
    for step in plan.steps:
        known = merged.get(step.network)
        if known is None:
            merged[step.network] = step
            continue
        merged[step.network] = replace(
            known,
            forwards=tuple(dict.fromkeys((*known.forwards, *step.forwards))),
            resumes=tuple(dict.fromkeys((*known.resumes, *step.resumes))),
        )
    return replace(plan, steps=tuple(merged.values()))
