"""A vector that several interventions take from the same token of the same run is kept once."""

from __future__ import annotations

from dataclasses import replace

from causal_dsl.planning.lower import Plan


def share_captures(plan: Plan) -> Plan:
    """Vectors are kept once in every step."""
    return replace(plan, steps=tuple(replace(step, kept_once=True) for step in plan.steps))
