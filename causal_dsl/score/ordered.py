"""Medians, least and largest numbers of many pairs under the weights of resamples.

The median of a resample lies near that of the pairs. So the weights in a narrow band of the ranked numbers are looked at one by one, and
of what stands before the band their sum is enough. Where the order of a resample is not in the band, the band is widened.
"""

from __future__ import annotations

import numpy as np

from causal_dsl.measures.weighted_sums import Array
from causal_dsl.score.poisson import PoissonWeights

#: How far a band reaches to either side of the median, in standard errors of independent pairs, and at least; and how much
#: further where that is not enough.
_ERRORS, _LEAST, _WIDER = 12.0, 512, 8
#: Bytes of weights that are looked at at once.
_BLOCK = 64 * 2**20


def _band(n: int, which: str, times: int) -> tuple[int, int]:
    """Between which ranks of n numbers the order of a resample is looked for."""
    if which == "median":
        half = times * (int(_ERRORS * 0.5 * n**0.5) + _LEAST)
        return max(0, n // 2 - half), min(n, n // 2 + half)
    return (0, min(n, times * _LEAST)) if which == "min" else (max(0, n - times * _LEAST), n)


class Ranked:
    """The numbers of a cell [n], of which ``some`` count (None: all), and the pairs in a band of them."""

    def __init__(self, numbers: Array, some: Array | None, which: str):
        self.numbers, self.which = numbers, which
        self.counted = np.arange(len(numbers)) if some is None else np.flatnonzero(some)
        self.own = numbers[self.counted]
        #: a number that is NaN makes the order NaN: there is none then
        self.defined = bool(len(self.own)) and not bool(np.isnan(self.own).any())

    def band(self, times: int = 1) -> tuple[Array, float]:
        """The pairs in the band, ranked, and the least number in it."""
        first, last = _band(len(self.own), self.which, times)
        ends = np.partition(self.own, tuple(sorted({first, last - 1})))[[first, last - 1]]
        inside = np.flatnonzero((self.own >= ends[0]) & (self.own <= ends[1]))
        inside = inside[np.argsort(self.own[inside], kind="stable")]
        return self.counted[inside], float(ends[0])

    def standing(self) -> tuple[Array, Array]:
        """Which pairs stand before the band, and which count, booleans [n]."""
        before, counts = np.zeros((2, len(self.numbers)), bool)
        counts[self.counted] = True
        if self.defined:
            before[self.counted] = self.own < self.band()[1]
        return before, counts


def replicated_order(
    ranked: Ranked, factor: Array | None, weights: PoissonWeights, before: Array, total: Array
) -> Array:
    """The order in each resample [R]; ``before`` and ``total`` [R] are the weights before the band, and of all pairs that count.

    ``factor`` [n] multiplies the weights."""
    found = np.full(weights.replicates, np.nan)
    if not ranked.defined:
        return found
    narrow, times = ranked.band()[1], 1
    wanted = total > 0
    while wanted.any():
        pairs, _ = ranked.band(times)
        numbers = ranked.numbers[pairs]
        between = int(np.searchsorted(numbers, narrow))  # so many of the band stand before the narrow one
        step = max(4, _BLOCK // (16 * len(pairs)) // 4 * 4)
        for first in range(0, weights.replicates, step):
            some = slice(first, min(first + step, weights.replicates))
            if not wanted[some].any():
                continue
            own = weights.of(pairs, some.start, some.stop).astype(np.float64).T
            own = own if factor is None else own * factor[pairs]
            ahead = before[some] - own[:, :between].sum(axis=1)
            running = ahead[:, None] + np.cumsum(own, axis=1)
            new = _in_band(numbers, running, ahead, total[some], ranked.which)
            found[some] = np.where(wanted[some], new, found[some])
        wanted = wanted & np.isnan(found) & (len(pairs) < len(ranked.own))
        times *= _WIDER
    return found


def _in_band(numbers: Array, running: Array, ahead: Array, total: Array, which: str) -> Array:
    """The order in some resamples; NaN where it is not in the band."""
    if which == "median":
        half = total[:, None] / 2
        low, high = np.argmax(running >= half, axis=1), np.argmax(running > half, axis=1)
        there = (ahead < half[:, 0]) & (running[:, -1] > half[:, 0])
        return np.where(there, (numbers[low] + numbers[high]) / 2, np.nan)
    if which == "min":
        return np.where(running[:, -1] > 0, numbers[np.argmax(running > 0, axis=1)], np.nan)
    there = (ahead < total) & (running[:, -1] >= total)
    return np.where(there, numbers[np.argmax(running >= total[:, None], axis=1)], np.nan)


__all__ = ["Ranked", "replicated_order"]
