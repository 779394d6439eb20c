"""Values of this package as HTML for a notebook: plain tables in the notebook's own colours, light or dark.

Jinja escapes all that a spec, a network or a path says; nothing here is code, and nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, singledispatch
from importlib.util import find_spec
from typing import Any

from jinja2 import DictLoader, Environment, Template
from markupsafe import Markup

from causal_dsl.checked import Checked
from causal_dsl.diagnostics import one_line, printable
from causal_dsl.planning.cost import cost_of
from causal_dsl.planning.plan import Plan
from causal_dsl.report.one_line import one_line_of, standing
from causal_dsl.report.report_lines import alike_said
from causal_dsl.score.chance import show_ceilings, show_distinct
from causal_dsl.score.estimates_and_findings import Finding
from causal_dsl.score.format_numbers import counted, show, show_cell, show_estimate
from causal_dsl.score.results import CellResult, TestResult
from causal_dsl.score.spec_results import Results
from causal_dsl.vocabulary.measures import leading

#: Rows of a table that are shown; a sweep with more cells is cut, and says so.
MOST_ROWS = 60

_TEMPLATES = {
    "table": """\
<table style="text-align:left; font-variant-numeric:tabular-nums">
{%- if caption %}<caption style="text-align:left; caption-side:top">{{ caption }}</caption>{% endif %}
<thead><tr>{% for head in heads %}<th scope="col" style="text-align:left">{{ head }}</th>{% endfor %}</tr></thead>
<tbody>
{%- for row in rows %}
<tr>{% for cell in row %}<td style="text-align:left; vertical-align:top">{{ cell }}</td>{% endfor %}</tr>
{%- endfor %}
</tbody></table>
{%- if left_out %}<p>and {{ left_out }} more: <code>.to_json()</code> has all</p>{% endif %}""",
    "pre": '<pre style="white-space:pre-wrap; line-height:1.35; margin:.4em 0">{{ text }}</pre>',
    "block": "<div>{% for part in parts %}{{ part }}\n{% endfor %}</div>",
    "line": "<p>{% if strong %}<strong>{{ strong }}</strong> {% endif %}{{ text }}</p>",
}


@cache
def _templates() -> Environment:
    return Environment(loader=DictLoader(_TEMPLATES), autoescape=True)


def _made(name: str, **values: Any) -> Markup:
    template: Template = _templates().get_template(name)
    return Markup(template.render(**values))  # rendered with autoescape


def html_of(value: Any) -> str:
    """A value of this package as HTML that stands for itself."""
    return str(_made("block", parts=_parts(value)))


def _table(heads: Iterable[str], rows: Iterable[Iterable[Any]], caption: str = "") -> Markup:
    every = [[_clean(cell) for cell in row] for row in rows]
    left_out = max(0, len(every) - MOST_ROWS)
    return _made(
        "table",
        heads=[_clean(head) for head in heads],
        rows=every[:MOST_ROWS],
        caption=_clean(caption),
        left_out=left_out,
    )


def _clean(cell: Any) -> Any:
    return cell if isinstance(cell, Markup) else printable(one_line(str(cell)))


@singledispatch
def _parts(value: Any) -> list[Markup]:
    return [_made("pre", text=one_line_of(value))]


@_parts.register
def _(value: Checked) -> list[Markup]:
    parts = [_made("line", strong=_clean(value.path), text=_clean(one_line_of(value).partition(": ")[2].rstrip(">")))]
    parts += [_made("pre", text=diagnostic.render()) for diagnostic in value.diagnostics]
    rows = []
    for test in value.program.tests if value.program is not None and not value.errors else ():
        found = value.ceilings.get(test.name)
        chance = show_ceilings(found) if found else value.without_ceilings(test)
        rows.append((test.name, str(test.span.line), chance, show_distinct(value.distinct.get(test.name, {}))))
        for part in test.parts if found else ():
            rows.append(
                (f"{test.name}: {part.readout.variable}", "", show_ceilings(value.ceilings.get(part.name, {})), "")
            )
    if rows:
        parts.append(_table(("test", "line", "score by chance", "inputs"), rows))
    return parts


@_parts.register
def _(value: Plan) -> list[Markup]:
    rows = []
    for test in value.tests:
        if not test.control[0]:
            runs = f"{value.draw_of(test).n:,}" if test.name in value.scores else ""
            rows.append((test.name, test.network.name, runs, len(value.scores.get(test.name, ()))))
    cost = cost_of(value)
    told = [
        ("passes through the layers", f"{cost.passes:,}"),
        ("rows", f"{cost.rows:,}"),
        ("layer-tokens", f"{cost.layer_tokens:,}"),
        ("the same by whole forward passes", f"{cost.naive_layer_tokens:,} ({cost.ratio:.2f} times as many)"),
        ("floating-point operations", f"{cost.flops:.3g}"),
        ("memory at the peak, beside the weights", f"{cost.peak_bytes / 1e6:,.0f} MB"),
    ]
    return [
        _table(("test", "network", "pairs", "cells"), rows),
        _table(("cost", "counted" if cost.exact else "estimated from some of its blocks"), told),
    ]


@_parts.register
def _(value: Results) -> list[Markup]:
    parts = [_made("line", strong=_clean(standing(value)), text="")]
    several = len(value.specs) > 1
    for spec in value.specs:
        rows = [_of_test(test) for test in spec.tests]
        parts.append(_table(("test", "pairs", "score", "verdict", "expectations"), rows, spec.path if several else ""))
    shown = [*value.faults, *(w for spec in value.specs for w in spec.warnings if not w.is_error), *value.diagnostics]
    return parts + [_made("pre", text=diagnostic.render()) for diagnostic in dict.fromkeys(shown)]


def _of_test(test: TestResult) -> tuple[str, ...]:
    """The row of a test among others."""
    verdict = "interrupted" if test.status == "interrupted" else test.verdict.text if test.verdict is not None else ""
    passed = sum(expectation.passed for expectation in test.expectations)
    judged = f"{passed} of {len(test.expectations)} passed" if test.expectations else ""
    if test.status == "interrupted":
        judged = "not judged" if test.expectations else ""
    return test.name, str(test.kept), _score_of(test), verdict, judged


def _score_of(test: TestResult) -> str:
    """The first score that a test asks for, of its one cell or of the range over its sweep; with its ceiling by chance."""
    if not test.cells:
        return "no cell was finished" if test.status == "interrupted" else "no cells"
    known = test.cells[0].scores
    name = next((name for name in test.asked if name in known), leading(known, "answer") or next(iter(known), ""))
    if not name:
        return ""
    values = [
        estimate.value for cell in test.cells if (estimate := cell.scores.get(name)) and estimate.value is not None
    ]
    if len(test.shown_cells) == 1 or not values:
        told = f"{name} {show_estimate(known[name])}"
    elif len({cell.stands_on for cell in test.cells}) > 1:
        told = f"{name} in {counted(len(test.cells), 'cell')} that do not compare"
    else:
        told = f"{name} {show(min(values))} to {show(max(values))} in {counted(len(test.cells), 'cell')}"
    ceiling = test.ceilings_kept.get("output_only", test.ceilings.get("output_only"))
    return f"{told}; output_only {show(ceiling.value)}" if name == "iia" and ceiling is not None else told


def charts_installed() -> bool:
    """Whether a test can be shown with its charts."""
    return find_spec("altair") is not None and find_spec("vl_convert") is not None


@_parts.register
def _(value: TestResult) -> list[Markup]:
    if charts_installed():
        from causal_dsl.report.html import fragment

        return [Markup(fragment(value, styled=True))]  # it escapes its texts
    parts = [_made("line", strong=_clean(value.name), text=_clean(one_line_of(value).partition(": ")[2].rstrip(">")))]
    ceilings = value.ceilings_kept or value.ceilings
    if ceilings:
        parts.append(_made("line", strong="chance", text=_clean(show_ceilings(ceilings))))
    if len(value.shown_cells) == 1:
        parts += _of_cell(value.cells[0])
        parts += [_made("line", strong="", text=_clean(said))] if (said := alike_said(value)) else []
    elif value.cells:
        parts.append(_sweep(value))
    if value.reports:
        rows = [(r.text, show_cell(r.cell) if r.cell is not None else show_estimate(r.estimate)) for r in value.reports]
        parts.append(_table(("report", "value"), rows))
    if value.expectations:
        parts.append(_expectations(value))
    return parts + _findings(value.findings)


def _sweep(test: TestResult) -> Markup:
    known = list(test.cells[0].scores)
    names = [name for name in test.asked if name in known] or list(filter(None, [leading(known, "answer")]))
    axes = list(dict.fromkeys(name for cell in test.cells for name in cell.cell))
    rows = [
        [
            *(str(cell.cell.get(axis, "")) for axis in axes),
            *(show_estimate(cell.scores[name]) if name in cell.scores else "" for name in names),
            cell.verdict.code if cell.verdict is not None else "",
        ]
        for cell in test.cells
    ]
    return _table([*axes, *names, "verdict"], rows)


def _expectations(test: TestResult) -> Markup:
    rows = []
    for expectation in test.expectations:
        if test.status == "interrupted":
            said = "not judged"
        else:
            said = "pass" if expectation.passed else "fail"
        measured = ", ".join(
            f"{one.name} {show_estimate(one.estimate, one.bound, one.digits)}" for one in expectation.measured
        )
        rows.append((said, expectation.text, measured or expectation.reason))
    return _table(("", "expectation", "measured"), rows)


def _findings(findings: Iterable[Finding]) -> list[Markup]:
    rows = [(finding.code, finding.severity, finding.text) for finding in findings]
    return [_table(("finding", "severity", "it says"), rows)] if rows else []


def _of_cell(cell: CellResult) -> list[Markup]:
    rows = [(name, show_estimate(estimate), estimate.n) for name, estimate in cell.scores.items()]
    parts = [_table(("score", "value", "pairs"), rows)]
    if cell.verdict is not None:
        parts.append(_made("line", strong=_clean(cell.verdict.code), text=_clean(cell.verdict.text)))
    return parts + _findings(cell.findings)


@_parts.register
def _(value: CellResult) -> list[Markup]:
    place = show_cell(value.cell)
    return [*([_made("line", strong=_clean(place), text="")] if place else []), *_of_cell(value)]
