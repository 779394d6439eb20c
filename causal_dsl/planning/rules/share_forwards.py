"""Each distinct prompt runs once in a pass, whichever draws, roles, tests and cells it is in; equal pairs too."""

from __future__ import annotations

from dataclasses import replace

from causal_dsl.planning.lower import Plan


def share_forwards(plan: Plan) -> Plan:
    """Rows of prompts are shared in every step."""
    return replace(plan, steps=tuple(replace(step, shared=True) for step in plan.steps))
