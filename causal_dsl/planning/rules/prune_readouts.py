"""At the end only what is read is computed: in a row's last layer the tokens that are read, of the unembedding the
columns that are compared. What cannot reach a read-out is not run at all."""

from __future__ import annotations

from dataclasses import replace

from causal_dsl.planning.lower import Plan


def prune_readouts(plan: Plan) -> Plan:
    """Layers run single tokens of a row, or their keys and values alone; the unembedding gives single columns."""
    steps = (s if s.why else replace(s, pruned=True, rules=replace(s.rules, thin=s.rules.trim)) for s in plan.steps)
    return replace(plan, steps=tuple(steps))
