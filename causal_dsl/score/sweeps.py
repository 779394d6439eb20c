"""The cells of a sweep together: intervals that hold simultaneously, where the score rises, and how many cells luck explains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from causal_dsl.measures.per_cell import PairMean
from causal_dsl.measures.per_pair import Right
from causal_dsl.measures.units import SHARE
from causal_dsl.score.estimate import Estimator
from causal_dsl.score.estimates_and_findings import Estimate, Finding, Rise
from causal_dsl.score.format_numbers import show
from causal_dsl.score.intervals import LEVEL, together

#: How often the unpatched base run gives the counterfactual answer.
UNPATCHED = PairMean("unpatched", SHARE, Right("iia", SHARE, label=True), "base")


def numbers_of(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """The parameters that are numbers and take several values."""
    names = list(cells[0]) if cells else []
    numeric = [n for n in names if all(isinstance(c[n], int | float) and not isinstance(c[n], bool) for c in cells)]
    return [name for name in numeric if len({cell[name] for cell in cells}) > 1]


def below(cells: Sequence[Mapping[str, Any]]) -> list[int | None]:
    """For each cell the one below it: the same but for the next smaller value of the one number that varies.

    None where there is none, and everywhere where several numbers vary (layers and heads): cells then lie side by side,
    not one on the other.
    """
    varying = numbers_of(cells)
    if len(varying) != 1:
        return [None] * len(cells)
    name = varying[0]
    places: dict[tuple[Any, ...], list[tuple[float, int]]] = {}
    for i, cell in enumerate(cells):
        rest = tuple(str(value) for key, value in cell.items() if key != name)
        places.setdefault(rest, []).append((cell[name], i))
    found: list[int | None] = [None] * len(cells)
    for column in places.values():
        column.sort()
        for (_, lower), (_, upper) in pairwise(column):
            found[upper] = lower
    return found


def rises(estimator: Estimator, iia: PairMean) -> list[Rise]:
    """For each cell how much more it scores than the cell below it, or than the unpatched runs; intervals hold together."""
    estimator.prepare([iia, UNPATCHED])
    points, floor = estimator.point(iia), estimator.point(UNPATCHED)
    under = below(estimator.cells)
    values = np.array([points[i] - (floor[i] if j is None else points[j]) for i, j in enumerate(under)])
    again = [
        estimator.difference(iia, i, UNPATCHED if j is None else iia, i if j is None else j)
        for i, j in enumerate(under)
    ]
    known = [column for column in again if column is not None]
    times, spread = None, np.zeros(len(values))
    if known and len(known) == len(again):
        replicates = np.stack(known, axis=1)
        times, spread = together(values, replicates), np.nanstd(replicates, axis=0)
    found = []
    for i, j in enumerate(under):
        n = estimator.frames[i].n
        value = float(values[i]) if np.isfinite(values[i]) else None
        estimate = Estimate(value, n=n, method="exact" if estimator.exhaustive else "none")
        if times is not None and value is not None:
            half = times * float(spread[i])
            estimate = Estimate(value, value - half, value + half, n, "bootstrap", estimator.about)
        found.append(Rise(estimate, None if j is None else dict(estimator.cells[j])))
    return found


def multiple(own: Sequence[Estimate], joint: Sequence[tuple[float, float] | None], top: float) -> list[Finding]:
    """How many cells lie above the ceiling, each by its own interval and all together, and how many would by luck."""
    above = sum(e.low is not None and e.low > top for e in own)
    if len(own) < 2 or not above:
        return []
    luck = len(own) * (1 - LEVEL) / 2
    sure = sum(one is not None and one[0] > top for one in joint)
    text = (
        f"{above} of {len(own)} cells lie above {show(top)} by their own 95% interval; {show(luck, 1)} would by luck alone if none did "
        f"in truth. {sure} do by the intervals that hold for all cells together, which the marks and verdicts use."
    )
    return [Finding("multiple", text)]
