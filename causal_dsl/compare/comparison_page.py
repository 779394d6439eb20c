"""Two runs side by side as one HTML file."""

from __future__ import annotations

from collections.abc import Iterator

from markupsafe import Markup
from rich.text import Text

from causal_dsl.compare.comparison import RunComparison, SpecComparison
from causal_dsl.compare.comparison_text import changes_of, summary_of, told_of_test
from causal_dsl.diagnostics import printable
from causal_dsl.report.html import Section, page
from causal_dsl.report.html.rich_html import html_of


def comparison_page(comparison: RunComparison) -> str:
    """The whole file: a section for what differs, one for the lines of the spec, and one for each test."""
    specs = comparison.specs
    sections = [one for number, spec in enumerate(specs) for one in _sections(spec, number)]
    for which, names in (("A", comparison.gone), ("B", comparison.new)):
        if names:
            text = Text(printable(", ".join(names)))
            sections.append(Section(f"only-{which.lower()}", f"Specs that only {which} has", html_of([text])))
    title = f"{specs[0].b.spec}, two runs" if len(specs) == 1 else f"{len(specs)} specs, two runs each"
    return page(title, sections, html_of([Text(printable(summary_of(comparison)))]))


def _sections(spec: SpecComparison, number: int) -> Iterator[Section]:
    own = f"spec-{number}"
    sides = [
        Text(
            printable(
                f"{letter}: {run.name} ({run.document['path']}, {run.document.get('finished') or 'time unknown'})"
            )
        )
        for letter, run in (("A", spec.a), ("B", spec.b))
    ]
    yield Section(f"{own}-runs", spec.b.spec, html_of([*sides, changes_of(spec)]))
    if spec.spec_lines:
        lines = printable("\n".join(spec.spec_lines))
        body = Markup('<pre class="scroll" tabindex="0">{}</pre>').format(lines)
        yield Section(f"{own}-spec", "Changed lines of the spec", body, f"{own}-runs")
    for place, test in enumerate(spec.tests):
        title = f"{test.name} (changed)" if test.changed else test.name
        yield Section(f"{own}-test-{place}", title, html_of(told_of_test(test)), f"{own}-runs")
    for which, names in (("A", spec.gone), ("B", spec.new)):
        if names:
            told = html_of([Text(printable(", ".join(names)))])
            yield Section(f"{own}-only-{which.lower()}", f"Tests that only {which} has", told, f"{own}-runs")


__all__ = ["comparison_page"]
