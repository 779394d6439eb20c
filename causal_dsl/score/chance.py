"""The ceilings of a filtered test: what rules of the answers alone score on the pairs that were kept."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from causal_dsl.causal.ceilings import Ceiling
from causal_dsl.causal.rules import best_in_sample, cross_fitted, groups_of
from causal_dsl.score.intervals import halves


def kept_ceilings(
    labels: np.ndarray,
    base_answers: np.ndarray,
    source_answers: Mapping[str, np.ndarray],
    base_ids: np.ndarray,
    exhaustive: bool,
) -> tuple[dict[str, Ceiling], np.ndarray]:
    """The ceilings over these pairs, and for each pair whether the best rule of the answers is right (0 or 1, ``[n]``).

    On every pair of a finite domain the best rule is known. On a sample it lies between two: ``high``, fitted to the
    pairs it is judged on, which looks better than it is, up to perfect where each combination of answers occurs once;
    and ``low``, fitted on one half of the bases and judged on the other, both ways round. Where that has not seen a
    combination, it copies the base's answer, or a source's, whichever was right more often; and it counts for no less
    than such copying.
    """
    n = len(labels)
    if not n:
        unknown = Ceiling(float("nan"), False, 0, 0.0, 1.0)
        return dict.fromkeys(("noop", "source", "output_only"), unknown), np.zeros(0)
    copies = {"noop": labels == base_answers, **{role: labels == codes for role, codes in source_answers.items()}}
    shares = {name: float(copy.mean()) for name, copy in copies.items()}
    groups = groups_of([base_answers, *source_answers.values()])
    rule = best_in_sample(groups, labels)
    high = low = float(rule.mean())
    if not exhaustive:
        low = max(float(cross_fitted(groups, labels, halves(base_ids), list(copies.values())).mean()), *shares.values())
    found = {"noop": Ceiling(shares["noop"], exhaustive, n)}
    if source_answers:
        found["source"] = Ceiling(max(shares[role] for role in source_answers), exhaustive, n)
    found["output_only"] = Ceiling(high, exhaustive, n, low, high)
    return found, rule.astype(np.float64)
