"""Intervals for scores of pairs, and what each is about: more draws of the same inputs, or inputs that were not drawn.

*Draws.* The rows of a test are drawn independently. Where the inputs that can be drawn are few and most of them were drawn,
an interval is about more such draws: the pairs are then independent, whatever inputs they share. Shares have the score
interval (Wilson 1927), other scores a bootstrap of the pairs.

*Inputs.* Where there are inputs that were not drawn, or rows share inputs by design, two pairs with the same base, or the
same source, are not independent. The variance of a mean is that of sums over the inputs of each role, less what is counted
twice (Cameron, Gelbach and Miller 2011), and shares have the score interval of as many independent pairs as would vary as
much (Korn and Graubard 1998). Other scores have a bootstrap that resamples inputs: each distinct input of each role gets a
random count, and a pair's weight is the product over the roles (the pigeonhole bootstrap: Owen 2007; for more than two
roles Owen and Eckles 2012). Where there is nothing but independent noise in a pair, and yet all inputs recur, it is too
wide, by up to sqrt(3) for two roles with many inputs, and more with few.

Of that bootstrap,

- a role whose inputs each meet one input of another role only is left out: its clusters lie inside the other's;
- an input that occurs once brings no dependence, so it has no count of its own; a pair of none but such inputs
  is resampled by itself.

Of more than :data:`MANY` pairs, the counts are Poisson numbers instead of draws with replacement: no weights have to be held then.

A share that is 0 or 1 in the sample has replicates that are all alike; see :func:`share_interval`.

The random numbers are splitmix64 (:mod:`causal_dsl.base.counter`) of (seed, role, replicate, input).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import combinations

import numpy as np

from causal_dsl.base.counter import below, step
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.ranks import different
from causal_dsl.score.estimates_and_findings import Method
from causal_dsl.score.poisson import PoissonWeights

SEED = 20_231_117
REPLICATES = 1000
_LEAST = 200
_MOST_WEIGHTS = 10**8
LEVEL = 0.95

#: Memory for one block of weights, in bytes.
BLOCK = 64 * 2**20
#: From more pairs on, resamples draw each input a Poisson number of times (:mod:`causal_dsl.score.poisson`).
MANY = 50_000
#: How many small blocks are kept, together at most as large as one block may be.
_KEPT = 4


def _counts(stream: int, first: int, last: int, size: int) -> np.ndarray:
    """How often each of ``size`` inputs is drawn in ``size`` draws with replacement, ``[last - first, size]``."""
    with np.errstate(over="ignore"):
        rows = step(np.arange(first, last, dtype=np.uint64) + step(np.array([SEED + stream], dtype=np.uint64)))
        draws = step(rows[:, None] + np.arange(size, dtype=np.uint64) * np.uint64(0xD1342543DE82EF95))
    picked = below(draws, size) + np.arange(last - first)[:, None] * size
    return np.bincount(picked.ravel(), minlength=(last - first) * size).reshape(last - first, size)


class Resampling:
    """The clusters of the pairs of a test, from the input ids of each role (``[n]`` each; equal id, equal input)."""

    def __init__(self, ids: Mapping[str, np.ndarray], draws: bool = False):
        """``draws``: the rows are independent draws, and what is asked is what more such draws would give."""
        self.n = len(next(iter(ids.values()))) if ids else 0
        self.draws = draws
        inverses = [_numbered(column) for column in ids.values()]
        #: Which input each pair has, of each role that matters: ``[n]``, numbered from 0.
        self.inverses = _without_nested(inverses) if self.n and not draws else [np.arange(self.n)][: self.n]

    @cached_property
    def independent(self) -> bool:
        """Whether no two pairs share an input of the same role."""
        return self.n > 0 and all(inverse.max() + 1 == self.n for inverse in self.inverses)

    @cached_property
    def _inputs(self) -> int:
        return min((int(inverse.max(initial=-1)) + 1 for inverse in self.inverses), default=0)

    def clusters(self, asked: np.ndarray | None = None) -> int:
        """The number of independent draws that the pairs (those ``asked`` for) amount to, at most: the fewest
        distinct inputs of any role."""
        if asked is None or asked.all():
            return self._inputs
        return min((int(np.count_nonzero(np.bincount(inverse[asked]))) for inverse in self.inverses), default=0)

    @property
    def many(self) -> bool:
        """Whether there are too many pairs to hold their weights in the resamples."""
        return self.n > MANY

    @property
    def replicates(self) -> int:
        """How many resamples there are: 1000, and fewer (at least 200) from 100 000 pairs on, where an interval is so narrow
        that its own error does not matter."""
        return max(_LEAST, min(REPLICATES, _MOST_WEIGHTS // max(1, self.n)))

    @cached_property
    def poisson(self) -> PoissonWeights:
        """The weights of many pairs."""
        return PoissonWeights(self.inverses, self.replicates)

    @cached_property
    def groups(self) -> list[ClusterGroup]:
        """The groups of which the variance of a mean is made: the inputs of each role, and of each combination of roles."""
        return groups_of(self.inverses)

    def weights(self, replicates: int | None = None) -> Iterator[np.ndarray]:
        """Blocks of rows of weights, ``[r, n]`` each, in all as many as asked for (:attr:`replicates`)."""
        if self.n == 0:
            return
        if replicates is None:
            replicates = self.replicates
        step = max(1, BLOCK // (8 * self.n))
        for first in range(0, replicates, step):
            yield _block(self._partitions, first, min(first + step, replicates))

    @cached_property
    def _partitions(self) -> Partitions:
        return Partitions(tuple(self.inverses))


class Partitions:
    """Partitions of the same rows, equal where they are equal row by row."""

    def __init__(self, inverses: tuple[np.ndarray, ...]):
        self.inverses = inverses
        self._key = tuple((inverse.dtype.str, inverse.tobytes()) for inverse in inverses)
        self._hash = hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Partitions) and self._key == other._key

    def __hash__(self) -> int:
        return self._hash


def _block(partitions: Partitions, first: int, last: int) -> np.ndarray:
    """The weights of replicates ``first`` to ``last``, ``[last - first, n]``, not to be written to."""
    small = (last - first) * len(partitions.inverses[0]) * 8 * _KEPT <= BLOCK
    return (_kept if small else _weights)(partitions, first, last)


def _weights(partitions: Partitions, first: int, last: int) -> np.ndarray:
    inverses = partitions.inverses
    if len(inverses) == 1:
        weights = _counts(0, first, last, int(inverses[0].max()) + 1)[:, inverses[0]].astype(np.float64)
        weights.flags.writeable = False  # more than one test has them
        return weights
    weights = np.ones((last - first, len(inverses[0])))
    alone = np.ones(len(inverses[0]), bool)
    for stream, inverse in enumerate(inverses):
        times = np.bincount(inverse)
        counts = _counts(stream, first, last, len(times))
        counts[:, times == 1] = 1
        weights *= counts[:, inverse]
        alone &= times[inverse] == 1
    if alone.any():
        weights[:, alone] = _counts(len(inverses), first, last, int(alone.sum()))
    weights.flags.writeable = False
    return weights


#: The weights of tests with the same inputs are the same: those of the last few are kept.
_kept = lru_cache(maxsize=_KEPT)(_weights)


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
    inputs = _numbered(base_ids)
    count = int(inputs.max(initial=-1)) + 1
    order = np.argsort(step(step(np.arange(count, dtype=np.uint64)) + np.uint64(SEED)), kind="stable")
    first = np.zeros(count, bool)
    first[order[: count // 2]] = True
    return first[inputs]


def _numbered(ids: np.ndarray) -> np.ndarray:
    """The inputs of some pairs in the order in which they come up, from 0: what else a run numbers decides nothing."""
    return different([np.asarray(ids)])[1]


def percentiles(replicates: np.ndarray) -> tuple[float, float] | None:
    """The middle 95% of the replicates, ``[R]``; None where more than a tenth of them are undefined."""
    defined = replicates[np.isfinite(replicates)]
    if len(defined) < 0.9 * len(replicates) or not len(defined):
        return None
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def bounded_below(replicates: np.ndarray) -> tuple[float, float] | None:
    """The middle 95% of the replicates [R] of a ratio that falls without end as its denominator falls to 0: a replicate that is
    undefined, because its denominator is not above 0, lies below all others. None where these reach into the middle 95%."""
    defined = np.isfinite(replicates)
    if not defined.any() or np.mean(~defined) >= (1 - LEVEL) / 2:
        return None
    return percentiles(np.where(defined, replicates, replicates[defined].min()))


def wilson(share: float, n: float, z: float) -> tuple[float, float]:
    """The score interval of a share of ``n`` independent trials (Wilson 1927), ``z`` standard errors wide."""
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * float(np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))) / (1 + z * z / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def share_interval(
    successes: int, n: int, independent: bool, clusters: int, level: float = LEVEL
) -> tuple[float, float] | None:
    """The interval of a share where counting alone gives it, else None.

    No failure (or no success) in n independent draws means a rate of failure (of success) of at most 3/n, with 95%
    confidence. For pairs that share inputs, n is the fewest distinct inputs of any role: as if all pairs with
    the same base, or the same source, had to fail together. Otherwise independent pairs have the score interval.
    """
    if n == 0:
        return None
    if successes in (0, n):
        least = 3.0 if level == LEVEL else -float(np.log(1 - level))
        slack = min(1.0, least / max(1, clusters))
        return (1 - slack, 1.0) if successes == n else (0.0, slack)
    from scipy.special import ndtri

    return wilson(successes / n, n, float(ndtri((1 + level) / 2))) if independent else None


@dataclass(frozen=True, eq=False)
class ClusterGroup:
    """The inputs of one role, or the combinations of those of several (``roles``): ``codes`` [n] number them, ``count`` in all."""

    roles: int
    codes: np.ndarray
    count: int

    @property
    def alone(self) -> bool:
        """Whether no two pairs share one."""
        return self.count == len(self.codes)


def groups_of(inverses: Sequence[np.ndarray]) -> list[ClusterGroup]:
    """The groups of :func:`mean_variance`."""
    found = []
    for size in range(1, len(inverses) + 1):
        for chosen in combinations(inverses, size):
            group = chosen[0].astype(np.int64)
            for inverse in chosen[1:]:
                group = np.unique(group * (int(inverse.max()) + 1) + inverse, return_inverse=True)[1].reshape(-1)
            found.append(ClusterGroup(size, group, int(group.max(initial=-1)) + 1))
    return found


def mean_variance(
    numbers: np.ndarray, asked: np.ndarray, inverses: Sequence[np.ndarray], groups: Sequence[ClusterGroup] | None = None
) -> tuple[float, int]:
    """The variance of the mean of ``numbers`` [n] over the pairs ``asked`` for, booleans [n], and the least number of
    distinct inputs among them. ``inverses`` [n] number the input of each pair, role by role.

    Inclusion and exclusion over the roles (Cameron, Gelbach and Miller 2011), each sum with its own correction for few
    inputs. Of several roles it is no less than it would be if the pairs were independent: the difference can be negative.
    ``groups``: those of the inverses, where they are known.
    """
    rows = slice(None) if asked.all() else np.flatnonzero(asked)
    own = numbers[rows]
    residual = (own - own.mean()) / len(own)
    total, least, fewest = 0.0, 0.0, len(own)
    for group in groups_of(inverses) if groups is None else groups:
        if group.alone and len(own) > MANY:  # the same up to rounding
            sums, count = residual, len(own)
        else:
            codes = group.codes[rows]
            there = np.bincount(codes) > 0
            sums, count = np.bincount(codes, residual)[there], int(there.sum())
        variance = float(sums @ sums) * (count / (count - 1) if count > 1 else 1.0)
        total += variance if group.roles % 2 else -variance
        if group.roles == 1:
            fewest = min(fewest, count)
    if len(inverses) > 1:
        least = float(residual @ residual) * len(own) / max(1, len(own) - 1)
    return max(total, least), fewest


def clustered_interval(
    mean: float, n: int, variance: float, inputs: int, share: bool, level: float = LEVEL
) -> tuple[float, float] | None:
    """The interval of a mean over ``n`` pairs that share ``inputs``; None where there are fewer than two inputs of a role.

    A share has that of as many independent pairs as vary as much (Korn and Graubard 1998).
    """
    if inputs < 2:
        return None
    from scipy.special import stdtrit

    t = float(stdtrit(inputs - 1, (1 + level) / 2))
    if not share:
        return mean - t * variance**0.5, mean + t * variance**0.5
    return wilson(mean, mean * (1 - mean) / variance if variance else float(n), t)


class MeanOf:
    """The inputs of the intervals of a mean, at any level: the mean of ``numbers`` [n] over the pairs ``asked`` for, booleans [n].

    ``share``: the numbers are 0 and 1. The numbers are not held.
    """

    def __init__(self, numbers: np.ndarray, asked: np.ndarray, share: bool, resampling: Resampling):
        self.n, self.share, self.resampling = int(asked.sum()), share, resampling
        own = numbers if self.n == len(numbers) else numbers[asked]
        self.hits = int(own.sum()) if share else 0
        self.clusters = resampling.clusters(asked) if share else 0
        #: the mean, its variance and the least number of inputs, where pairs share inputs
        self.spread: tuple[float, float, int] | None = None
        if self.n and not resampling.independent and not (share and self.hits in (0, self.n)):
            variance, inputs = mean_variance(numbers, asked, resampling.inverses, resampling.groups)
            self.spread = float(own.mean()), variance, inputs

    def interval(self, level: float = LEVEL) -> tuple[tuple[float, float], Method] | None:
        """The interval of the mean, and how it was made; None where there is none but by a bootstrap."""
        if self.share:
            found = share_interval(self.hits, self.n, self.resampling.independent, self.clusters, level)
            if found is not None:
                return found, "rule of three" if self.hits in (0, self.n) else "binomial"
        if self.spread is None:
            return None
        mean, variance, inputs = self.spread
        found = clustered_interval(mean, self.n, variance, inputs, self.share, level)
        return None if found is None else (found, "clustered")


def together(points: np.ndarray, replicates: np.ndarray) -> float | None:
    """How many standard errors every cell must be given so that all of them hold at once with 95% confidence.

    The quantile of the largest deviation over the cells, each in its own standard errors, in the replicates [R, C] around
    the points [C] (Westfall and Young 1993). None where no cell varies.
    """
    spread = np.nanstd(replicates, axis=0) if len(replicates) else np.zeros(0)
    moving = np.isfinite(points) & (spread > 1e-12)
    if not moving.any():
        return None
    away = np.abs(replicates[:, moving] - points[moving]) / spread[moving]
    return float(np.quantile(np.nanmax(away, axis=1), LEVEL))
