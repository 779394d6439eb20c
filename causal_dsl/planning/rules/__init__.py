"""What makes a plan cheaper and changes no number: each rule a function from plan to plan, applied in this order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from causal_dsl.planning.lower import Plan
from causal_dsl.planning.rules.chunk_to_memory import chunk_to_memory
from causal_dsl.planning.rules.prune_readouts import prune_readouts
from causal_dsl.planning.rules.share_captures import share_captures
from causal_dsl.planning.rules.share_forwards import share_forwards
from causal_dsl.planning.rules.spawn_late import spawn_late
from causal_dsl.planning.rules.stack import stack
from causal_dsl.planning.rules.stop_early import stop_early
from causal_dsl.planning.rules.trim_positions import trim_positions

Rule = Callable[[Plan], Plan]

#: The rules that need nothing but the plan.
RULES: tuple[Rule, ...] = (
    stack,
    share_forwards,
    share_captures,
    stop_early,
    spawn_late,
    trim_positions,
    prune_readouts,
)


def optimise(plan: Plan, rules: Iterable[Rule] = RULES) -> Plan:
    """The plan after some rules, the one given untouched."""
    for rule in rules:
        plan = rule(plan)
    return plan


def plain(plan: Plan) -> Plan:
    """The plan as it was before any rule."""
    from causal_dsl.planning.lower import plain_steps

    why = {step.network: step.why for step in plan.steps}
    return replace(plan, steps=tuple(replace(step, why=why.get(step.network, "")) for step in plain_steps(plan)))


__all__ = ["RULES", "Rule", "chunk_to_memory", "optimise", "plain"]
