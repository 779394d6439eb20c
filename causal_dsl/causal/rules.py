"""The best rule of what a row shows, from rows alone: between which two scores it lies.

A rule gives one label to each group of rows that look alike to it. Fitted to the rows it is judged on, the best rule
scores at least as much as any rule does there, and up to 1 where each group is one row. Fitted to one half of the inputs
and judged on the other, both ways round, it scores at most as much.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def groups_of(columns: Sequence[np.ndarray]) -> np.ndarray:
    """A number for each row, ``[n]``: equal just where all columns are."""
    n = len(columns[0]) if columns else 0
    group = np.zeros(n, np.int64)
    for column in columns:
        _, codes = np.unique(column, return_inverse=True)
        _, group = np.unique(group * (int(codes.max(initial=0)) + 1) + codes.reshape(-1), return_inverse=True)
        group = group.reshape(-1)
    return group


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
