"""Results for people, in the terminal: for each test what it scored, what it expected, and what that says.

Colours and marks where the console has them, plain text where it has not; nothing is told by colour alone.
"""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from causal_dsl.diagnostics import printable
from causal_dsl.report.attribution_rows import attributions
from causal_dsl.report.circuit_rows import circuits
from causal_dsl.report.control_rows import beside, controls
from causal_dsl.report.family_table import family
from causal_dsl.report.heatmap import ColourScale, axes, heat_map, marks, scale
from causal_dsl.report.text_table import table_of
from causal_dsl.score.chance import show_ceilings, show_distinct
from causal_dsl.score.codes import LADDER, severity
from causal_dsl.score.format_numbers import counted, show, show_cell, show_estimate, show_share
from causal_dsl.score.results import CellResult, Estimate, ExpectationResult, Results, TestResult

_MOST_MAPS = 6
_MOST_ROWS = 12
_CORE = ("accuracy", "iia", "iia_informative", "iia_star")
_ORDER = (
    *LADDER,
    "empty",
    "uninformative",
    "never_moved",
    "unmapped_moves",
    "input_copy",
    "replacement_matters",
    "illusion_risk",
    "not_above_controls",
    "above_controls",
)
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
    print_results(results, Console(file=stream, width=width, color_system=None, force_terminal=False, highlight=False))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def _summary(results: Results) -> Text:
    expectations = [e for test in results.tests for e in test.expectations]
    passed = sum(e.passed for e in expectations)
    tests = counted(len(results.tests), "test")
    stopped = sum(test.status == "interrupted" for test in results.tests)
    if stopped:
        tests += f", {stopped} interrupted and not judged"
    if not expectations:
        return Text(f"{tests}, no expectations")
    line = Text(f"{tests}, {passed} of {len(expectations)} expectations passed")
    line.stylize("bold green" if passed == len(expectations) else "bold red")
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
    yield _indented(Text(_facts(test)))
    yield from _chance(test)
    yield Text("")
    yield from _scores(test, console)
    yield from controls(test)
    yield from beside(test)
    yield from circuits(test)
    yield from attributions(test)
    if test.expectations:
        yield Text("")
        yield _expectations(test.expectations, console)
    findings = list(_findings(test))
    if test.verdict is not None and len(test.cells) > 1:
        findings.insert(0, _sentence("verdict", test.verdict.text))
    for name, one in reversed(list(test.outputs.items())):
        if one.verdict is not None:
            findings.insert(1, _sentence(f"{name}: {one.verdict.code}", one.verdict.text))
    if findings:
        yield Text("")
        yield from findings


def _facts(test: TestResult) -> str:
    of = " in the part that is drawn from" if test.part else ""
    whole = f", which are all there are{of}" if test.exhaustive else ""
    whole = f", which include all that can be drawn{of}" if test.covered else whole
    parts = [counted(test.n, "pair") + whole] if test.n else []
    if test.distinct:
        parts.append(show_distinct(test.distinct))
    if test.ceilings_kept or test.kept != test.n:
        parts.append(f"kept {show_share(test.kept, test.n)}")
    if test.status == "interrupted":
        parts.append(f"interrupted: {len(test.cells)} of {counted(test.cell_count or 0, 'cell')} measured")
    elif len(test.cells) != 1:
        parts.append(f"{len(test.cells)} cells")
    if test.seconds >= 0.05:
        parts.append(f"{test.seconds:.1f} s")
    return "; ".join(parts)


def _chance(test: TestResult) -> Iterator[RenderableType]:
    for name, one in (("", test), *test.outputs.items()):
        of = f", `{name}`" if name else ", all outputs together" if test.outputs else ""
        of = f", r2{of}" if "constant" in one.ceilings else of
        for title, ceilings in (("chance", one.ceilings), ("on the kept pairs", one.ceilings_kept)):
            if ceilings:
                yield _indented(Text(f"{title}{of}: {show_ceilings(ceilings)}"))


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
    if len(test.cells) == 1:
        yield _indented(_table_of_scores(test.cells[0].scores))
        yield from _worst(test.cells[0])
    else:
        for i, score in enumerate(_mapped(test)):
            if i:
                yield Text("")
            yield from _sweep(test, score, console)
    if test.reports:
        if len(test.cells) > 1:
            yield Text("")
        for report in test.reports:
            shown = show_cell(report.cell) if report.cell is not None else show_estimate(report.estimate)
            yield _indented(Text(f"{report.text}: {shown}"))


def _worst(cell: CellResult) -> Iterator[RenderableType]:
    """The pairs in which ratios and changes are worst, a line for each score."""
    for name, pairs in cell.worst.items():
        told = [f"{show(one.value)} in pair {one.pair}" + (f" ({_cut(one.base)})" if one.base else "") for one in pairs]
        yield _indented(Text(f"worst of {name}: {', '.join(told)}", style="dim"))


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return f'"{text}"' if len(text) <= 40 else f'"…{text[-38:]}"'


def _mapped(test: TestResult) -> list[str]:
    """The scores of a sweep that are shown: those that the test speaks of, else iia, else accuracy."""
    known = test.cells[0].scores
    asked = [name for name in test.asked if name in known]
    beside = {
        name.replace(f"{ratio}(", f"{ratio}{other}(", 1)
        for name in asked
        for ratio in ("recovered", "relative_change", "faithfulness")
        if name.startswith(f"{ratio}(")
        for other in ("_per_pair", "_median")
    }
    beside |= {f"median({name})" for name in asked if name.startswith("change(")}
    asked = [name for name in asked if name not in beside]
    return asked or [next(name for name in ("iia", "accuracy", "r2") if name in known)]


def _table_of_scores(scores: dict[str, Estimate]) -> Table:
    table = table_of("score", "value", "95% interval", "pairs")
    for name, estimate in scores.items():
        table.add_row(Text(name), show(estimate.value), Text(_interval(estimate)), str(estimate.n))
    return table


def _interval(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return "exact" if estimate.method == "exact" else "none" if estimate.value is not None else ""
    return f"[{show(estimate.low)}, {show(estimate.high)}]"


def _is_share(score: str, test: TestResult) -> bool:
    """Whether a score is a share, with a scale of its own; iia_star is one too, from its ceiling at 0 to 1."""
    return test.units.get(score.removesuffix("_unfiltered")) == "share"


def _ceiling(score: str, test: TestResult) -> float | None:
    """The output_only ceiling, for scores that are measured against it."""
    ceiling = (test.ceilings_kept or test.ceilings).get("output_only")
    if ceiling is None or score not in ("iia", "iia_star"):
        return None
    return 0.0 if score == "iia_star" else ceiling.value


def _sweep(test: TestResult, score: str, console: Console) -> Iterator[RenderableType]:
    of = next((name for name in test.outputs if score.endswith(f"({name})")), "")
    own = score.removesuffix(f"({of})")
    alone = bool(of) and own == "iia"
    yield from _swept(test.outputs[of] if alone else test, own if alone else score, score, console)


def _swept(test: TestResult, score: str, title: str, console: Console) -> Iterator[RenderableType]:
    cells = [cell for cell in test.cells if score in cell.scores]
    varying = [name for name in test.parameters if len({cell.cell[name] for cell in cells}) > 1]
    yield _indented(Text(title, style="bold"))
    if len(varying) < 2:
        yield from _bars(test, score, cells, varying or list(test.parameters), console)
    else:
        yield from _maps(test, score, cells, varying, console)
    yield _indented(Text(_extremes(score, cells), style="dim"))


def _extremes(score: str, cells: Sequence[CellResult]) -> str:
    known = [cell for cell in cells if cell.scores[score].value is not None]
    if not known:
        return "undefined in every cell"
    best = max(known, key=lambda cell: cell.scores[score].value or 0.0)
    parts = [f"highest: {show_estimate(best.scores[score])} at {show_cell(best.cell)}"]
    widths = [e.high - e.low for cell in known if (e := cell.scores[score]).low is not None and e.high is not None]
    if widths:
        parts.append(f"95% intervals up to {show(max(widths))} wide")
    return "; ".join(parts)


def _maps(
    test: TestResult, score: str, cells: list[CellResult], varying: list[str], console: Console
) -> Iterator[RenderableType]:
    rows, columns = axes(cells, varying)
    others = [name for name in varying if name not in (rows, columns)]
    share, ceiling = _is_share(score, test), _ceiling(score, test)
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
    yield from _legend(colours, _told(score, cells, ceiling), ceiling, console)


def _told(score: str, cells: Sequence[CellResult], ceiling: float | None) -> str:
    """What the marks say."""
    if score == "iia" and any(cell.rise is not None for cell in cells):
        below = any(cell.rise is not None and cell.rise.below is not None for cell in cells)
        than = "the cell below it" if below else "the unpatched runs"
        first = " (the lowest: than the unpatched runs)" if below else ""
        return f"^ scores more than {than}{first} over the same pairs, v less; intervals hold for all cells together"
    if ceiling is None:
        return ""
    jointly = ", for all cells together" if any(cell.together is not None for cell in cells) else ""
    return f"+ interval above the ceiling {show(ceiling)}, - below it{jointly}"


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
    share, ceiling = _is_share(score, test), _ceiling(score, test)
    colours = scale([cell.scores[score] for cell in cells], share, ceiling)
    values = [value for cell in cells if (value := cell.scores[score].value) is not None]
    low, high = min([0.0, *values]), 1.0 if share else max([0.0, *values])
    name = ", ".join(parameters)
    labels = [", ".join(str(cell.cell[p]) for p in parameters) for cell in cells]
    label = min(max(len(name), *map(len, labels)), console.width // 3)
    numbers = [show(cell.scores[score].value) for cell in cells]
    intervals = [_interval(cell.scores[score]) for cell in cells]
    widest = max(map(len, numbers))
    length = max(8, min(40, console.width - label - widest - max(map(len, intervals)) - 10))
    full, empty, tick = ("█", "·", "┃") if "utf" in (console.encoding or "").lower() else ("#", ".", "|")
    zero = _column(0.0, low, high, length)
    at = None if ceiling is None else min(length - 1, _column(ceiling, low, high, length))
    if high > low:
        ends = show(low), show(high)
        yield Text(f"  {name[:label].rjust(label)}  {ends[0]}{ends[1].rjust(length - len(ends[0]))}", style="dim")
    for cell, key, number, interval in zip(cells, labels, numbers, intervals, strict=True):
        estimate = cell.scores[score]
        end = zero if estimate.value is None else _column(estimate.value, low, high, length)
        line = Text(f"  {key[:label].rjust(label)}  ")
        for i in range(length):
            on = min(zero, end) <= i < max(zero, end)
            if i == at:
                line.append(tick)
            else:
                line.append(full if on else empty, style=colours.colour(estimate.value) if on else "dim")
        line.append(f"  {number.rjust(widest)}{marks(cell, score, ceiling)} ")
        line.append(interval, style="dim")
        yield line
    told = _told(score, cells, ceiling)
    if told and ceiling is not None:
        told = f"{tick} the ceiling {show(ceiling)}: " + told.replace(f"the ceiling {show(ceiling)}", "it")
    if told:
        yield _indented(Text(told, style="dim"))


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
        table.add_row(verdict, Text(f"expect {expectation.text}"), Text(_measured(expectation)))
    return _indented(table)


def _measured(expectation: ExpectationResult) -> str:
    if expectation.reason:
        return expectation.reason
    if not expectation.measured:
        return ""
    several = len(expectation.measured) > 1
    parts = []
    for measured in expectation.measured:
        where = f" at {show_cell(measured.cell)}" if measured.cell else ""
        if measured.estimate.value is None and measured.cell:
            parts.append(f"{measured.name}: {show_cell(measured.cell)}")
            continue
        number = show_estimate(measured.estimate, measured.bound, measured.digits)
        parts.append((f"{measured.name} " if several else "") + number + where)
    return "; ".join(parts)


def _findings(test: TestResult) -> Iterator[RenderableType]:
    if len(test.cells) == 1:
        for finding in test.cells[0].findings:
            yield _sentence(finding.code, finding.text, finding.severity)
    elif test.cells:
        yield from _tallied(test)
    for finding in test.findings:
        yield _sentence(finding.code, finding.text, finding.severity)


def _tallied(test: TestResult) -> Iterator[RenderableType]:
    """The findings of the cells of a sweep, counted by their code."""
    found = [(finding.code, cell) for cell in test.cells for finding in cell.findings]
    order = {code: i for i, code in enumerate(_ORDER)}
    found.sort(key=lambda pair: (order.get(pair[0], len(order)), pair[0]))
    for code, group in itertools.groupby(found, key=lambda pair: pair[0]):
        cells = [cell for _, cell in group]
        named = "; ".join(show_cell(cell.cell) for cell in cells[:4])
        yield _sentence(code, f"{len(cells)} of {len(test.cells)} cells" + (f": {named}" if len(cells) <= 4 else ""))


def _sentence(code: str, words: str, level: str | None = None) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(f"{code}:", style=_style(code, level)), Text(words))
    return _indented(grid)
