"""Which tensors are alive at each stage of a layer and at the read-out, as lists of how many numbers each holds.

The stages are those of a decoder layer as transformers writes it. What enters a layer stays until it ends, for the model
and the residual addition hold it; where keys are computed for more tokens than run, it is one tensor with theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.planning.layer_costs import costs_of
from causal_dsl.planning.liveness import LiveTokens
from causal_dsl.planning.memory import MOST_LOGITS_CPU, Budget, taken
from causal_dsl.program.facts import layout_of
from causal_dsl.vocabulary.network_facts import Facts

#: How many inner vectors of a token the activations of transformers hold at once, with the one that they are given; 2 of
#: those that are one operation of torch. ``tests/planning/test_peaks.py`` counts each.
AT_ONCE = {
    **dict.fromkeys(("gelu_10", "quick_gelu", "relu2", "sqrtsoftplus"), 3),
    **dict.fromkeys(("gelu_new", "gelu_python", "gelu_python_tanh", "gelu_accurate", "laplace"), 4),
    **dict.fromkeys(("gelu_fast", "xielu"), 5),
}


@dataclass(frozen=True)
class PeakHeld:
    """The bytes of all tensors that are alive, and those that a process takes for them."""

    tensors: float
    taken: float


def held(numbers: Sequence[float], share: float, budget: Budget) -> PeakHeld:
    """Tensors of so many numbers each, ``share`` times as many of them in truth."""
    tensors = sum(numbers) * share * budget.size
    return PeakHeld(tensors, taken(tensors, budget.on_cpu))


def layer_stages(
    live: LiveTokens, following: LiveTokens, facts: Facts, budget: Budget, share: float = 1.0
) -> Iterator[list[float]]:
    """The tensors that are alive at each stage of one layer. ``share``: how many times more tokens are live in truth than were laid out."""
    yield from stages(live.tokens, live.keys_only, following.tokens + following.keys_only, facts, budget, share)


def stages(
    tokens: int, keys: int, following: int, facts: Facts, budget: Budget, share: float = 1.0
) -> Iterator[list[float]]:
    """The same of a layer that runs ``tokens`` and gives keys of ``keys`` more, before one that is given ``following``."""
    yield from costs_of(facts.traits).stages(tokens, keys, following, facts, budget, share)


def inner_at_once(facts: Facts) -> int:
    """How many inner vectors of a token a feed-forward block holds at once; 4 where its activation is not known, or it has experts."""
    record = layout_of(facts)
    if not facts.activation or facts.experts or record is None:
        return 4
    return max(
        AT_ONCE.get(facts.activation, 2), 3 if record.gated else 2
    )  # gated: the gate's, the other map's, their product


def head(last: int, asked: int, columns: int | None, facts: Facts) -> list[float]:
    """The tensors that are alive at the read-out of ``asked`` rows, of which ``last`` tokens reach it: the logits, which are put together
    once more where tests ask for ``columns`` of their own, and the copies of some rows that are measured at a time."""
    wide = columns or facts.outputs or 1
    logits = asked * wide
    hidden = (facts.width or 0) * (last + asked)
    measured = 16 * min(logits, MOST_LOGITS_CPU) if columns is None else 0
    return [hidden, *[logits] * (1 if columns is None else 2), measured]


__all__ = ["AT_ONCE", "PeakHeld", "head", "held", "inner_at_once", "layer_stages", "stages"]
