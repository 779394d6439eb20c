"""Rows by what they have in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def groups_of(columns: Sequence[np.ndarray]) -> np.ndarray:
    """A number for each row, ``[n]``, from 0 on without a gap: equal just where all columns are."""
    n = len(columns[0]) if columns else 0
    few = 4 * n + 1000
    group, size = np.zeros(n, np.int64), 1
    for column in columns:
        low, high = (column.min(), column.max()) if n and column.dtype.kind in "iu" else (0, few)
        if int(high) - int(low) < few:
            codes, many = column.astype(np.int64) - int(low), int(high) - int(low) + 1
        else:
            values, codes = np.unique(column, return_inverse=True)
            codes, many = codes.reshape(-1), len(values)
        if size * many >= 2**62:
            group, size = _ranked(group, size, few)
        group, size = group * many + codes, size * many
    return _ranked(group, size, few)[0]


def _ranked(group: np.ndarray, size: int, few: int) -> tuple[np.ndarray, int]:
    """The same numbers without gaps, and how many there are."""
    if size <= few:
        there = np.zeros(size, bool)
        there[group] = True
        ranks = np.cumsum(there) - 1
        return ranks[group], int(ranks[-1]) + 1
    values, group = np.unique(group, return_inverse=True)
    return group.reshape(-1), len(values)


def first_rows(group: np.ndarray) -> np.ndarray:
    """The first row of each group."""
    first = np.zeros(int(group.max(initial=-1)) + 1, np.int64)
    first[group[::-1]] = np.arange(len(group))[::-1]
    return first
