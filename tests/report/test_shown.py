"""Values as prompts and notebooks show them: one line, and tables in which nothing hostile is HTML."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import causal_dsl as cd
from causal_dsl.report import notebook_tables
from causal_dsl.report.progress import Progress, in_bytes
from causal_dsl.score.estimates_and_findings import Estimate, Finding, Verdict
from causal_dsl.score.results import CellResult, ExpectationResult, TestResult
from causal_dsl.score.spec_results import SpecResult
from causal_dsl.tools.cli import main

SPEC = Path(__file__).parents[2] / "specs" / "equality_relu.causal"
EVIL = "</pre><script>alert(1)</script><img src=x onerror=alert(1)>&amp;\n\x1b[31m"


def untimed(text: str) -> str:
    return re.sub(r"; \d+\.\d s\b", "", text)


class Seen(HTMLParser):
    """The tags and the text of some HTML."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def seen(value: Any) -> Seen:
    found = Seen(value._repr_html_())
    assert found.tags <= {
        "div",
        "p",
        "pre",
        "table",
        "caption",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "strong",
        "code",
        "span",
    }
    assert found.attributes <= {"style", "scope"}
    return found


@pytest.fixture(autouse=True)
def _without_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where Altair is not installed: charts have tests of their own."""
    monkeypatch.setattr(notebook_tables, "charts_installed", lambda: False)


@pytest.fixture(scope="module")
def results() -> cd.Results:
    return cd.run(SPEC, cd.Options(tests=("solves_the_task", "left_is_localised")))


@pytest.mark.slow
def test_each_value_is_one_short_line_and_a_table(results: cd.Results) -> None:
    spec = cd.load(SPEC)
    test = results["left_is_localised"]
    for value, told, held in [
        (spec, "5 tests>", "left_is_localised"),
        (cd.check(spec), "no faults; 5 tests>", "noop 0.500"),
        (cd.plan(spec), "<Plan: 5 tests, 5 cells, 1 network>", "layer-tokens"),
        (results, "<Results: 2 tests, 2 of 2 expectations passed>", "left_is_localised"),
        (test, "iia 1.000", "output_only 0.500"),
        (test.cell(), "supported>", "iia_informative"),
    ]:
        line = repr(value)
        assert "\n" not in line and len(line) < 300 and line.startswith("<") and told in line, line
        assert held in seen(value).text


def test_the_text_of_results_is_that_of_the_command(results: cd.Results, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(SPEC), "--test", "solves_the_task", "--test", "left_is_localised"]) == 0
    printed = capsys.readouterr().out
    assert len(printed) > 500 and untimed(results.text()) == untimed(printed)


def test_faults_are_shown_with_their_place() -> None:
    spec = cd.parse("causal x {\n  a ~ 0..3\n  output b := c\n}\n", path="<b>.causal")
    found = cd.check(spec)
    assert repr(found) == "<Checked <b>.causal: 1 error; 0 tests>"
    text = seen(found).text
    assert "error[E305]" in text and "<b>.causal:3:15" in text


def test_hostile_text_is_escaped_everywhere() -> None:
    cell = CellResult(
        {EVIL: EVIL}, {EVIL: Estimate(0.5, 0.4, 0.6, 9)}, (Finding(EVIL, EVIL),), verdict=Verdict(EVIL, EVIL)
    )
    expectation = ExpectationResult(EVIL, 1, 0.5, False, reason=EVIL)
    test = TestResult(EVIL, 1, 9, 9, {}, (cell, cell), (expectation,), findings=(Finding(EVIL, EVIL),), asked=(EVIL,))
    results = cd.Results((SpecResult(EVIL, "", (test,)), SpecResult("other", "", (replace(test, cells=(cell,)),))))
    spec = cd.parse(f'domain A = {{"{EVIL[:-6]}"}}\n', path=EVIL)
    for value in (results, test, replace(test, cells=(cell,)), cell, spec, cd.check(spec)):
        html = value._repr_html_()
        assert "<script" not in html and "<img" not in html and "\x1b" not in html
        assert "\n" not in repr(value) and "\x1b" not in repr(value)
        assert "alert(1)" in seen(value).text + repr(value)


def test_a_long_sweep_is_cut_and_says_so() -> None:
    cells = tuple(CellResult({"l": number}, {"iia": Estimate(0.5)}) for number in range(500))
    text = seen(TestResult("long", 1, 9, 9, {}, cells)).text
    assert "and 440 more" in text and len(text) < 5000


def test_fetching_is_told_in_bytes() -> None:
    told: list[tuple[str, int]] = []

    class Heard(Progress):
        def begin(self, text: str, total: int) -> None:
            told.append((text, total))

        def advance(self, steps: int = 1) -> None:
            told.append(("", steps))

    tell = in_bytes(Heard(), "big")
    for done in (0, 30, 100):
        tell("fetching", done, 100)
    tell("converting", 0, 0)
    assert told == [("fetching big", 100), ("", 0), ("", 30), ("", 70), ("converting big", 0), ("", 0)]
