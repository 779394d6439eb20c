"""Small sets of unclaimed units, each taken from another input while all other units stay."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import comb

from causal_dsl.planning.probe_rows import LEAST

#: The rows that each set of three needs (of two, ``LEAST`` do), and the most sets, of which each takes its time whatever its rows.
_ENOUGH, _MOST = 16, 512


def small_sets(units: list[int], rows: int) -> list[tuple[int, ...]]:
    """The set of all units, every pair of units, and every triple if there are rows enough. Nothing if the rows do not suffice for pairs.

    A network that compares units may react only if exactly two of them change. No random half and no group shows that.
    """
    every, n = tuple(units), len(units)
    two, three = 1 + comb(n, 2), 1 + comb(n, 2) + comb(n, 3)
    if rows // two < LEAST:
        return []
    sizes = (2, 3) if rows // three >= _ENOUGH and three <= _MOST else (2,)
    return [every, *(chosen for size in sizes for chosen in combinations(units, size))]


def tried_to(every: Sequence[int], sets: Sequence[tuple[int, ...]]) -> int:
    """The largest size up to which ``sets`` has every set of units."""
    n, distinct = len(every), set(sets)
    counts = [sum(len(chosen) == size for chosen in distinct) for size in range(1, n + 1)]
    return next((size for size, count in enumerate(counts) if count < comb(n, size + 1)), n)


__all__ = ["small_sets", "tried_to"]
