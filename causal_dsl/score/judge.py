"""Expectations against estimates: what holds, what does not, and in which cells. Codes: F701, F702."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from causal_dsl.diagnostics import Diagnostic
from causal_dsl.measures.context import Expectation
from causal_dsl.measures.per_cell import CellScore, Chosen, ChosenParameterIs, ScoreOp
from causal_dsl.measures.per_pair import FixedNumber
from causal_dsl.measures.units import INDEX
from causal_dsl.score.chance import show_ceilings
from causal_dsl.score.estimate import Estimator
from causal_dsl.score.estimates_and_findings import Estimate
from causal_dsl.score.format_numbers import counted, show, show_cell, show_estimate
from causal_dsl.score.results import ExpectationResult, Measured

if TYPE_CHECKING:
    from causal_dsl.causal.ceilings import Ceiling

_MOST_CELLS = 5


def judge(
    expectation: Expectation, estimator: Estimator, ceilings: Mapping[str, Ceiling]
) -> tuple[ExpectationResult, Diagnostic | None]:
    """Whether an expectation holds in every cell, and the diagnostic if it does not.

    What is undefined in any cell (no pairs, NaN) is not passed, whatever stands around it.
    """
    line = expectation.span.line if expectation.span.source.text else 0
    if not estimator.cells:
        reason = "the sweep has no cells"
        return ExpectationResult(expectation.text, line, None, False, reason=reason), _undefined(expectation, reason)
    truth = estimator.point(expectation.truth)
    sweep = not expectation.truth.over_cells
    failing = np.flatnonzero(truth != 1)
    passed = not len(failing)
    measured = tuple(
        _measured(comparison, estimator, failing if sweep else None) for comparison in expectation.comparisons
    )
    deciding = next((m for m in measured if m.held is not True), measured[0])
    chose = any(
        isinstance(comparison, ChosenParameterIs) and comparison.text == deciding.text
        for comparison in expectation.comparisons
    )
    value = deciding.cell if chose else deciding.estimate.value
    names = [dict(estimator.cells[c]) for c in _worst_first(expectation, estimator, failing)] if sweep else []
    if passed:
        return ExpectationResult(expectation.text, line, value, True, measured), None
    reason = ""
    if np.isnan(truth[failing]).any() and deciding.held is None:
        where = f" at {show_cell(deciding.cell)}" if deciding.cell else ""
        why = "no pairs are left to score" if deciding.estimate.n == 0 else "its value is not a number"
        reason = f"`{deciding.name}` is undefined{where}: {why}"
        diagnostic = _undefined(expectation, reason)
    else:
        diagnostic = _failed(expectation, deciding, names, estimator, ceilings)
    return ExpectationResult(expectation.text, line, value, False, measured, tuple(names), reason), diagnostic


def _sides(comparison: CellScore) -> tuple[CellScore, CellScore | FixedNumber | None, str]:
    """The measured side of a comparison, what it is compared with, and the operator as seen from the measured side."""
    if not isinstance(comparison, ScoreOp):
        return comparison, None, ""
    left, right = comparison.operands
    if isinstance(left, CellScore):
        return left, right, comparison.op
    assert isinstance(right, CellScore)
    return right, left, {"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(comparison.op, comparison.op)


def _margin(side: np.ndarray, bound: np.ndarray, op: str) -> np.ndarray:
    """How far a comparison is from failing: negative where it fails; NaN comes out as minus infinity."""
    gap = side - bound
    margin = {">": gap, ">=": gap, "<": -gap, "<=": -gap, "==": -np.abs(gap), "!=": np.abs(gap)}[op]
    return np.where(np.isnan(margin), -np.inf, margin)


def _margins(comparison: CellScore, estimator: Estimator) -> np.ndarray:
    side, bound, op = _sides(comparison)
    if bound is None:
        return estimator.point(comparison)
    right = estimator.point(bound) if isinstance(bound, CellScore) else np.array([bound.value])
    return _margin(estimator.point(side), right, op)


def _measured(comparison: CellScore, estimator: Estimator, failing: np.ndarray | None) -> Measured:
    """The comparison in the cell where it holds least, looking first at the cells where the expectation fails."""
    if isinstance(comparison, ChosenParameterIs):
        index, _ = estimator.chosen(comparison.chosen)
        found = None if index is None else dict(estimator.cells[index])
        held = _held(float(estimator.point(comparison)[0]))
        return Measured(comparison.text, comparison.chosen.text, Estimate(None, n=estimator.n), None, held, found)
    side, bound, _ = _sides(comparison)
    margins = _margins(comparison, estimator)
    among = failing if failing is not None and len(failing) and len(margins) > 1 else np.arange(len(margins))
    worst = int(among[np.argmin(margins[among])])
    limit = bound.value if isinstance(bound, FixedNumber) else None
    if isinstance(bound, CellScore):
        limit = float(np.broadcast_to(estimator.point(bound), margins.shape)[worst])
    held = _held(float(np.broadcast_to(estimator.point(comparison), margins.shape)[worst]))
    cell = dict(estimator.cells[worst]) if not comparison.over_cells and estimator.cells[worst] else None
    estimate = estimator.estimate(side, 0 if side.over_cells else worst)
    return Measured(comparison.text, side.text, estimate, limit, held, cell, 0 if side.unit == INDEX else 3)


def _held(truth: float) -> bool | None:
    return None if np.isnan(truth) else bool(truth)


def _worst_first(expectation: Expectation, estimator: Estimator, failing: np.ndarray) -> list[int]:
    margins = [_margins(comparison, estimator) for comparison in expectation.comparisons]

    def least(cell: int) -> float:
        return min(float(m[cell if len(m) > 1 else 0]) for m in margins)

    return sorted((int(cell) for cell in failing), key=least)


def _failed(
    expectation: Expectation,
    deciding: Measured,
    cells: list[dict[str, Any]],
    estimator: Estimator,
    ceilings: Mapping[str, Ceiling],
) -> Diagnostic:
    if deciding.estimate.value is None:
        shown = f"`{deciding.name}` is {show_cell(deciding.cell or {})}"
    else:
        shown = f"`{deciding.name}` is {show_estimate(deciding.estimate, deciding.bound, deciding.digits)}"
    where = f" at {show_cell(deciding.cell)}" if deciding.cell and deciding.estimate.value is not None else ""
    notes = []
    if cells and len(estimator.cells) > 1:
        notes.append(f"it fails in {len(cells)} of {len(estimator.cells)} cells, worst first:")
        notes += [f"  {show_cell(cell)}: {_cell_line(expectation, estimator, cell)}" for cell in cells[:_MOST_CELLS]]
        if len(cells) > _MOST_CELLS:
            notes.append(f"  and {len(cells) - _MOST_CELLS} more")
    if ceilings:
        notes.append("ceilings: " + show_ceilings(ceilings))
    notes.append(f"over {counted(deciding.estimate.n)}")
    return Diagnostic(
        "F701",
        f"{shown}{where}: expected `{expectation.text}`",
        expectation.span,
        label=f"{show(deciding.estimate.value, deciding.digits, deciding.bound)}{where}"
        if deciding.estimate.value is not None
        else "",
        notes=tuple(notes),
    )


def _cell_line(expectation: Expectation, estimator: Estimator, cell: dict[str, Any]) -> str:
    index = next(i for i, known in enumerate(estimator.cells) if dict(known) == cell)
    shown = {}
    for comparison in expectation.comparisons:
        side, bound, _ = _sides(comparison)
        if not isinstance(side, ChosenParameterIs | Chosen) and not side.over_cells:
            limit = bound.value if isinstance(bound, FixedNumber) else None
            shown[side.text] = f"{side.text} {show_estimate(estimator.estimate(side, index), against=limit)}"
    return ", ".join(shown.values()) or "fails"


def _undefined(expectation: Expectation, reason: str) -> Diagnostic:
    return Diagnostic(
        "F702",
        f"`{expectation.text}` cannot be judged",
        expectation.span,
        label="undefined",
        notes=(reason,),
        help="an undefined value never passes; draw more pairs, or check the filter",
    )
