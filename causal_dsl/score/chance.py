"""The ceilings of a filtered test: what rules of the answers alone score on the pairs that were kept."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from causal_dsl.causal.ceilings import Ceiling
from causal_dsl.score.intervals import halves


def kept_ceilings(
    labels: np.ndarray,
    base_answers: np.ndarray,
    source_answers: Mapping[str, np.ndarray],
    base_ids: np.ndarray,
    exhaustive: bool,
) -> tuple[dict[str, Ceiling], np.ndarray]:
    """The ceilings over these pairs, and for each pair whether the best rule of the answers is right (0 or 1, ``[n]``).

    On every pair of a finite domain the best rule is known. On a sample, a rule that is fitted to the pairs it is
    judged on looks better than it is, up to perfect where each combination of answers occurs once. So it is fitted
    on one half of the bases and judged on the other, both ways round; where it has not seen a combination, it copies
    the base's answer, or a source's, whichever was right more often; and it counts for no less than such copying.
    """
    n = len(labels)
    copies = {"noop": labels == base_answers, **{role: labels == codes for role, codes in source_answers.items()}}
    seen = [base_answers, *source_answers.values()]
    groups = (
        np.unique(np.stack(seen, axis=1), axis=0, return_inverse=True)[1].reshape(-1) if n else np.zeros(0, np.int64)
    )
    if exhaustive:
        rule = _majority(groups, labels, np.ones(n, bool), np.ones(n, bool), copies["noop"])
    else:
        first = halves(base_ids) if n else np.zeros(0, bool)
        rule = np.zeros(n, bool)
        for fit, judge in ((first, ~first), (~first, first)):
            best = max(copies.values(), key=lambda right: right[fit].sum())
            rule[judge] = _majority(groups, labels, fit, judge, best)[judge]
    if not n:
        return {name: Ceiling(float("nan"), False, 0) for name in ("noop", "source", "output_only")}, np.zeros(0)
    source = max((copies[role].mean() for role in source_answers), default=float("nan"))
    best = max([rule, *copies.values()], key=lambda right: right.mean())
    found = {"noop": copies["noop"].mean(), "source": source, "output_only": best.mean()}
    return {name: Ceiling(float(value), exhaustive, n) for name, value in found.items()}, best.astype(np.float64)


def _majority(
    groups: np.ndarray, labels: np.ndarray, fit: np.ndarray, judge: np.ndarray, otherwise: np.ndarray
) -> np.ndarray:
    """Whether the commonest label of a pair's group, among the pairs of ``fit``, is the pair's own; ``otherwise`` where
    the group does not occur there."""
    right = otherwise.copy()
    values, codes = np.unique(labels, return_inverse=True)
    if not fit.any():
        return right
    cells, counts = np.unique(groups[fit] * len(values) + codes.reshape(-1)[fit], return_counts=True)
    order = np.lexsort((-counts, cells // len(values)))
    which, first = np.unique(cells[order] // len(values), return_index=True)
    choice = np.full(groups.max() + 1, -1)
    choice[which] = cells[order][first] % len(values)
    told = judge & (choice[groups] >= 0)
    right[told] = choice[groups[told]] == codes.reshape(-1)[told]
    return right
