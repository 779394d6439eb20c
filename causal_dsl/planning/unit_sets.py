"""Small sets of unclaimed units, each taken from another input while all other units stay."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import comb

import numpy as np

from causal_dsl.base.counter import Stream
from causal_dsl.planning.probe_rows import LEAST

#: The most sets, where each is an intervention of the plan, and where all are run together.
_MOST, _MOST_TOGETHER = 512, 4096


def small_sets(
    units: list[int], rows: int, least: int = LEAST, spare: int = 0, together: bool = False
) -> tuple[list[tuple[int, ...]], int]:
    """The set of all units, every pair of units, every triple, and larger ones if they are run ``together``, as far as there are rows
    enough (``least`` for each set), with the rows that they have; no sets if the rows do not suffice for pairs. ``spare``: rows that sets
    of more than two may take beyond these, if they need them.

    A network that compares units may react only if exactly two of them change. No random half and no group shows that.
    """
    every, n = tuple(units), len(units)
    most, sizes, count = _MOST_TOGETHER if together else _MOST, 1, 1
    for size in range(2, n if together else min(n, 4)):
        more = count + comb(n, size)
        if more * least > rows + (spare if size > 2 else 0) or (size > 2 and more > most):
            break
        sizes, count = size, more
    if sizes == 1:
        return [], 0
    chosen = [some for size in range(2, sizes + 1) for some in combinations(units, size)]
    return [every, *chosen], max(rows, count * least)


def random_parts(units: Sequence[int], part_of: int, count: int, stream: Stream) -> list[tuple[int, ...]]:
    """So many times a half, or a quarter, or another part of some units, at random."""
    size = max(1, len(units) // part_of)
    return [tuple(sorted(stream.shuffled(np.array(units))[:size].tolist())) for _ in range(count)]


def tried_to(every: Sequence[int], sets: Sequence[tuple[int, ...]]) -> int:
    """The largest size up to which ``sets`` has every set of units."""
    n, distinct = len(every), set(sets)
    counts = [sum(len(chosen) == size for chosen in distinct) for size in range(1, n + 1)]
    return next((size for size, count in enumerate(counts) if count < comb(n, size + 1)), n)


__all__ = ["random_parts", "small_sets", "tried_to"]
