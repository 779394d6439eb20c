"""``run --junit FILE``: the results as JUnit XML, which CI systems read: a test case for each test, its scores as properties."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from causal_dsl.diagnostics import Diagnostic, printable, render_all
from causal_dsl.vocabulary.measures import leading

if TYPE_CHECKING:
    from causal_dsl.score.results import CellResult, TestResult
    from causal_dsl.score.spec_results import Results, SpecResult


def junit_of(results: Results) -> bytes:
    """The document of all results: a suite for each spec."""
    return _document([_suite(spec) for spec in results.specs])


def junit_of_faults(diagnostics: Iterable[Diagnostic]) -> bytes:
    """The document of a run that could not begin: a suite for each file, with one case that is an error."""
    files: dict[str, list[Diagnostic]] = {}
    for diagnostic in diagnostics:
        files.setdefault(diagnostic.span.source.path, []).append(diagnostic)
    suites = []
    for path, found in files.items():
        suite = Element("testsuite", name=printable(path), tests="1", failures="0", errors="1", skipped="0", time="0")
        _told(SubElement(suite, "testcase", classname=printable(path), name="check", time="0"), "error", found)
        suites.append(suite)
    return _document(suites)


def _document(suites: list[Element]) -> bytes:
    counts = {name: str(sum(int(suite.get(name, "0")) for suite in suites)) for name in ("tests", "failures", "errors")}
    root = Element("testsuites", {"name": "causal-dsl", **counts})
    root.extend(suites)
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _suite(spec: SpecResult) -> Element:
    failed = sum(test.status == "failed" for test in spec.tests)
    faults = [diagnostic for diagnostic in spec.warnings if diagnostic.is_error]
    stopped = sum(test.status == "interrupted" for test in spec.tests)
    suite = Element(
        "testsuite",
        name=printable(spec.path),
        tests=str(len(spec.tests)),
        failures=str(failed),
        errors=str(stopped if faults else 0),
        skipped=str(0 if faults else stopped),
        time=f"{sum(test.seconds for test in spec.tests):.3f}",
    )
    if spec.finished:
        suite.set("timestamp", spec.finished)
    properties = SubElement(suite, "properties")
    for name, value in (("key", spec.identity.get("key", "")), ("seed", spec.identity.get("seed", ""))):
        if value != "":
            SubElement(properties, "property", name=name, value=str(value))
    for test in spec.tests:
        _case(suite, spec, test, faults)
    return suite


def _case(suite: Element, spec: SpecResult, test: TestResult, faults: list[Diagnostic]) -> None:
    case = SubElement(
        suite, "testcase", classname=printable(spec.path), name=printable(test.name), time=f"{test.seconds:.3f}"
    )
    properties = SubElement(case, "properties")
    for name, value in properties_of(test):
        SubElement(properties, "property", name=printable(name), value=printable(str(value)))
    if test.status == "failed":
        _told(case, "failure", test.diagnostics)
    elif test.status == "interrupted" and faults:
        _told(case, "error", faults)
    elif test.status == "interrupted":
        SubElement(case, "skipped", message="interrupted: not all cells were measured, and nothing is judged")


def _told(case: Element, kind: str, diagnostics: Iterable[Diagnostic]) -> None:
    found = list(diagnostics)
    message = f"{found[0].severity}[{found[0].code}]: {found[0].title}" if found else kind
    SubElement(case, kind, message=printable(message), type=found[0].code if found else "").text = render_all(found)


# ── scores as properties ────────────────────────────────────────────────────────────────────────


def properties_of(result: TestResult) -> Iterator[tuple[str, object]]:
    """Scores as properties of a test case: the network, the pairs, the verdict, the ceilings, and each cell's scores with the ends
    of their intervals, and the ends between which a ceiling lies that is not exact. Of a sweep, the scores that the test speaks of."""
    yield "network", result.network
    yield "pairs", result.kept
    if result.verdict is not None:
        yield "verdict", result.verdict.code
    for name, ceiling in (result.ceilings_kept or result.ceilings).items():
        known = ceiling.value is not None and not math.isnan(ceiling.value)
        if known:
            yield f"ceiling.{name}", ceiling.value
        if not known or not ceiling.exact:
            ends = (("low", ceiling.low), ("high", ceiling.high))
            yield from ((f"ceiling.{name}.{end}", value) for end, value in ends if not math.isnan(value))
    for cell in result.cells:
        yield from _of_cell(result, cell)
    for expectation in result.expectations:
        yield f"expect {expectation.text}", "pass" if expectation.passed else "fail"


def _of_cell(result: TestResult, cell: CellResult) -> Iterator[tuple[str, object]]:
    at = ", ".join(f"{name}={value}" for name, value in cell.cell.items())
    place = f"[{at}]" if at else ""
    asked = [name for name in result.asked if name in cell.scores]
    first = leading(cell.scores)
    for score in cell.scores if not at else asked or ([first] if first else []):
        estimate = cell.scores[score]
        for end, value in (("", estimate.value), (".low", estimate.low), (".high", estimate.high)):
            if value is not None and not math.isnan(value):
                yield f"{score}{end}{place}", value
    if at and cell.verdict is not None:
        yield f"verdict{place}", cell.verdict.code


__all__ = ["junit_of", "junit_of_faults", "properties_of"]
