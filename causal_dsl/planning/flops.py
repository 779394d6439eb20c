"""Multiplications and additions of a pass, counted from its live tokens."""

from __future__ import annotations

from causal_dsl.planning.layer_costs import costs_of
from causal_dsl.planning.liveness import Schedule
from causal_dsl.vocabulary.network_facts import Facts


def flops_of(schedule: Schedule, facts: Facts, columns: int | None) -> float:
    """Multiplications and additions of one pass: layers, attention's own products, the unembedding."""
    total = schedule.layer_tokens * layer_flops(facts) + schedule.key_tokens * keys_flops(facts)
    return total + costs_of(facts.traits).other_flops(schedule, facts, columns)


def layer_flops(facts: Facts) -> float:
    """Multiplications and additions of one layer for one token, attention's own products aside."""
    return costs_of(facts.traits).layer_flops(facts)


def keys_flops(facts: Facts) -> float:
    """Of one layer for one token of which only keys and values are wanted: its queries come with them."""
    head = facts.head_dim or 0
    return 2.0 * (facts.width or 0) * head * ((facts.heads or 0) + 2 * (facts.kv_heads or 0))


__all__ = ["flops_of", "keys_flops", "layer_flops"]
