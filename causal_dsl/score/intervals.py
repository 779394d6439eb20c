"""Intervals for scores of pairs that share their bases and sources.

Pairs are drawn from fewer inputs than there are pairs, so two pairs with the same base, or the same source, are not
independent. Intervals come from a bootstrap that resamples *inputs*: each distinct input of each role gets a random
count, and a pair's weight is the product over the roles (the pigeonhole bootstrap: Owen 2007, "The pigeonhole
bootstrap"; for more than two roles Owen & Eckles 2012, "Bootstrapping data arrays of arbitrary order"). It is
conservative: where there is nothing but independent noise in a pair, and yet all inputs recur, it is too wide, by at
most sqrt(3) for two roles.

Three refinements keep it from being wider than that need be, and from being wrong at the edges:

- a role whose inputs each meet one input of another role only is left out: its clusters lie inside the other's;
- an input that occurs once brings no dependence, so it has no count of its own; a pair of none but such inputs
  is resampled by itself;
- a share that is 0 or 1 in the sample has replicates that are all alike; see :func:`share_interval`.

The random numbers are splitmix64 of (seed, role, replicate, input): the same on every machine and version of numpy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

SEED = 20_231_117
REPLICATES = 1000
_LEAST = 200
_MOST_WEIGHTS = 10**8
LEVEL = 0.95

#: Memory for one block of weights, in bytes.
_BLOCK = 64 * 2**20


def _mix(x: np.ndarray) -> np.ndarray:
    """splitmix64 of unsigned 64-bit integers (Steele, Lea and Flood 2014)."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def _counts(stream: int, first: int, last: int, size: int) -> np.ndarray:
    """How often each of ``size`` inputs is drawn in ``size`` draws with replacement, ``[last - first, size]``."""
    rows = _mix(np.arange(first, last, dtype=np.uint64) + _mix(np.array([SEED + stream], dtype=np.uint64)))
    with np.errstate(over="ignore"):
        draws = _mix(rows[:, None] + np.arange(size, dtype=np.uint64) * np.uint64(0xD1342543DE82EF95))
    picked = (draws % np.uint64(size)).astype(np.int64) + np.arange(last - first)[:, None] * size
    return np.bincount(picked.ravel(), minlength=(last - first) * size).reshape(last - first, size)


class Resampling:
    """The clusters of the pairs of a test, from the input ids of each role (``[n]`` each; equal id, equal input)."""

    def __init__(self, ids: Mapping[str, np.ndarray]):
        self.n = len(next(iter(ids.values()))) if ids else 0
        inverses = [np.unique(np.asarray(column), return_inverse=True)[1].reshape(-1) for column in ids.values()]
        #: Which input each pair has, of each role that matters: ``[n]``, numbered from 0.
        self.inverses = _without_nested(inverses) if self.n else []

    @property
    def independent(self) -> bool:
        """Whether no two pairs share an input of the same role."""
        return self.n > 0 and all(inverse.max() + 1 == self.n for inverse in self.inverses)

    def clusters(self, asked: np.ndarray | None = None) -> int:
        """The number of independent draws that the pairs (those ``asked`` for) amount to, at most: the fewest
        distinct inputs of any role."""
        rows = slice(None) if asked is None else asked
        return min((len(np.unique(inverse[rows])) for inverse in self.inverses), default=0)

    def weights(self, replicates: int | None = None) -> Iterator[np.ndarray]:
        """Blocks of rows of weights, ``[r, n]`` each, in all as many as asked for: 1000, and fewer (at least 200) from
        100 000 pairs on, where an interval is so narrow that its own error does not matter."""
        if self.n == 0:
            return
        if replicates is None:
            replicates = max(_LEAST, min(REPLICATES, _MOST_WEIGHTS // self.n))
        step = max(1, _BLOCK // (8 * self.n))
        for first in range(0, replicates, step):
            yield self._block(first, min(first + step, replicates))

    def _block(self, first: int, last: int) -> np.ndarray:
        if len(self.inverses) == 1:
            inverse = self.inverses[0]
            return _counts(0, first, last, int(inverse.max()) + 1)[:, inverse].astype(np.float64)
        weights = np.ones((last - first, self.n))
        alone = np.ones(self.n, bool)
        for stream, inverse in enumerate(self.inverses):
            times = np.bincount(inverse)
            counts = _counts(stream, first, last, len(times))
            counts[:, times == 1] = 1
            weights *= counts[:, inverse]
            alone &= times[inverse] == 1
        if alone.any():
            weights[:, alone] = _counts(len(self.inverses), first, last, int(alone.sum()))
        return weights


def _without_nested(inverses: list[np.ndarray]) -> list[np.ndarray]:
    """The partitions without those that are a refinement of another one (of equal ones, the last is kept).

    A role that is one input throughout is no sample of inputs: it is held fixed, and the scores are about it.
    """
    inverses = [inverse for inverse in inverses if inverse.max() > 0] or inverses[:1]
    kept: list[np.ndarray] = []
    for i, fine in enumerate(inverses):
        others = [*kept, *inverses[i + 1 :]]
        if not any(_refines(fine, coarse) for coarse in others):
            kept.append(fine)
    return kept


def _refines(fine: np.ndarray, coarse: np.ndarray) -> bool:
    """Whether every input of ``fine`` meets one input of ``coarse`` only."""
    pairs = np.unique(fine.astype(np.int64) * (int(coarse.max()) + 1) + coarse)
    return len(pairs) == int(fine.max()) + 1


def halves(base_ids: np.ndarray) -> np.ndarray:
    """Which pairs belong to the choosing half: a fixed split of the distinct base inputs, as booleans ``[n]``."""
    distinct, inverse = np.unique(np.asarray(base_ids), return_inverse=True)
    order = np.argsort(_mix(_mix(np.arange(len(distinct), dtype=np.uint64)) + np.uint64(SEED)), kind="stable")
    first = np.zeros(len(distinct), bool)
    first[order[: len(distinct) // 2]] = True
    return first[inverse.reshape(-1)]


def percentiles(replicates: np.ndarray) -> tuple[float, float] | None:
    """The middle 95% of the replicates, ``[R]``; None where more than a tenth of them are undefined."""
    defined = replicates[np.isfinite(replicates)]
    if len(defined) < 0.9 * len(replicates) or not len(defined):
        return None
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def clopper_pearson(successes: int, n: int, level: float = LEVEL) -> tuple[float, float] | None:
    """The exact binomial interval of Clopper and Pearson (1934); None for n = 0."""
    if n == 0:
        return None
    from scipy.special import betaincinv

    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else float(betaincinv(successes, n - successes + 1, tail))
    high = 1.0 if successes == n else float(betaincinv(successes + 1, n - successes, 1 - tail))
    return low, high


def share_interval(successes: int, n: int, independent: bool, clusters: int) -> tuple[float, float] | None:
    """The interval of a share where counting alone gives it, else None (then it is bootstrapped).

    No failure (or no success) in n independent draws means a rate of failure (of success) of at most 3/n, with 95%
    confidence. For pairs that share inputs, n is the fewest distinct inputs of any role: as if all pairs with
    the same base, or the same source, had to fail together. Otherwise independent pairs have the exact binomial
    interval.
    """
    if n == 0:
        return None
    if successes in (0, n):
        slack = min(1.0, 3 / max(1, clusters))
        return (1 - slack, 1.0) if successes == n else (0.0, slack)
    return clopper_pearson(successes, n) if independent else None
