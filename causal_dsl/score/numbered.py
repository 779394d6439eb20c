"""Cells of a test whose output is a number: what is found in them, and how far they support the hypothesis.

The ladder is that of answers with R^2 in the place of iia, and without its last step: a network's number is never exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from causal_dsl.measures.of_numbers import Explained
from causal_dsl.score.estimate import Estimator
from causal_dsl.score.estimates_and_findings import Estimate, Verdict
from causal_dsl.score.format_numbers import counted, show, show_estimate
from causal_dsl.score.intervals import together
from causal_dsl.score.results import CellResult
from causal_dsl.score.verdict import VACUOUS, settled
from causal_dsl.vocabulary.ceiling_rules import CEILINGS, NUMBER_RULES

if TYPE_CHECKING:
    from causal_dsl.causal.ceilings import Ceiling

#: A network whose number explains less of the variance than this, in its own unpatched runs, does not do the task.
DOES = 0.5


def numbers_together(estimator: Estimator, score: Explained) -> list[tuple[float, float] | None]:
    """For each cell of a sweep the interval of R^2 that holds for all cells at once; None where there is none."""
    estimator.prepare([score])
    points, again = estimator.point(score), estimator.replicates.get(score)
    times = None if again is None else together(points, again)
    if times is None or again is None:
        return [None] * len(points)
    halves = times * np.nanstd(again, axis=0)
    pairs = zip(points.tolist(), halves.tolist(), strict=True)
    return [(value - half, value + half) if np.isfinite(value + half) else None for value, half in pairs]


def number_verdict(r2: Estimate, own: Estimate, ceilings: Mapping[str, Ceiling]) -> Verdict:
    """The verdict of a cell by its R^2, with the interval that holds for all cells together; ``own`` is that of the unpatched
    runs."""
    value = r2.value
    if r2.n == 0 or value is None:
        return Verdict("inconclusive", "r2 is undefined, so there is no verdict.")
    shown = f"r2 is {show_estimate(r2)} over {counted(r2.n)}"
    reach = own.value if own.method == "exact" else own.high
    if reach is not None and reach < DOES:
        does = f"in the unpatched runs r2 is {show_estimate(own)}, so the network does not compute the number"
        return Verdict("unsolved", f"{shown}; {does}.")
    known = {name: ceilings[name] for name in NUMBER_RULES if name in ceilings}
    if not known:
        return Verdict("inconclusive", f"{shown}; there is no chance level with which to compare it.")
    name = max(known, key=lambda rule: known[rule].high)
    most, least = known[name].high, max(ceiling.low for ceiling in known.values())
    rule = f"{show(most)}, the r2 of {CEILINGS[name].who}"
    if most >= VACUOUS:
        first = CEILINGS[name].who
        text = f"{first[0].upper()}{first[1:]} has an r2 of {show(most)}, so r2 ({show(value)}) cannot decide."
        return Verdict("vacuous", text)
    low, high = (value, value) if r2.method == "exact" else (r2.low, r2.high)
    if low is None or high is None:
        return Verdict("inconclusive", f"{shown}, with no interval; compare it with {rule}.")
    if low > most:
        least_own = own.value if own.low is None else own.low
        if least_own is None or high >= least_own:
            return Verdict("supported", f"{shown}, above {rule}.")
        return Verdict("partly", f"{shown}, above {rule}; but in the unpatched runs r2 is {show_estimate(own)}.")
    if high < least or (r2.method == "exact" and value <= least):
        return Verdict("contradicted", f"{shown}, no more than {rule}.")
    return Verdict("inconclusive", f"{shown}; not above {rule}.")


def with_number_verdict(
    cell: CellResult, ceilings: Mapping[str, Ceiling], joint: Sequence[tuple[float, float] | None], number: int
) -> CellResult:
    """The cell with its verdict, by the interval that holds for all cells together where there are several."""
    r2, both = cell.scores["r2"], joint[number] if joint else None
    at = r2 if both is None or r2.method == "exact" else replace(r2, low=both[0], high=both[1])
    told = number_verdict(at, cell.scores["r2_unpatched"], ceilings)
    return settled(replace(cell, verdict=told))


__all__ = ["number_verdict", "numbers_together", "with_number_verdict"]
