"""The p-values of three null hypotheses about a circuit (Shi et al. 2024), from numbers of pairs. All pairs count alike, and are taken to
be independent."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from causal_dsl.base.counter import key, permutation

#: Of how many pairs HSIC is computed at the most: it compares each with each.
MOST_PAIRS = 256
_ROUNDING = 1e-12


class Tested(NamedTuple):
    """A p-value, the statistic that it is of, and how many pairs (or comparisons) it is over."""

    p: float
    statistic: float
    n: int


def equivalence(gaps: np.ndarray, epsilon: float) -> Tested:
    """H0: ``|P(gap > 0) - 1/2| < epsilon``. The statistic is ``|k / n - 1/2|``, with k of the n ``gaps`` [n] above 0; those that are 0
    are left out, as in a sign test. p is the probability of one as large where P is ``1/2 + epsilon``; 1 where all gaps are 0."""
    from scipy.stats import binom

    gaps = gaps[gaps != 0]
    n = len(gaps)
    if not n:
        return Tested(1.0, 0.0, 0)
    every = np.arange(n + 1)
    statistic = abs(float((gaps > 0).mean()) - 0.5)
    as_large = np.abs(every / n - 0.5) >= statistic - _ROUNDING
    return Tested(min(1.0, float(binom.pmf(every, n, 0.5 + epsilon)[as_large].sum())), statistic, n)


def independence(one: np.ndarray, other: np.ndarray, permutations: int) -> Tested:
    """H0: two numbers of a pair [n] are independent. The statistic is HSIC with Gaussian kernels (Gretton et al. 2007) whose widths
    are the median distances; p is ``(1 + as large) / (1 + permutations)``, over random orders of the second one. A number that is
    the same in all pairs is independent of all: p is 1."""
    one, other = one[:MOST_PAIRS], other[:MOST_PAIRS]
    n = len(one)
    first, second = _centred_kernel(one), _centred_kernel(other)
    if first is None or second is None:
        return Tested(1.0, 0.0, n)
    own = float((first * second).sum())
    as_large = 0
    for order in _orders(n, permutations):
        as_large += float(np.vdot(first, second[order[:, None], order])) >= own - _ROUNDING * abs(own)
    return Tested((1 + as_large) / (1 + permutations), own / max(1, n - 1) ** 2, n)


@lru_cache(maxsize=4)
def _orders(n: int, count: int) -> np.ndarray:
    """Random orders of ``n`` pairs [count, n]."""
    return np.stack([permutation(key(12_013, "independence", number), n) for number in range(count)])


def _centred_kernel(numbers: np.ndarray) -> np.ndarray | None:
    """HKH of a Gaussian kernel K [n, n]; None where all numbers are equal."""
    apart = np.abs(numbers[:, None] - numbers[None, :])
    there = apart[apart > 0]
    if not len(there):
        return None
    kernel = np.exp(-(apart**2) / (2 * float(np.median(there)) ** 2))
    centred: np.ndarray = kernel - kernel.mean(axis=0) - kernel.mean(axis=1)[:, None] + kernel.mean()
    return centred


def minimality(effects: Sequence[float], others: Sequence[float], quantile: float) -> list[Tested]:
    """For each effect, H0: it is larger than that of a random member of an inflated circuit with a probability of at least
    ``quantile``. The statistic is the share of the ``others`` than which it is larger; p is the probability of a share as small
    where that is ``quantile``, not yet corrected for how many effects are tested."""
    from scipy.stats import binom

    n = len(others)
    found = []
    for effect in effects:
        larger = int((effect > np.asarray(others)).sum())
        found.append(Tested(float(binom.cdf(larger, n, quantile)), larger / n if n else np.nan, n))
    return found


__all__ = ["MOST_PAIRS", "Tested", "equivalence", "independence", "minimality"]
