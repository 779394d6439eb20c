"""The page of results: what was asked, what came out test by test, what it cost, and what identifies the run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from causal_dsl.diagnostics import render_all
from causal_dsl.report.agreement_table import agreement_tables
from causal_dsl.report.family_table import family
from causal_dsl.report.figures.family_pictures import family_pictures
from causal_dsl.report.html.drawn import drawn
from causal_dsl.report.html.environment import made_of, safe
from causal_dsl.report.html.fragments import article, identifier, mood
from causal_dsl.report.html.model_graph import model_graph
from causal_dsl.report.html.pages import Section, page
from causal_dsl.report.html.places_grid import places_grids
from causal_dsl.report.html.rich_html import html_of
from causal_dsl.report.html.spec_text import annotated
from causal_dsl.report.report_lines import summary
from causal_dsl.score.format_numbers import counted
from causal_dsl.score.spec_results import Results, SpecResult

#: SHA-256 of no bytes: the digest of the features of a run that has none.
_OF_NOTHING = hashlib.sha256(b"").hexdigest()


def results_page(results: Results, beside: Sequence[Section] = ()) -> str:
    """One self-contained HTML file of all results, and of what else stands ``beside`` them, such as a comparison with another run."""
    words, passed = summary(results)
    names = [spec.path for spec in results.specs]
    several = len(names) > 1
    sections = [section for number, spec in enumerate(results.specs) for section in sections_of(spec, number, several)]
    sections += beside
    lead = made_of(
        "lead.html.j2", words=words, passed=passed, results=results, several=len(names) > 1, mood=mood, link=_link
    )
    return page(
        ", ".join(names) if len(names) < 4 else f"{names[0]} and {counted(len(names) - 1, 'more spec')}", sections, lead
    )


def sections_of(spec: SpecResult, number: int = 0, several: bool = False) -> Iterator[Section]:
    """The sections of one spec; ``number`` tells the specs of a page apart, of which there are ``several``."""
    of, own = (f" of {spec.path}" if several else ""), f"spec-{number}"
    links = {test.name: _link(number, test.name) for test in spec.tests}
    if spec.text:
        yield Section(f"{own}-spec", f"The hypothesis{of}", annotated(spec, links))
    placed = {place.variable for test in spec.tests if test.setting for place in test.setting.places}
    if spec.models:
        graphs = [model_graph(name, model, placed, own) for name, model in spec.models.items()]
        yield Section(f"{own}-models", f"Causal models{of}", Markup().join(graphs))
    grids = places_grids(spec.tests)
    if grids:
        yield Section(f"{own}-places", f"Where the variables are{of}", grids)
    yield Section(f"{own}-tests", f"Tests{of}", "")
    for test in spec.tests:
        id = f"{own}-{identifier(test.name)}"
        yield Section(id, test.name, article(test, id), f"{own}-tests")
    for one in spec.families:
        id = f"{own}-family-{identifier(one.name)}"
        body = Markup('<article id="{}"><h3>{}</h3>{}{}</article>').format(
            id,
            safe(f"{one.name}: {counted(len(one.tests), 'test')} side by side"),
            Markup().join(map(drawn, family_pictures(one))),
            html_of(list(family(one))[1:]),
        )
        yield Section(id, f"{one.name}, side by side", body, f"{own}-tests")
    tables = [html_of(table) for table in agreement_tables(spec.tests)]
    if tables:
        yield Section(f"{own}-agreement", f"Measures of one alignment{of}", Markup().join(tables))
    if spec.warnings:
        yield Section(
            f"{own}-warnings",
            f"{'Faults and warnings' if any(one.is_error for one in spec.warnings) else 'Warnings'}{of}",
            Markup('<pre class="scroll" tabindex="0">{}</pre>').format(safe(render_all(spec.warnings))),
        )
    yield Section(
        f"{own}-run",
        f"The run{of}",
        made_of("run.html.j2", facts=list(run_facts(spec)), networks=spec.networks, told=_told),
    )


def _link(spec: int, test: str) -> str:
    return f"#spec-{spec}-{identifier(test)}"


def run_facts(spec: SpecResult) -> Iterator[tuple[str, str]]:
    """The cost and the identity of a run, a name and a text each."""
    identity, cost = spec.identity, spec.cost
    if "seconds" in cost:
        yield "time", f"{cost['seconds']:.1f} s"
    if "layer_tokens" in cost:
        whole = cost.get("naive_layer_tokens") or 0
        saved = (
            f", {whole / cost['layer_tokens']:.1f} times fewer than run one by one"
            if cost["layer_tokens"] and whole
            else ""
        )
        yield (
            "work",
            f"{cost['layer_tokens']:,} layer-tokens in {counted(cost.get('passes', 0), 'pass')}{saved}".replace(
                "passs", "passes"
            ),
        )
        if stored := cost.get("stored_blocks"):
            yield (
                "taken from the store",
                f"{stored} of {counted(cost['blocks'], 'block')}: the work is that of all of them",
            )
        yield "operations", f"{cost.get('flops', 0):.3g} FLOP"
        yield "peak memory", f"{cost.get('peak_bytes', 0) / 1e6:.1f} MB beside the weights"
    yield "spec", f"{spec.path}, SHA-256 {spec.digest}"
    if identity:
        yield "key of the run", str(identity.get("key", ""))
        command = identity.get("command")
        yield "command", " ".join(_quoted(word) for word in command) if command else "run from Python"
        for name in ("seed", "dtype", "device", "compiled", "reference", "memory"):
            value = identity.get(name)
            if value is not None and value is not False:
                yield name, str(value)
        for path, digest in identity.get("files", {}).items():
            yield f"file {path}", f"SHA-256 {digest}"
        for name in ("features", "circuits"):
            if identity.get(name) not in (None, "", _OF_NOTHING):
                yield name, f"SHA-256 {identity[name]}"
    if spec.machine:
        yield "machine", _told(spec.machine)
    if spec.finished:
        yield "finished", spec.finished
    yield "versions", ", ".join(f"{name} {version}" for name, version in spec.versions.items())


def _quoted(word: str) -> str:
    import shlex

    return shlex.quote(word)


def _told(value: Any) -> str:
    """A value of a network's description, in words."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={_told(one)}" for name, one in value.items()) or "none"
    if isinstance(value, list | tuple):
        return "; ".join(map(_told, value)) or "none"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


__all__ = ["results_page", "run_facts", "sections_of"]
