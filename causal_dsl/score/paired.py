"""Shares over pairs, and the difference of two shares over the same pairs, with its own interval.

Two intervals that overlap say little of a difference: where both shares are of the same pairs, what makes both high or
low falls out. So the difference of each pair is resampled (:mod:`causal_dsl.score.intervals`), not each share.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from causal_dsl.score.estimates_and_findings import Estimate
from causal_dsl.score.intervals import Resampling, percentiles, share_interval


def share(hits: np.ndarray, ids: Mapping[str, np.ndarray]) -> Estimate:
    """The share of ``hits`` [n], with its interval over the inputs ``ids[role]`` [n]."""
    n = len(hits)
    if not n:
        return Estimate(None)
    value, resampling = float(hits.mean()), Resampling(ids)
    counted = share_interval(int(hits.sum()), n, resampling.independent, resampling.clusters())
    if counted is not None:
        return Estimate(value, *counted, n, "rule of three" if value in (0.0, 1.0) else "binomial")
    return _resampled(value, hits.astype(np.float64), resampling)


def difference(one: np.ndarray, other: np.ndarray, ids: Mapping[str, np.ndarray], exhaustive: bool = False) -> Estimate:
    """The mean of ``one - other`` over the same pairs [n], with the interval of that difference; ``exhaustive``: the
    pairs are all there are, and it is exact."""
    gap = one.astype(np.float64) - other.astype(np.float64)
    n = len(gap)
    if not n:
        return Estimate(None)
    if exhaustive:
        return Estimate(float(gap.mean()), n=n, method="exact")
    if not gap.any():
        return Estimate(0.0, *_no_difference(Resampling(ids).clusters()), n, "rule of three")
    if (gap == gap[0]).all():
        slack = min(1.0, 3 / max(1, Resampling(ids).clusters()))
        low, high = (1 - slack, 1.0) if gap[0] > 0 else (-1.0, slack - 1)
        return Estimate(float(gap[0]), low, high, n, "rule of three")
    return _resampled(float(gap.mean()), gap, Resampling(ids))


def _no_difference(clusters: int) -> tuple[float, float]:
    slack = min(1.0, 3 / max(1, clusters))
    return -slack, slack


def _resampled(value: float, values: np.ndarray, resampling: Resampling) -> Estimate:
    found = percentiles(_means(values, resampling))
    if found is None:
        return Estimate(value, n=len(values))
    return Estimate(value, found[0], found[1], len(values), "bootstrap")


def _means(values: np.ndarray, resampling: Resampling) -> np.ndarray:
    parts = []
    for weights in resampling.weights():
        total = weights.sum(axis=1)
        with np.errstate(invalid="ignore"):
            parts.append(np.where(total > 0, weights @ values / np.where(total > 0, total, 1), np.nan))
    return np.concatenate(parts) if parts else np.zeros(0)


__all__ = ["difference", "share"]
