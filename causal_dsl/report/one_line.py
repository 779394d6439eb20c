"""Values of this package in one line each, as a prompt or a debugger shows them."""

from __future__ import annotations

from collections import Counter
from functools import singledispatch
from typing import Any

from causal_dsl.checked import Checked
from causal_dsl.diagnostics import one_line, printable
from causal_dsl.planning.plan import Plan
from causal_dsl.score.format_numbers import counted, show_cell, show_estimate
from causal_dsl.score.results import CellResult, TestResult
from causal_dsl.score.spec_results import Results, SpecResult

#: Scores that the line of a cell shows.
_MOST_SCORES = 4


def one_line_of(value: Any) -> str:
    """A value of this package in one line, between angle brackets; no control character is in it."""
    return f"<{printable(one_line(_told(value)))}>"


@singledispatch
def _told(value: Any) -> str:
    return type(value).__name__


@_told.register
def _(value: Checked) -> str:
    kinds = Counter(diagnostic.severity for diagnostic in value.diagnostics)
    found = [counted(kinds[kind], kind) for kind in ("error", "warning") if kinds[kind]]
    tests = counted(len(value.program.tests), "test") if value.program is not None else "no test was read"
    return f"Checked {value.path}: {', '.join(found) or 'no faults'}; {tests}"


@_told.register
def _(value: Plan) -> str:
    own = [test for test in value.tests if not test.control[0]]
    cells = sum(len(value.scores.get(test.name, ())) for test in own)
    return f"Plan: {counted(len(own), 'test')}, {counted(cells, 'cell')}, {counted(len(value.networks), 'network')}"


@_told.register
def _(value: Results) -> str:
    return f"Results: {standing(value)}"


@_told.register
def _(value: SpecResult) -> str:
    return f"SpecResult {value.path}: {standing(Results((value,)))}"


@_told.register
def _(value: TestResult) -> str:
    told = [counted(value.kept, "pair")] if value.n else []
    told.append(counted(len(value.cells), "cell"))
    if value.status == "interrupted":
        told.append("interrupted")
    elif value.expectations:
        passed = sum(expectation.passed for expectation in value.expectations)
        told.append(f"{passed} of {len(value.expectations)} expectations passed")
    if len(value.cells) == 1:
        told += _scores(value.cells[0], value.asked)
    verdict = value.verdict
    if verdict is not None:
        told.append(verdict.text.rstrip(".") if verdict.code == "mixed" else verdict.code)
    return f"TestResult {value.name}: {', '.join(told)}"


@_told.register
def _(value: CellResult) -> str:
    place = show_cell(value.cell)
    told = _scores(value)
    if value.verdict is not None:
        told.append(value.verdict.code)
    return f"CellResult{' ' + place if place else ''}: {', '.join(told) or 'no scores'}"


def _scores(cell: CellResult, first: tuple[str, ...] = ()) -> list[str]:
    """Some scores of a cell: those that were asked for come first."""
    names = list(dict.fromkeys([*(name for name in first if name in cell.scores), *cell.scores]))
    more = len(names) - _MOST_SCORES
    shown = [f"{name} {show_estimate(cell.scores[name])}" for name in names[:_MOST_SCORES]]
    return [*shown, *([f"{more} more"] if more > 0 else [])]


def standing(results: Results) -> str:
    """How many tests there are, how many expectations passed, and how many tests were interrupted."""
    expectations = [expectation for test in results.tests for expectation in test.expectations]
    told = [counted(len(results.tests), "test")]
    stopped = sum(test.status == "interrupted" for test in results.tests)
    if stopped:
        told.append(f"{stopped} interrupted and not judged")
    if expectations:
        passed = sum(expectation.passed for expectation in expectations)
        told.append(f"{passed} of {len(expectations)} expectations passed")
    if results.faults:
        told.append(counted(len(results.faults), "fault"))
    return ", ".join(told)
