"""Bootstrap weights of many pairs: how often each input is drawn is a Poisson number with mean 1, a function of a counter.

A resample of many inputs draws each a number of times that is all but independent of the others: Poisson, with mean 1 (Hanley and
MacGibbon 2006; Chamandy et al. 2012). So the weight of a pair needs its own inputs only, whichever other pairs are in a block, and
the weights of all pairs never have to be held at once. The weight of a pair is the product over the roles, as in
:mod:`causal_dsl.score.intervals`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from causal_dsl.base.counter import bits, key

#: How many 65536ths have each count from 0 on: the Poisson distribution, with a mean of exactly 1 (its variance is 1.0003).
_SHARES = (24112, 24106, 12055, 4018, 1005, 201, 33, 5, 1)
_COUNTS = np.repeat(np.arange(len(_SHARES), dtype=np.uint8), _SHARES)
#: Counts that one number of 64 bits decides.
_AT_ONCE = 4
#: Bytes that the counts of all inputs of a role may take to be held.
_HELD = 32 * 2**20


class PoissonWeights:
    """The weights of ``replicates`` resamples of n pairs. ``inverses`` [n] number the inputs of the pairs, role by role."""

    def __init__(self, inverses: Sequence[np.ndarray], replicates: int):
        self.replicates, self.inverses = replicates, list(inverses)
        self.n = len(self.inverses[0])
        #: of each role, which inputs occur once: they bring no dependence, and have no count of their own
        self._once = [np.bincount(inverse) == 1 for inverse in self.inverses] if len(self.inverses) > 1 else []
        self._tables: dict[int, np.ndarray | None] = {}

    @property
    def most(self) -> int:
        """The largest weight that there may be."""
        return int((len(_SHARES) - 1) ** len(self.inverses))

    def of(self, rows: np.ndarray | slice, first: int = 0, last: int | None = None) -> np.ndarray:
        """The weights of some pairs in the resamples ``first`` to ``last``, ``[rows, last - first]``."""
        last = self.replicates if last is None else last
        if not self._once:
            return self._counts(0, self.inverses[0][rows], first, last)
        weights: np.ndarray | None = None
        alone: np.ndarray | None = None
        for stream, (inverse, once) in enumerate(zip(self.inverses, self._once, strict=True)):
            inputs = inverse[rows]
            counts, single = self._counts(stream, inputs, first, last), once[inputs]
            counts[single] = 1
            weights = counts.astype(np.uint16) if weights is None else weights * counts
            alone = single if alone is None else alone & single
        assert weights is not None and alone is not None
        if alone.any():
            pairs = np.arange(self.n)[rows][alone]
            weights[alone] = _drawn(len(self.inverses), pairs, first, last)
        return weights

    def _counts(self, stream: int, inputs: np.ndarray, first: int, last: int) -> np.ndarray:
        """How often some inputs of a role are drawn, ``[inputs, last - first]``, a new array."""
        if stream not in self._tables:
            size = int(self.inverses[stream].max()) + 1
            small = size * self.replicates <= _HELD and 2 * size <= self.n
            self._tables[stream] = _drawn(stream, np.arange(size), 0, self.replicates) if small else None
        table = self._tables[stream]
        if table is None:
            return _drawn(stream, inputs, first, last)
        if (first, last) != (0, self.replicates):
            return table[inputs, first:last]
        return table[inputs]


def _drawn(stream: int, inputs: np.ndarray, first: int, last: int) -> np.ndarray:
    """The counts of inputs by their numbers, ``[inputs, last - first]``; each depends on the stream, the input and the resample."""
    begin, end = first // _AT_ONCE, -(-last // _AT_ONCE)
    random = bits(key("resample", stream), inputs[:, None], np.arange(begin, end))
    sixteenths = random.astype("<u8", copy=False).view("<u2")  # four to a number, the same on every machine
    return _COUNTS[sixteenths[:, first - _AT_ONCE * begin : last - _AT_ONCE * begin]]


__all__ = ["PoissonWeights"]
