"""The ceilings of a filtered test, on the pairs that were kept; and ceilings as text."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from causal_dsl.causal.accepted import SINGLE, Accepted
from causal_dsl.causal.ceilings import Ceiling, of_rows
from causal_dsl.causal.groups import groups_of
from causal_dsl.causal.rules import best_in_sample, share_bounds
from causal_dsl.score.format_numbers import show
from causal_dsl.vocabulary.ceiling_rules import ANSWER_RULES, CEILINGS


def kept_ceilings(
    labels: np.ndarray,
    answers: Mapping[str, np.ndarray],
    ids: Mapping[str, np.ndarray],
    exhaustive: bool,
    given: Mapping[str, Ceiling],
    drawn: int,
    accepted: Accepted = SINGLE,
    weights: np.ndarray | None = None,
) -> tuple[dict[str, Ceiling], np.ndarray]:
    """The ceilings over the kept pairs, and for each pair whether the best rule of the answers is right.

    ``answers`` and ``ids`` are the answers and inputs of each role over these pairs, the base first; ``given`` are the
    ceilings of all ``drawn`` pairs. ``weights`` [n] are those of the scores, where the pairs are all that can be drawn and are kept: the
    rules' scores are then exact under these. On every pair of a finite domain the rules' scores are known. On a sample the best
    rule lies between two (:func:`~causal_dsl.causal.ceilings.of_rows`), and no further from that of all pairs than the
    share of pairs that are left out allows. Where the ceiling is above the rule that is fitted to the pairs, what is
    missing is spread evenly over them.
    """
    n = len(labels)
    if not n:
        unknown = Ceiling(float("nan"), False, 0, 0.0, 1.0)
        return {name: unknown for name in ANSWER_RULES if name in given}, np.zeros(0)
    found = of_rows(labels, answers, ids, exhaustive, accepted, weights)
    if not exhaustive and weights is None:
        inputs = min(len(np.unique(column)) for column in ids.values())
        share, _ = share_bounds(n / drawn, inputs)
        found = {name: _narrowed(own, given[name], share) if name in given else own for name, own in found.items()}
    rule = best_in_sample(groups_of(list(answers.values())), labels, accepted, weights=weights).astype(np.float64)
    del found["informative"]
    return found, rule + (found["output_only"].value - float(np.average(rule, weights=weights)))


def _narrowed(own: Ceiling, every: Ceiling, share: float) -> Ceiling:
    """A rule is right on no more of the kept pairs, and wrong on no more, than on all; ``share`` of these were kept."""
    if not share:
        return own
    low, high = max(own.low, 1 - (1 - every.low) / share), min(own.high, every.high / share)
    if low > high:
        return own
    value = high if own.value == own.high else own.value
    return Ceiling(value, False, own.n, min(low, value), max(high, value))


def show_ceilings(ceilings: Mapping[str, Ceiling]) -> str:
    """``noop 0.750, output_only 0.812 (exact over 16 pairs)``; a best rule that is not known is a range."""
    known = {name: ceilings[name] for name in CEILINGS if name in ceilings}
    parts = {name: f"{name} {_shown(ceiling)}" for name, ceiling in known.items()}
    how = {name: _how(ceiling) for name, ceiling in known.items()}
    for name, after in zip(parts, [*list(parts)[1:], ""], strict=True):
        if how[name] != how.get(after):
            parts[name] += f" ({how[name]})"
    return ", ".join(parts.values())


def _shown(ceiling: Ceiling) -> str:
    if ceiling.value < ceiling.high or ceiling.low == ceiling.high:
        return show(ceiling.value)
    return f"{show(ceiling.low)} to {show(ceiling.high)}"


def _how(ceiling: Ceiling) -> str:
    pairs = f"{ceiling.n:,} pair{'s' * (ceiling.n != 1)}"
    return f"exact over {pairs}" if ceiling.exact else f"sampled over {pairs}"


def show_distinct(distinct: Mapping[str, int]) -> str:
    """``distinct inputs: base 4, source 4``"""
    parts = ", ".join(f"{role} {number:,}" for role, number in distinct.items())
    return f"distinct inputs: {parts}" if parts else ""
