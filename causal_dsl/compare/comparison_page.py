"""Two runs side by side as one HTML file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from markupsafe import Markup
from rich.text import Text

from causal_dsl.compare.comparison import CellComparison, RunComparison, SpecComparison, TestComparison, told_scores
from causal_dsl.compare.comparison_text import changes_of, summary_of, told_of_test
from causal_dsl.diagnostics import printable
from causal_dsl.report.figures.axis_titles import axis_title
from causal_dsl.report.figures.pictures import Picture
from causal_dsl.report.heatmap import axes, mark
from causal_dsl.report.html import Section, page
from causal_dsl.report.html.drawn import drawn
from causal_dsl.report.html.rich_html import html_of
from causal_dsl.report.report_lines import unit_of
from causal_dsl.score.format_numbers import show, show_cell, show_estimate
from causal_dsl.score.results import CellResult, TestResult


def comparison_page(comparison: RunComparison) -> str:
    """The whole file: a section for what differs, one for the lines of the spec, and one for each test."""
    specs, sections = comparison.specs, comparison_sections(comparison, "spec")
    title = f"{specs[0].b.spec}, two runs" if len(specs) == 1 else f"{len(specs)} specs, two runs each"
    return page(title, sections, html_of([Text(printable(summary_of(comparison)))]))


def comparison_sections(comparison: RunComparison, named: str, title: str = "") -> list[Section]:
    """The sections of a comparison; the names by which a page links to them begin with ``named``, their titles are those of the
    specs, or ``title`` and these."""
    sections = [
        one for number, spec in enumerate(comparison.specs) for one in _sections(spec, f"{named}-{number}", title)
    ]
    for which, names in (("A", comparison.gone), ("B", comparison.new)):
        if names:
            text = Text(printable(", ".join(names)))
            sections.append(Section(f"{named}-only-{which.lower()}", f"Specs that only {which} has", html_of([text])))
    return sections


def _sections(spec: SpecComparison, own: str, title: str) -> Iterator[Section]:
    sides = [
        Text(
            printable(
                f"{letter}: {run.name} ({run.document['path']}, {run.document.get('finished') or 'time unknown'})"
            )
        )
        for letter, run in (("A", spec.a), ("B", spec.b))
    ]
    yield Section(f"{own}-runs", f"{title}{spec.b.spec}", html_of([*sides, changes_of(spec)]))
    if spec.spec_lines:
        lines = printable("\n".join(spec.spec_lines))
        body = Markup('<pre class="scroll" tabindex="0">{}</pre>').format(lines)
        yield _within(f"{own}-spec", "Changed lines of the spec", body, own)
    for place, test in enumerate(spec.tests):
        named = f"{test.name} (changed)" if test.changed else test.name
        body = Markup().join([*map(drawn, _pictures(test, spec.b.of(test.name))), html_of(told_of_test(test, None))])
        yield _within(f"{own}-test-{place}", named, body, own)
    for which, names in (("A", spec.gone), ("B", spec.new)):
        if names:
            told = html_of([Text(printable(", ".join(names)))])
            yield _within(f"{own}-only-{which.lower()}", f"Tests that only {which} has", told, own)


def _within(id: str, title: str, body: Markup, own: str) -> Section:
    """A section below that of its spec."""
    whole = Markup('<article id="{}"><h3>{}</h3>{}</article>').format(id, printable(title), body)
    return Section(id, title, whole, f"{own}-runs")


def _pictures(test: TestComparison, own: TestResult) -> Iterator[Picture]:
    """The differences of a sweep: a map over two parameters, a curve over a number. ``own``: what the second run says of the test."""
    for score in told_scores(test.cells[0].scores) if test.cells else ():
        cells = [cell for cell in test.cells if score in cell.scores]
        names = [name for name in cells[0].cell if len({str(cell.cell.get(name)) for cell in cells}) > 1]
        if len(names) == 2:
            made = [CellResult(dict(cell.cell), {}) for cell in cells]
            down, across = axes(made, names)
        elif len(names) == 1 and all(isinstance(cell.cell[names[0]], int | float) for cell in cells):
            down = across = names[0]
        else:
            continue
        unit, title = unit_of(score, own), f"{score}, B - A"
        rows = tuple(_row(cell, score, unit, across, down, test.match.first) for cell in cells)
        columns = {"x": across, "y": down} if len(names) == 2 else {"x": across}
        kind: Literal["map", "curve"] = "map" if len(names) == 2 else "curve"
        note = "+ interval of the difference above 0, - below it"
        named = f"{title} ({unit})" if unit else title
        yield Picture(
            score,
            named,
            kind,
            rows,
            axis_title(own, score, across),
            axis_title(own, score, down) if kind == "map" else named,
            joined=kind == "curve",
            note=note,
            columns=columns,
            score=title,
            unit=unit,
        )


def _row(cell: CellComparison, score: str, unit: str, across: str, down: str, pairs: int) -> dict[str, Any]:
    gap = cell.scores[score][2]
    found = gap.estimate
    shown = show(found.value, missing="–")
    told = f"{show_cell(cell.cell)}: {score}, B - A: {show_estimate(found)}{f' {unit}' if unit else ''}"
    return {
        **{"x": cell.cell[across], "y": cell.cell[down], "part": "", "mark": mark(found, 0.0).strip()},
        **{"value": found.value, "low": found.low, "high": found.high, "n": pairs, "ceiling": None},
        **{"told": told, "shown": shown, "method": gap.way},
    }


__all__ = ["comparison_page", "comparison_sections"]
