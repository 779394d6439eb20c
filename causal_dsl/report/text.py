"""Results for people, in the terminal: for each test what it scored, what it expected, and what that says.

Colours and marks where the console has them, plain text where it has not; nothing is told by colour alone.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from causal_dsl.diagnostics import printable
from causal_dsl.report.agreement_table import agreement_tables
from causal_dsl.report.attribution_rows import attributions
from causal_dsl.report.circuit_rows import circuits
from causal_dsl.report.control_rows import beside, controls
from causal_dsl.report.family_table import family
from causal_dsl.report.gradient_rows import gradients
from causal_dsl.report.heatmap import ColourScale, axes, heat_map, marks, scale
from causal_dsl.report.report_lines import (
    alike_said,
    apart,
    ceiling_of,
    chance,
    controlled,
    extremes,
    facts,
    fewer,
    findings,
    interval,
    is_share,
    mapped,
    marks_said,
    measured,
    of_output,
    summary,
    unit_of,
    varying,
    with_unit,
    worst_lines,
)
from causal_dsl.report.text_table import table_of
from causal_dsl.score.codes import severity
from causal_dsl.score.format_numbers import show, show_cell, show_estimate
from causal_dsl.score.results import CellResult, ExpectationResult, TestResult
from causal_dsl.score.spec_results import Results

_MOST_MAPS = 6
_MOST_ROWS = 12
_STYLES = {
    "verdict": "bold",
    "exact": "bold green",
    "supported": "green",
    "contradicted": "red",
    "unmapped_moves": "red",
    "input_copy": "red",
    "replacement_matters": "red",
    "illusion_risk": "red",
    "above_controls": "green",
}


def _style(code: str, level: str | None = None) -> str:
    """The colour of a finding: an alarm is yellow where it has no colour of its own."""
    return _STYLES.get(code, "yellow" if (level or severity(code)) == "alarm" else "cyan")


def print_results(results: Results, console: Console | None = None) -> None:
    """Print all tests, and a line of what passed."""
    console = console or Console(highlight=False)
    for spec in results.specs:
        several = len({test.network for test in spec.tests}) > 1
        for test in spec.tests:
            console.print(_Printable(Group(*_test(test, spec.path, console, several))), highlight=False)
            console.print()
        for one in spec.families:
            console.print(_Printable(Group(*family(one))), highlight=False)
            console.print()
        for table in agreement_tables(spec.tests):
            console.print(_Printable(Group(*table)), highlight=False)
            console.print()
    console.print(_summary(results), highlight=False)


class _Printable:
    """A part of the report whose text holds no control characters, whatever values, names and paths hold."""

    def __init__(self, inner: RenderableType):
        self.inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for segment in console.render(self.inner, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


def text(results: Results, width: int = 100) -> str:
    """The same as plain text."""
    stream = io.StringIO()
    print_results(
        results,
        Console(
            file=stream, width=width, color_system=None, force_terminal=False, force_jupyter=False, highlight=False
        ),
    )
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def _summary(results: Results) -> Text:
    words, passed = summary(results)
    line = Text(words)
    if passed is not None:
        line.stylize("bold green" if passed else "bold red")
    return line


# ── one test ────────────────────────────────────────────────────────────────────────────────────


def _test(test: TestResult, path: str, console: Console, several: bool = False) -> Iterator[RenderableType]:
    head = Text.assemble(("test ", "dim"), (test.name, "bold"))
    place = f"{path}:{test.line}" if test.line else path
    if place:
        head.append(f"  {place}", style="dim")
    if several:
        head.append(f"  on {test.network}", style="dim")
    yield head
    yield _indented(Text(facts(test)))
    for line in chance(test):
        yield _indented(Text(line))
    yield Text("")
    yield from _scores(test, console)
    told = controlled(test)
    yield from controls(told)
    yield from beside(told)
    yield from circuits(told)
    yield from attributions(test)
    yield from gradients(test)
    if test.expectations:
        yield Text("")
        yield _expectations(test.expectations, console)
    found = findings(test)
    if found:
        yield Text("")
    for one in found:
        yield _sentence(one.code, one.text, one.level)


def _indented(what: RenderableType, by: int = 2) -> Padding:
    return Padding(what, (0, 0, 0, by))


# ── scores ──────────────────────────────────────────────────────────────────────────────────────


def _scores(test: TestResult, console: Console) -> Iterator[RenderableType]:
    if not test.cells:
        why = (
            "the sweep has no cells" if test.status != "interrupted" else "no cell was finished, so there are no scores"
        )
        yield _indented(Text(why))
        return
    if len(test.cells) == 1 or test.alike:
        yield _indented(_table_of_scores(test))
        for line in worst_lines(test.cells[0]):
            yield _indented(Text(line, style="dim"))
        if test.alike:
            yield _indented(Text(alike_said(test), style="dim"))
    else:
        for i, score in enumerate(mapped(test)):
            if i:
                yield Text("")
            yield from _sweep(test, score, console)
    if test.reports:
        if len(test.cells) > 1:
            yield Text("")
        for report in test.reports:
            shown = show_cell(report.cell) if report.cell is not None else show_estimate(report.estimate)
            yield _indented(Text(f"{report.text}: {shown}"))


def _table_of_scores(test: TestResult) -> Table:
    table = table_of("score", "value", "95% interval", "pairs")
    for name, estimate in test.cells[0].scores.items():
        table.add_row(Text(with_unit(name, test)), show(estimate.value), Text(interval(estimate)), str(estimate.n))
    return table


def _sweep(test: TestResult, score: str, console: Console) -> Iterator[RenderableType]:
    yield from _swept(*of_output(test, score), score, console)


def _swept(test: TestResult, score: str, title: str, console: Console) -> Iterator[RenderableType]:
    cells = [cell for cell in test.cells if score in cell.scores]
    unit = unit_of(score, test)
    for choices, own in apart(cells):
        names = varying(test, own)
        head = Text.assemble((title, "bold"), (f" ({unit})" if unit else "", "dim"))
        yield _indented(head.append(f"  {choices}", style="dim") if choices else head)
        if len(names) < 2:
            yield from _bars(test, score, own, names or list(test.parameters), console)
        else:
            yield from _maps(test, score, own, names, console)
        yield _indented(Text(extremes(score, own), style="dim"))
    if pairs := fewer(score, cells, test):
        yield _indented(Text(pairs, style="dim"))


def _maps(
    test: TestResult, score: str, cells: list[CellResult], varying: list[str], console: Console
) -> Iterator[RenderableType]:
    rows, columns = axes(cells, varying)
    others = [name for name in varying if name not in (rows, columns)]
    share, ceiling = is_share(score, test), ceiling_of(score, test)
    colours = scale([cell.scores[score] for cell in cells], share, ceiling)
    settings = list(dict.fromkeys(tuple(cell.cell[name] for name in others) for cell in cells))
    if len(settings) > _MOST_MAPS:
        yield from _top(score, cells)
        return
    for setting in settings:
        here = [cell for cell in cells if tuple(cell.cell[name] for name in others) == setting]
        if others:
            yield _indented(Text(show_cell(dict(zip(others, setting, strict=True)))))
        yield from heat_map(here, score, rows, columns, colours, ceiling, console.width)
    yield from _legend(colours, marks_said(score, cells, ceiling), ceiling, console)


def _legend(colours: ColourScale, told: str, ceiling: float | None, console: Console) -> Iterator[RenderableType]:
    line = Text()
    if console.color_system is not None:
        for point in sorted({colours.bottom, colours.anchor, colours.top}):
            name = "ceiling " if ceiling is not None and point == ceiling else ""
            line.append(f" {name}{show(point)} ", style=colours.style(point))
        line.append("  ")
    line.append(told, style="dim")
    if line.plain.strip():
        yield _indented(line)


def _top(score: str, cells: Sequence[CellResult]) -> Iterator[RenderableType]:
    """The highest cells, where there are too many maps."""

    def value(cell: CellResult) -> float:
        found = cell.scores[score].value
        return -math.inf if found is None else found

    ranked = sorted(cells, key=value, reverse=True)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    for cell in ranked[:_MOST_ROWS]:
        table.add_row(Text(show_cell(cell.cell)), Text(show_estimate(cell.scores[score])))
    yield _indented(table)
    if len(ranked) > _MOST_ROWS:
        yield _indented(Text(f"and {len(ranked) - _MOST_ROWS} more cells", style="dim"))


def _bars(
    test: TestResult, score: str, cells: list[CellResult], parameters: list[str], console: Console
) -> Iterator[RenderableType]:
    """One line a cell: the parameter, a bar, the number, its interval."""
    share, ceiling = is_share(score, test), ceiling_of(score, test)
    colours = scale([cell.scores[score] for cell in cells], share, ceiling)
    values = [value for cell in cells if (value := cell.scores[score].value) is not None]
    low, high = min([0.0, *values]), 1.0 if share else max([0.0, *values])
    name = ", ".join(parameters)
    labels = [", ".join(str(cell.cell[p]) for p in parameters) for cell in cells]
    label = min(max(len(name), *map(len, labels)), console.width // 3)
    numbers = [show(cell.scores[score].value) for cell in cells]
    intervals = [interval(cell.scores[score]) for cell in cells]
    widest = max(map(len, numbers))
    length = max(8, min(40, console.width - label - widest - max(map(len, intervals)) - 10))
    full, empty, tick = ("█", "·", "┃") if "utf" in (console.encoding or "").lower() else ("#", ".", "|")
    zero = _column(0.0, low, high, length)
    at = None if ceiling is None else min(length - 1, _column(ceiling, low, high, length))
    if high > low:
        ends = show(low), show(high)
        axis = f"{ends[0]}{ends[1].rjust(length - len(ends[0]))}"
        yield from _beside(name, label, Text(axis), "dim")
    for cell, key, number, around in zip(cells, labels, numbers, intervals, strict=True):
        estimate = cell.scores[score]
        end = zero if estimate.value is None else _column(estimate.value, low, high, length)
        line = Text()
        for i in range(length):
            on = min(zero, end) <= i < max(zero, end)
            if i == at:
                line.append(tick)
            else:
                line.append(full if on else empty, style=colours.colour(estimate.value) if on else "dim")
        line.append(f"  {number.rjust(widest)}{marks(cell, score, ceiling)} ")
        line.append(around, style="dim")
        yield from _beside(key, label, line)
    told = marks_said(score, cells, ceiling)
    if told and ceiling is not None:
        told = f"{tick} the ceiling {show(ceiling)}: " + told.replace(f"the ceiling {show(ceiling)}", "it")
    if told:
        yield _indented(Text(told, style="dim"))


def _beside(key: str, width: int, line: Text, style: str = "") -> Iterator[Text]:
    """A line with its key at the left; a key that is too wide begins on lines above."""
    parts = [key[i : i + width] for i in range(0, len(key), max(1, width))] or [""]
    for part in parts[:-1]:
        yield Text(f"  {part}", style=style)
    yield Text.assemble(f"  {parts[-1].rjust(width)}  ", line, style=style)


def _column(value: float, low: float, high: float, length: int) -> int:
    return max(0, min(length, round((value - low) / (high - low) * length))) if high > low else 0


# ── verdicts ────────────────────────────────────────────────────────────────────────────────────


def _expectations(expectations: Sequence[ExpectationResult], console: Console) -> Padding:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for expectation in expectations:
        verdict = Text("pass", style="bold green") if expectation.passed else Text("FAIL", style="bold red")
        table.add_row(verdict, Text(f"expect {expectation.text}"), Text(measured(expectation)))
    return _indented(table)


def _sentence(code: str, words: str, level: str | None = None) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(f"{code}:", style=_style(code, level)), Text(words))
    return _indented(grid)
