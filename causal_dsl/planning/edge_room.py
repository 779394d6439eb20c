"""The memory of a pass with interventions on edges: what senders change in the stream is kept for later receivers, and the sums of
several receivers are begun together."""

from __future__ import annotations

from causal_dsl.planning.memory import Budget
from causal_dsl.vocabulary.network_facts import Facts

#: How many bytes the terms of the senders may take that are kept for later receivers; all others are made again for each layer.
KEPT = 1 << 29
#: How many heads and other senders are in one block.
TOGETHER = 64
#: For how many groups of receivers sums are begun together.
AHEAD = 64
#: How many bytes receivers of one layer that run together may be given: what a processor's cache holds.
RUN_TOGETHER = 1 << 21
#: So many tokens are run together, whatever is kept of them.
LEAST_TOKENS = 256


def senders_of(facts: Facts) -> int:
    """How many senders a network has: the embedding, heads and MLPs."""
    return 1 + (facts.layers or 1) * ((facts.heads or 1) + 1)


def kept_bytes(budget: Budget, most: int = KEPT) -> int:
    """How many bytes the terms may take within a budget."""
    return min(most, budget.bytes // 4)


def weights_kept(kept: int) -> int:
    """How many bytes the projections may take that are kept with the weight of the norm before them."""
    return kept // 4


def edge_tokens(facts: Facts, budget: Budget, most: int = KEPT) -> int:
    """How many tokens run together: those whose senders' terms are all kept, if they are no less than a few."""
    each = (senders_of(facts) + TOGETHER) * (facts.width or 1) * budget.size
    return max(kept_bytes(budget, most) // each, LEAST_TOKENS)


def edge_room(facts: Facts, budget: Budget, tokens: float) -> list[float]:
    """The numbers that a pass holds beside its layers, where so many tokens are intervened on: terms, sums of receivers, and projections."""
    tokens = min(tokens, edge_tokens(facts, budget))
    term = tokens * (facts.width or 1)
    heads = (facts.heads or 1) + 2 * (facts.kv_heads or facts.heads or 1)
    projections = (facts.layers or 1) * heads * (facts.head_dim or 1) * (facts.width or 1)
    return [
        min(max(senders_of(facts), TOGETHER) * term, max(kept_bytes(budget) / budget.size, TOGETHER * term)),
        AHEAD * term,
        min(weights_kept(kept_bytes(budget)) / budget.size, projections),
    ]


__all__ = [
    "AHEAD",
    "KEPT",
    "LEAST_TOKENS",
    "RUN_TOGETHER",
    "TOGETHER",
    "edge_room",
    "edge_tokens",
    "kept_bytes",
    "senders_of",
    "weights_kept",
]
