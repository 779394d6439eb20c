"""Numbers in place of values: equal just where the values are. As `numpy.unique` gives them, without sorting where that can be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: Rows up to which a loop is faster than sorting columns.
FEW = 500
#: Whole numbers of at most so short a range stand for their ranks.
_NARROW = 64


def ranks(column: np.ndarray) -> tuple[np.ndarray, int]:
    """The rank of each value among the different ones, ``[n]``, and how many different ones there are."""
    if len(column) and column.dtype != np.float64:
        low = int(column.min())
        span = int(column.max()) - low + 1
        if span <= 4 * len(column) + 64:
            shifted = column - low
            there = np.zeros(span, bool)
            there[shifted] = True
            places = np.cumsum(there) - 1
            return places[shifted], int(places[-1]) + 1
    values, found = np.unique(column, return_inverse=True)
    return found.reshape(-1), len(values)


def combined(columns: Sequence[np.ndarray], start: np.ndarray) -> tuple[np.ndarray, int]:
    """The rank of each row among the different combinations of ``start`` and the columns, ``[n]``, and their number."""
    if len(start) <= FEW:
        rows = list(zip(*(column.tolist() for column in (start, *columns)), strict=True))
        places = {row: place for place, row in enumerate(sorted(set(rows)))}
        return np.array([places[row] for row in rows], np.int64), len(places)
    few = 4 * len(start) + 64
    found, count = _digits(start, few)
    for column in columns:
        own, several = _digits(column, few // count)
        # Combined numbers keep the order of ranks: they are ranked anew only before they get too many for a table.
        if count > few:
            found, count = ranks(found)
        found, count = found * several + own, count * several
    return ranks(found)


def _digits(column: np.ndarray, most: int) -> tuple[np.ndarray, int]:
    """Numbers from 0 on in the order of the values, ``[n]``, and how many there may be: whole numbers of a range of at most ``most``
    as they are, less the lowest, else ranks."""
    if column.dtype != np.float64:
        low = int(column.min())
        span = int(column.max()) - low + 1
        if span <= min(most, _NARROW):
            return column - low, span
    return ranks(column)


def distinct_count(column: np.ndarray) -> int:
    """How many different values there are."""
    return len(set(column.tolist())) if len(column) <= FEW else ranks(column)[1]


def firsts(group: np.ndarray, count: int) -> np.ndarray:
    """The first row of each group, ``[count]``."""
    found = np.empty(count, np.int64)
    found[group[::-1]] = np.arange(len(group) - 1, -1, -1)
    return found


def different(columns: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The first row of each combination of codes, in the order of the rows, and for each row which of these it is like."""
    if len(columns[0]) <= FEW:
        seen: dict[tuple[float, ...], int] = {}
        numbers = [seen.setdefault(row, len(seen)) for row in zip(*(c.tolist() for c in columns), strict=True)]
        back = np.array(numbers, np.int64)
        return firsts(back, len(seen)), back
    back, count = combined(columns, np.zeros(len(columns[0]), np.int64))
    first = firsts(back, count)
    order = np.argsort(first)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return first[order], place[back]
