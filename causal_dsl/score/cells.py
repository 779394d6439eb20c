"""One cell of a test: its scores, what is found beside them, and its verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from causal_dsl.measures.cell_data import CellData
from causal_dsl.measures.context import TestContext
from causal_dsl.measures.per_cell import CellScore, PairMean
from causal_dsl.measures.per_pair import Moved
from causal_dsl.measures.quantities import TRACE
from causal_dsl.measures.units import SHARE
from causal_dsl.score.contrasts import no_contrast, worst_pairs
from causal_dsl.score.estimate import Estimator
from causal_dsl.score.estimates_and_findings import Estimate, Rise
from causal_dsl.score.make_findings import STILL, STILL_WIDE, cell_findings
from causal_dsl.score.results import CellInfo, CellResult
from causal_dsl.score.samples import effects
from causal_dsl.score.unanswered import answered
from causal_dsl.score.verdict import settled, top_of, verdict
from causal_dsl.score.wrong_answers import Speech, elsewhere, nothing_said, one_answer

if TYPE_CHECKING:
    from causal_dsl.causal.ceilings import Ceiling

_MOVED = PairMean("moved", SHARE, Moved("moved", SHARE), "patched")


def found_in(
    cell: Mapping[str, Any],
    number: int,
    scores: dict[str, Estimate],
    wanted: Mapping[str, CellScore],
    estimator: Estimator,
    context: TestContext,
    info: CellInfo,
    speech: Speech,
) -> CellResult:
    """A cell with its scores and findings, not yet judged."""
    frame, patched = estimator.frames[number], context.intervened
    if context.number is not None:
        return _of_number(cell, number, scores, wanted, estimator, patched, info, speech)
    moved = float(estimator.point(_MOVED)[number]) if patched and frame.n else None
    informative = None
    if "iia_informative" in scores and frame.labels is not None:  # sets that differ may yet share answers
        told = answered(frame, True)
        informative = int(np.sum(told.labels != told.base_answers))
    still = None if moved is None else nothing_moved(frame)
    findings = [
        *cell_findings(frame.n, informative, info, moved, still),
        *nothing_said(frame, patched),
        *elsewhere(frame, patched, speech),
        *([] if patched else one_answer(frame, speech)),
        *([] if still else effects(estimator, list(wanted.values()), number)),  # of rounding nothing cancels
        *no_contrast(estimator, wanted, number),
    ]
    worst = worst_pairs(wanted, frame, speech)
    return CellResult(dict(cell), scores, tuple(findings), info.interventions, info.noise_floor, worst=worst)


def _of_number(
    cell: Mapping[str, Any],
    number: int,
    scores: dict[str, Estimate],
    wanted: Mapping[str, CellScore],
    estimator: Estimator,
    patched: bool,
    info: CellInfo,
    speech: Speech,
) -> CellResult:
    """The same where the output is a number: it moves where any logit does."""
    frame = estimator.frames[number]
    still = nothing_moved(frame) if patched and frame.n else None
    differ = None if frame.labels is None else int((frame.labels != frame.base_answers).sum())
    findings = [
        *cell_findings(frame.n, differ, info, 0.0 if still else None, still),
        *([] if still else effects(estimator, list(wanted.values()), number)),  # of rounding nothing cancels
        *no_contrast(estimator, wanted, number),
    ]
    worst = worst_pairs(wanted, frame, speech)
    return CellResult(dict(cell), scores, tuple(findings), info.interventions, info.noise_floor, worst=worst)


def with_verdict(
    cell: CellResult,
    ceilings: Mapping[str, Ceiling],
    together: tuple[float, float] | None,
    rise: Rise | None,
    all_of: str,
    part: str = "",
) -> CellResult:
    """The cell with its verdict: by the interval that holds for all cells ``together``, where there are several.

    ``all_of`` says how the pairs are all there are, where they are, and ``part`` which of all that could be drawn. ``rise``: how much it scores more than the cell below, where a rule that knows nothing of the inside is always right.
    """
    own, iia = cell.scores["accuracy"], cell.scores["iia"]
    at = iia if together is None else replace(iia, low=together[0], high=together[1])
    drawn = cell.scores.get("accuracy_unfiltered", own)
    told = verdict(at, drawn, ceilings, own, cell.scores.get("iia_star"), all_of, part)
    top = top_of(ceilings)
    most = None if top is None else top[1]
    return settled(replace(cell, verdict=told, together=together, top=most, rise=rise, told_once=rise is not None))


def nothing_moved(frame: CellData) -> bool | None:
    """Whether no logit moved in any pair, beyond rounding; None where that is not known: it was not looked at, or logits
    are no finite numbers."""
    if TRACE not in frame.columns.base or TRACE not in frame.columns.patched:
        return None
    before, after = frame.column("base", TRACE), frame.column("patched", TRACE)
    known = np.isfinite(before) & np.isfinite(after)
    # a sum that no float32 holds is one of float64, and rounded less
    wide = known & (before != before.astype(np.float32))
    least = STILL_WIDE if wide.any() else STILL
    change = np.abs(np.where(known, after, 0.0) - np.where(known, before, 0.0))
    if (change > least * (1 + np.abs(np.where(known, before, 0.0)))).any():
        return False
    return True if known.all() else None
