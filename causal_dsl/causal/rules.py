"""The best rule of what a row shows, from rows alone: between which two scores it lies.

A rule gives one label to each group of rows that look alike to it. Fitted to the rows it is judged on, the best rule
scores at least as much as any rule does there, and up to 1 where each group is one row. Fitted to one half of the inputs
and judged on the other, both ways round, it scores at most as much.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from causal_dsl.causal.accepted import SINGLE, Accepted
from causal_dsl.causal.groups import first_rows
from causal_dsl.causal.ranks import firsts, ranks

#: The normal quantile of an interval of 99%.
_QUANTILE = 2.576


def best_in_sample(
    groups: np.ndarray,
    labels: np.ndarray,
    accepted: Accepted = SINGLE,
    own: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Whether the answer that is right most often in its group is right in each row, booleans ``[n]``.

    ``own``: the variable's codes ``[n]`` whose answers the rule may choose from, the same throughout a group; else any. ``weights`` [n]:
    how much each row counts; else each counts once.
    """
    everything = np.ones(len(labels), bool)
    return _majority(groups, labels, everything, everything, np.zeros(len(labels), bool), accepted, own, weights)


def cross_fitted(
    groups: np.ndarray,
    labels: np.ndarray,
    first: np.ndarray,
    copies: Sequence[np.ndarray] = (),
    accepted: Accepted = SINGLE,
    own: np.ndarray | None = None,
) -> np.ndarray:
    """Whether the answer that is right most often in a row's group in the other half is right there, booleans ``[n]``.

    ``first`` marks one half. ``copies`` are rules that need no fit, as booleans ``[n]``: where a group does not occur in
    the other half, the one that is right most often there is followed.
    """
    right = np.zeros(len(labels), bool)
    for fit, judge in ((first, ~first), (~first, first)):
        otherwise = max(copies, key=lambda copy: copy[fit].sum(), default=np.zeros(len(labels), bool))
        right[judge] = _majority(groups, labels, fit, judge, otherwise, accepted, own)[judge]
    return right


def _majority(
    groups: np.ndarray,
    labels: np.ndarray,
    fit: np.ndarray,
    judge: np.ndarray,
    otherwise: np.ndarray,
    accepted: Accepted,
    own: np.ndarray | None,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    right = otherwise.copy()
    if not fit.any():
        return right
    values, codes = _numbered(labels)
    # the answers that each group accepts, with the number of rows that accept them: sorted by group, then from the most on
    cells, counts = _counted(groups[fit] * len(values) + codes[fit], None if weights is None else weights[fit])
    cell, answers = accepted.expand(values[cells % len(values)])
    owner, counts = cells[cell] // len(values), counts[cell]
    if own is not None:
        may = accepted.right(answers, own[first_rows(groups)][owner])
        owner, answers, counts = owner[may], answers[may], counts[may]
    if not len(owner):
        return right
    said, number = _numbered(answers)
    kinds, back = _numbered(owner * len(said) + number)
    sums = np.bincount(back, counts)
    order = np.lexsort((-sums, kinds // len(said)))
    owners = kinds[order] // len(said)
    first = np.flatnonzero(np.concatenate([[True], owners[1:] != owners[:-1]]))
    choice = np.full(int(groups.max()) + 1, -1)
    choice[owners[first]] = kinds[order][first] % len(said)
    told = judge & (choice[groups] >= 0)
    right[told] = accepted.right(said[choice[groups[told]]], labels[told])
    return right


def _numbered(column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different values in order, and for each row which of them it has."""
    found, count = ranks(column)
    return column[firsts(found, count)], found


def _counted(numbers: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The different numbers, none below 0, in order, and how often each is there, or the sum of its weights."""
    if weights is not None:
        there, back = np.unique(numbers, return_inverse=True)
        return there, np.bincount(back.reshape(-1), weights)
    if int(numbers.max()) <= 16 * len(numbers) + 64:  # a table, in place of sorting
        counts = np.bincount(numbers)
        there = np.flatnonzero(counts)
        return there, counts[there]
    return np.unique(numbers, return_counts=True)


def share_bounds(share: float, n: int) -> tuple[float, float]:
    """Wilson's interval (1927) of 99% for a share of ``n`` rows, in numbers between 0 and 1; n = 0 gives all of them."""
    if not n:
        return 0.0, 1.0
    square = _QUANTILE**2 / n
    middle = (share + square / 2) / (1 + square)
    half = math.sqrt(share * (1 - share) * square + square * square / 4) / (1 + square)
    return (max(0.0, middle - half) if share > 0 else 0.0), (min(1.0, middle + half) if share < 1 else 1.0)
