"""Weighted sums and weighted medians over the pairs of a test, under R rows of weights at once.

:class:`Matrix` holds the weights. Where they are too many to be held, :mod:`causal_dsl.score.streamed_sums` takes the same sums
block after block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from causal_dsl.measures.cell_data import CellData

Array = np.ndarray

#: Memory for the numbers of one block of cells, in bytes.
BLOCK = 64 * 2**20

#: Of a cell one number a pair [n]; and, of a score over some of the pairs, which these are (None: all).
Numbers = Callable[[Any], Array]
SomeNumbers = Callable[[Any], tuple[Array, Array | None]]


class Sums(Protocol):
    """How sums over n pairs are taken under ``count`` rows of weights."""

    @property
    def count(self) -> int: ...

    def totals(self, frames: Sequence[CellData], numbers: Numbers) -> Array:
        """The weighted sum of a number a pair in each cell, ``[R, C]``."""

    def whole(self) -> Array:
        """The sum of the weights, ``[R, 1]``."""

    def of(self, column: Array) -> Array:
        """The weighted sum of a number a pair [n] that is the same in all cells, ``[R]``."""

    def ordered(self, frames: Sequence[CellData], numbers: SomeNumbers, which: str) -> Array:
        """The weighted ``median``, or the ``min`` or ``max`` over the pairs with a weight, in each cell, ``[R, C]``."""

    def among(self, pairs: Array) -> Sums:
        """The same over some of the pairs, booleans [n]: the others have no weight."""


class Matrix:
    """Sums under weights that are held, ``[R, n]``."""

    def __init__(self, weights: Array):
        self.weights = weights
        self.even = len(weights) == 1 and bool((weights == 1).all())

    @property
    def count(self) -> int:
        return len(self.weights)

    def totals(self, frames: Sequence[CellData], numbers: Numbers) -> Array:
        rows, n = self.weights.shape
        out = np.empty((rows, len(frames)))
        step = max(1, BLOCK // (8 * max(1, n)))
        for start in range(0, len(frames), step):
            block = [np.asarray(numbers(frame), dtype=np.float64) for frame in frames[start : start + step]]
            out[:, start : start + step] = self.weights @ np.stack(block, axis=1)
        return out

    def whole(self) -> Array:
        found: Array = self.weights.sum(axis=1, keepdims=True)
        return found

    def of(self, column: Array) -> Array:
        found: Array = self.weights @ column
        return found

    def ordered(self, frames: Sequence[CellData], numbers: SomeNumbers, which: str) -> Array:
        found = []
        for frame in frames:
            own, some = numbers(frame)
            if some is not None:
                own = own[some]
            if self.even:
                found.append(np.array([plain_order(own, which)]))
            else:
                found.append(weighted_order(own, self.weights if some is None else self.weights[:, some], which))
        return np.stack(found, axis=1)

    def among(self, pairs: Array) -> Matrix:
        return Matrix(self.weights * pairs)


class SomeRows:
    """Sums over some of the ``rows`` of cells: what is summed is a number for each of these, and the others count nothing."""

    def __init__(self, sums: Sums, rows: Array, n: int):
        self.sums, self.rows, self.n = sums, rows, n

    @property
    def count(self) -> int:
        return self.sums.count

    def totals(self, frames: Sequence[CellData], numbers: Numbers) -> Array:
        return self.sums.totals(frames, lambda frame: self._placed(numbers(frame.among(self.rows)), frame.n))

    def whole(self) -> Array:
        return self.sums.of(self._placed(np.ones(len(self.rows)), self.n))[:, None]

    def of(self, column: Array) -> Array:
        return self.sums.of(self._placed(column, self.n))

    def ordered(self, frames: Sequence[CellData], numbers: SomeNumbers, which: str) -> Array:
        def placed(frame: Any) -> tuple[Array, Array | None]:
            own, some = numbers(frame.among(self.rows))
            there = np.ones(len(self.rows), bool) if some is None else some
            return self._placed(own, frame.n), self._placed(there, frame.n).astype(bool)

        return self.sums.ordered(frames, placed, which)

    def among(self, pairs: Array) -> SomeRows:
        return SomeRows(self.sums.among(pairs), self.rows, self.n)

    def _placed(self, numbers: Array, n: int) -> Array:
        found = np.zeros(n, np.asarray(numbers).dtype)
        found[self.rows] = numbers
        return found


def weighted_order(numbers: Array, weights: Array, which: str) -> Array:
    """The median (``min``, ``max``) of numbers [n] under each row of weights [R, n]; NaN where all weights are 0, or a number
    is NaN."""
    if not len(numbers) or np.isnan(numbers).any():
        return np.full(len(weights), np.nan)
    order = np.argsort(numbers, kind="stable")
    ranked, running = numbers[order], np.cumsum(weights[:, order], axis=1)
    total = running[:, -1:]
    if which == "median":
        low, high = np.argmax(running >= total / 2, axis=1), np.argmax(running > total / 2, axis=1)
        return np.where(total[:, 0] > 0, (ranked[low] + ranked[high]) / 2, np.nan)
    found = ranked[np.argmax(running > 0 if which == "min" else running >= total, axis=1)]
    return np.where(total[:, 0] > 0, found, np.nan)


def plain_order(numbers: Array, which: str) -> float:
    """The same where all pairs count alike: nothing has to be sorted."""
    n = len(numbers)
    if not n or np.isnan(numbers).any():
        return float("nan")
    if which != "median":
        return float(numbers.min() if which == "min" else numbers.max())
    low, high = (n - 1) // 2, n // 2
    ranked = np.partition(numbers, (low, high))
    return float((ranked[low] + ranked[high]) / 2)


__all__ = ["Array", "Matrix", "Numbers", "SomeNumbers", "SomeRows", "Sums", "plain_order", "weighted_order"]
