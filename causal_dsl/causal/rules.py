"""The best rule of what a row shows, from rows alone: between which two scores it lies.

A rule gives one label to each group of rows that look alike to it. Fitted to the rows it is judged on, the best rule
scores at least as much as any rule does there, and up to 1 where each group is one row. Fitted to one half of the inputs
and judged on the other, both ways round, it scores at most as much.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

#: The normal quantile of an interval of 99%.
_QUANTILE = 2.576


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


def best_in_sample(groups: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether each row has the commonest label of its group, booleans ``[n]``."""
    everything = np.ones(len(labels), bool)
    return _majority(groups, labels, everything, everything, np.zeros(len(labels), bool))


def cross_fitted(
    groups: np.ndarray, labels: np.ndarray, first: np.ndarray, copies: Sequence[np.ndarray] = ()
) -> np.ndarray:
    """Whether the commonest label of a row's group in the other half is its own, booleans ``[n]``.

    ``first`` marks one half. ``copies`` are rules that need no fit, as booleans ``[n]``: where a group does not occur in
    the other half, the one that is right most often there is followed.
    """
    right = np.zeros(len(labels), bool)
    for fit, judge in ((first, ~first), (~first, first)):
        otherwise = max(copies, key=lambda copy: copy[fit].sum(), default=np.zeros(len(labels), bool))
        right[judge] = _majority(groups, labels, fit, judge, otherwise)[judge]
    return right


def _majority(
    groups: np.ndarray, labels: np.ndarray, fit: np.ndarray, judge: np.ndarray, otherwise: np.ndarray
) -> np.ndarray:
    right = otherwise.copy()
    if not fit.any():
        return right
    values, codes = np.unique(labels, return_inverse=True)
    codes = codes.reshape(-1)
    # the commonest label of each group: sorted by group, then from the commonest on
    cells, counts = np.unique(groups[fit] * len(values) + codes[fit], return_counts=True)
    order = np.lexsort((-counts, cells // len(values)))
    seen, first = np.unique(cells[order] // len(values), return_index=True)
    choice = np.full(int(groups.max()) + 1, -1)
    choice[seen] = cells[order][first] % len(values)
    told = judge & (choice[groups] >= 0)
    right[told] = choice[groups[told]] == codes[told]
    return right


def share_bounds(share: float, n: int) -> tuple[float, float]:
    """Wilson's interval (1927) of 99% for a share of ``n`` rows, in numbers between 0 and 1; n = 0 gives all of them."""
    if not n:
        return 0.0, 1.0
    square = _QUANTILE**2 / n
    middle = (share + square / 2) / (1 + square)
    half = math.sqrt(share * (1 - share) * square + square * square / 4) / (1 + square)
    return (max(0.0, middle - half) if share > 0 else 0.0), (min(1.0, middle + half) if share < 1 else 1.0)
