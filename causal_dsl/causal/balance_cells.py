"""The combinations of balanced values, and which of them each row has."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass

#: Possible combinations up to which each is looked up in a table by its number.
_TABLE = 2**20


class Cells:
    """The different rows of ``stacked`` [n, m], codes of the balanced values, in the order of their columns.

    A row is found by one number: its codes as the digits of it. Where the codes lie too far apart for a table of all such
    numbers, they are first replaced by their ranks.
    """

    def __init__(self, stacked: np.ndarray):
        columns = list(stacked.T)
        self._choices = [_few(column) for column in columns]
        places = [self._place(i, column) for i, column in enumerate(columns)]
        self.dense = math.prod(max(1, len(choices)) for choices in self._choices) <= _TABLE
        if not self.dense:
            self.values = np.unique(stacked, axis=0)
            return
        sizes = [len(choices) for choices in self._choices]
        numbers = _number([place for place, _ in places], sizes)
        there = np.bincount(numbers, minlength=math.prod(sizes)) > 0
        numbers = np.flatnonzero(there)
        self._table = np.full(len(there), -1, np.int64)
        self._table[numbers] = np.arange(len(numbers))
        digits = np.unravel_index(numbers, sizes) if len(numbers) else [numbers] * len(sizes)
        self.values = np.stack([c[d] for c, d in zip(self._choices, digits, strict=True)], axis=1)

    def __len__(self) -> int:
        return len(self.values)

    def of(self, columns: Sequence[np.ndarray], n: int) -> np.ndarray:
        """The number of each row's combination [n]; -1 for one that is not among them."""
        if not len(self):
            return np.full(n, -1, np.int64)
        known = np.ones(n, bool)
        places = []
        for i, column in enumerate(columns):
            place, there = self._place(i, column)
            known &= there
            places.append(place)
        if self.dense:
            return np.where(known, self._table[_number(places, [len(c) for c in self._choices])], -1)
        rows, keys = np.zeros(len(self), np.int64), np.zeros(n, np.int64)
        # One number for each row, column by column: to sort rows of several columns takes many times as long.
        for place, choices, own in zip(places, self._choices, self.values.T, strict=True):
            mine = np.searchsorted(choices, own)
            kinds, rows = np.unique(rows * len(choices) + mine, return_inverse=True)
            rows = rows.reshape(-1)
            merged = keys * len(choices) + place
            keys = np.minimum(np.searchsorted(kinds, merged), len(kinds) - 1)
            known &= kinds[keys] == merged
        found = np.full(len(self), -1, np.int64)
        found[rows] = np.arange(len(self))
        return np.where(known, found[keys], -1)

    def _place(self, i: int, column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where codes [n] stand among those of column ``i``, and whether they do."""
        choices, column = self._choices[i], np.asarray(column)
        if not len(choices):
            return np.zeros(len(column), np.int64), np.zeros(len(column), bool)
        if len(choices) == int(choices[-1]) - int(choices[0]) + 1:  # without a gap: no search
            if column.dtype == bool and len(choices) == 2 and not choices[0]:
                return column.astype(np.int64), np.ones(len(column), bool)
            place = column.astype(np.int64) - int(choices[0])
            there = (place >= 0) & (place < len(choices))
            return (place if there.all() else np.where(there, place, 0)), there
        place = np.minimum(np.searchsorted(choices, column), len(choices) - 1)
        return place, choices[place] == column


@dataclass(frozen=True, eq=False)
class RowCells:
    """The combination of balanced values that each row must have: ``of_rows`` [n] are numbers of ``cells``."""

    cells: Cells
    of_rows: np.ndarray

    @property
    def codes(self) -> np.ndarray:
        """The codes of the balanced values, row by row [n, m]."""
        return self.cells.values[self.of_rows]


def _few(column: np.ndarray) -> np.ndarray:
    """The different codes [n] of a column, in order; counted where they lie close together, which is faster than to sort."""
    if not len(column):
        return column
    if column.dtype == bool:
        return np.unique(column)
    low, high = int(column.min()), int(column.max())
    if high - low >= max(2**16, len(column)):
        return np.unique(column)
    return (np.flatnonzero(np.bincount(column.astype(np.int64) - low)) + low).astype(column.dtype)


def _number(places: Sequence[np.ndarray], sizes: Sequence[int]) -> np.ndarray:
    number = places[0].astype(np.int64)
    for place, size in zip(places[1:], sizes[1:], strict=True):
        number = number * size + place
    return number


def handed_out(wanted: np.ndarray, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which rows, that want these cells, get which of the rows that were drawn in others: both in their order, each once, as
    far as there are any."""
    most = max(len(wanted), len(drawn)) + 1

    def key(cells: np.ndarray) -> np.ndarray:
        order = np.argsort(cells, kind="stable")
        rank = np.empty(len(cells), np.int64)
        rank[order] = np.arange(len(cells)) - np.searchsorted(cells[order], cells[order])
        found: np.ndarray = (cells + 1) * most + rank
        return found

    _, rows, which = np.intersect1d(key(wanted), key(drawn), assume_unique=True, return_indices=True)
    return rows, which


__all__ = ["Cells", "RowCells", "handed_out"]
