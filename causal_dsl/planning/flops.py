"""Multiplications and additions of a pass, counted from its live tokens."""

from __future__ import annotations

from causal_dsl.planning.liveness import Schedule
from causal_dsl.program.facts import layout_of
from causal_dsl.vocabulary.network_facts import Facts


def flops_of(schedule: Schedule, facts: Facts, columns: int | None) -> float:
    """Multiplications and additions of one pass: layers, attention's own products, the unembedding."""
    levels = schedule.levels
    total = schedule.layer_tokens * layer_flops(facts) + schedule.key_tokens * keys_flops(facts)
    if facts.has_tokens:
        heads = (facts.heads or 0) * (facts.head_dim or 0)
        seen = [schedule.lengths[f.rows] if facts.both_ways else f.positions + 1 for f in levels[:-1]]
        looked = sum(int(tokens.sum()) for tokens in seen)
        total += 4.0 * heads * looked
        total += 2.0 * levels[-1].tokens * (facts.width or 0) * (columns or facts.outputs or 0)
    return total


def layer_flops(facts: Facts) -> float:
    """Multiplications and additions of one layer for one token, attention's own products aside."""
    if not facts.has_tokens:
        pairs = zip(facts.widths, facts.widths[1:], strict=False)
        return 2.0 * sum(a * b for a, b in pairs) / max(1, len(facts.widths) - 1)
    wide, head = facts.width or 0, facts.head_dim or 0
    heads, shared = facts.heads or 0, facts.kv_heads or 0
    record = layout_of(facts)
    maps = 2 if record is not None and not record.gated else 3
    return 2.0 * wide * (2 * heads * head + 2 * shared * head + maps * (facts.inner or facts.mlp_width or 0))


def keys_flops(facts: Facts) -> float:
    """Of one layer for one token of which only keys and values are wanted: its queries come with them."""
    head = facts.head_dim or 0
    return 2.0 * (facts.width or 0) * head * ((facts.heads or 0) + 2 * (facts.kv_heads or 0))


__all__ = ["flops_of", "keys_flops", "layer_flops"]
