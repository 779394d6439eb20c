"""An intervened run is its prompt's run up to its first written place: it enters the pass there."""

from __future__ import annotations

from dataclasses import replace

from causal_dsl.planning.lower import Plan


def spawn_late(plan: Plan) -> Plan:
    """Interventions enter at their first written place. The reference executor runs whole forwards."""
    steps = (s if s.why else replace(s, rules=replace(s.rules, late=True)) for s in plan.steps)
    return replace(plan, steps=tuple(steps))
