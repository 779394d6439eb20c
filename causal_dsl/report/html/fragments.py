"""One test's results as HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from markupsafe import Markup
from rich.table import Table
from rich.text import Text

from causal_dsl.report.attribution_rows import attributions
from causal_dsl.report.circuit_picture import circuit_svg
from causal_dsl.report.circuit_rows import circuits, circuits_of, listed, members_of
from causal_dsl.report.control_rows import beside, controls
from causal_dsl.report.figures.pictures import pictures
from causal_dsl.report.gradient_rows import gradients
from causal_dsl.report.html.drawn import drawn
from causal_dsl.report.html.environment import made_of
from causal_dsl.report.html.pages import styled as in_style
from causal_dsl.report.html.rich_html import html_of
from causal_dsl.report.report_lines import (
    ToldFinding,
    alike_said,
    chance,
    controlled,
    facts,
    fewer,
    findings,
    interval,
    measured,
    with_unit,
    worst_lines,
)
from causal_dsl.report.text_table import table_of
from causal_dsl.score.codes import FULL, LADDER, severity
from causal_dsl.score.format_numbers import counted, show, show_cell, show_estimate
from causal_dsl.score.results import CellResult, TestResult
from causal_dsl.vocabulary.measures import leading

#: A finding of more cells is counted alone.
_MOST_SAID = 12
#: Of a sweep over circuits as many are drawn.
_MOST_CIRCUITS = 6
#: The members of as many are listed.
_MOST_LISTED = 40


def fragment(test: TestResult, styled: bool = False) -> str:
    """The results of one test as an HTML fragment: its charts with their numbers as tables, verdicts, controls, circuits,
    expectations, findings with what they mean, and the pairs that fail.

    ``styled``: with the style sheet, for a place that has none, such as the output of a notebook's cell.
    """
    return in_style(article(test)) if styled else str(article(test))


def article(test: TestResult, id: str = "") -> Markup:
    """The same within a page that has the style sheet."""
    beside_it, told = controlled(test), findings(test)
    return made_of(
        "test.html.j2",
        test=test,
        id=id or identifier(test.name),
        facts=facts(test),
        chance=list(chance(test)),
        pictures=[drawn(picture, table=picture.beside) for picture in pictures(test) if not picture.one_number],
        scores=html_of(
            [
                *scores(test),
                *(worst_lines(test.cells[0]) if len(test.shown_cells) == 1 else ()),
                *filter(None, [alike_said(test)]),
            ]
        ),
        reports=[
            (one.text, show_cell(one.cell) if one.cell is not None else show_estimate(one.estimate))
            for one in test.reports
        ],
        controls=html_of([*controls(beside_it), *beside(beside_it)]),
        circuits=html_of([*circuits(beside_it), *attributions(test), *gradients(test)]),
        circuit_pictures=list(_circuit_pictures(test)),
        circuit_members=_circuit_members(test),
        measured=measured,
        findings=told,
        explains=lambda one: _explains(test, one, told),
        cells_say=_cells_say(test),
        failures=failures(test, id or identifier(test.name)),
        mood=mood,
    )


def _explains(test: TestResult, one: ToldFinding, told: Sequence[ToldFinding]) -> str:
    """The code whose page explains a finding: of the verdict of a sweep that of all its cells, where no finding of its own has it."""
    if one.code != "verdict" or test.verdict is None or test.verdict.code in {other.code for other in told}:
        return one.code
    return test.verdict.code


def _cells_say(test: TestResult) -> dict[str, list[tuple[str, str]]]:
    """The findings of a sweep, cell by cell, where they are few enough to be read."""
    found: dict[str, list[tuple[str, str]]] = {}
    for cell in test.cells if len(test.cells) > 1 else ():
        for finding in cell.findings:
            found.setdefault(finding.code, []).append((show_cell(cell.cell), finding.text))
    return {code: told for code, told in found.items() if len(told) <= _MOST_SAID}


def failures(test: TestResult, id: str) -> Markup:
    """The pairs that fail as a table; empty where none is told."""
    rows = test.failures
    if not rows:
        return Markup()
    cells = [name for name in test.parameters if len(test.cells) > 1]
    roles = list(dict.fromkeys(role for one in rows for role in one.inputs))
    one_cell = len({tuple(one.cell.items()) for one in rows}) == 1
    whole = test.wrong[0].of if test.wrong and one_cell else len(rows)
    return made_of(
        "failures.html.j2",
        rows=rows,
        cells=cells,
        roles=roles,
        id=f"{id}-failures",
        name=test.name,
        count=len(rows),
        of=max(whole, len(rows)),
        before=any(one.before for one in rows),
        open=False,
    )


def mood(code: str, level: str | None = None) -> str:
    """The colour of a verdict or a finding: the class of its badge."""
    if code in FULL or code == "above_controls":
        return "good"
    if code == "contradicted":
        return "bad"
    if code in LADDER:
        return "warn"
    if code in ("mixed", "verdict"):
        return "info"
    return "warn" if (level or severity(code)) == "alarm" else "info"


def identifier(name: str) -> str:
    """The id of a test's part of a page."""
    return "test-" + (re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "unnamed")


def scores(test: TestResult) -> Iterator[Table | Text]:
    """Every score of every cell, with its interval and its pairs."""
    if not test.cells:
        return
    if len(test.shown_cells) == 1:
        table = table_of("score", "value", "95% interval", "pairs")
        for name, estimate in test.cells[0].scores.items():
            table.add_row(with_unit(name, test), show(estimate.value), interval(estimate), str(estimate.n))
        yield table
        return
    yield _of_cells(test, test.cells)
    if any(cell.verdict and cell.together for cell in test.cells):
        name = _judged(list(test.cells[0].scores))
        told = f"The verdict of a cell follows from the 95% interval of {name} that holds for all cells together"
        yield Text(f"{told}{_lowered(test.cells)}.", "dim")


def _lowered(cells: Sequence[CellResult]) -> str:
    """Where a finding made the verdict of a cell lower than its interval does."""
    codes = [cell.verdict.lowered_by for cell in cells if cell.verdict is not None and cell.verdict.lowered_by]
    if not codes:
        return ""
    named = ", ".join(f"`{code}`" for code in dict.fromkeys(codes))
    return f"; in {counted(len(codes), 'cell')} a finding lowers it ({named})"


def _judged(scores: list[str]) -> str:
    """The score that a verdict goes by."""
    return leading(scores, "label") or "the score"


def _of_cells(test: TestResult, cells: tuple[CellResult, ...]) -> Table:
    names = list(dict.fromkeys(name for cell in cells for name in cell.scores))
    table = Table(title="all scores of all cells")
    for parameter in test.parameters:
        table.add_column(parameter)
    if any(cell.verdict for cell in cells):
        table.add_column("verdict")
    if jointly := any(cell.verdict and cell.together for cell in cells):
        table.add_column(f"{_judged(names)}, all cells together", justify="right")
    for name in names:
        part = fewer(name, cells, test)
        table.add_column(with_unit(name, test) + (f", {part}" if part else ""), justify="right")
    table.add_column("pairs", justify="right")
    for cell in cells:
        row = [str(cell.cell.get(parameter, "")) for parameter in test.parameters]
        if any(one.verdict for one in cells):
            row.append(cell.verdict.code if cell.verdict else "")
        if jointly:
            row.append("" if cell.together is None else f"[{show(cell.together[0])}, {show(cell.together[1])}]")
        row += [show_estimate(cell.scores[name]) if name in cell.scores else "" for name in names]
        table.add_row(*row, str(max((estimate.n for estimate in cell.scores.values()), default=0)))
    return table


def _circuit_pictures(test: TestResult) -> Iterator[tuple[Markup, str]]:
    """The circuits of its cells, each once."""
    for own, at in circuits_of(test)[:_MOST_CIRCUITS]:
        drawn = circuit_svg(own.members, "", own.weights, own.choices.lines, own.parallel)
        yield Markup(drawn), own.name + (f" at {at}" if at else "")


def _circuit_members(test: TestResult) -> list[tuple[str, list[str]]]:
    """The members of each circuit as text, with its cells; none where they are listed above."""
    every = circuits_of(test)
    if len(test.cells) == 1 and all(any(listed(own)) for own, _ in every):
        return []
    told = [(own.name + (f" at {at}" if at else ""), list(members_of(own))) for own, at in every[:_MOST_LISTED]]
    if len(every) > _MOST_LISTED:
        told.append((f"and {len(every) - _MOST_LISTED} more: the JSON has them", []))
    return told


__all__ = ["article", "fragment", "identifier", "mood", "scores"]
