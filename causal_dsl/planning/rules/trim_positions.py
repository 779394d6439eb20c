"""Under causal attention the tokens before the first written one are the prompt's own: they are not run again."""

from __future__ import annotations

from dataclasses import replace

from causal_dsl.planning.lower import Plan
from causal_dsl.program.components import trims
from causal_dsl.program.identity import NetworkKey


def trim_positions(plan: Plan) -> Plan:
    """Rows carry the tokens that something needs, where the attention of the network can be run apart."""

    def fits(network: NetworkKey) -> bool:
        return trims(plan.inputs[network].facts) is None

    steps = (replace(s, rules=replace(s.rules, trim=True)) if fits(s.network) and not s.why else s for s in plan.steps)
    return replace(plan, steps=tuple(steps))
