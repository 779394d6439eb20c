"""The page for agents: its examples are judged by ``check`` as it says, and it holds every word of the vocabulary."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import causal_dsl as cd
from causal_dsl.tools.cli import main
from causal_dsl.vocabulary.features import FEATURES
from causal_dsl.vocabulary.findings import FINDINGS
from causal_dsl.vocabulary.measures import MEASURES
from causal_dsl.vocabulary.readings import READINGS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "skill.md").read_text(encoding="utf-8")
#: Each block, with the code for which it is refused ("": none).
BLOCKS = re.findall(r"(?:^Refused \((\w+)\):\n\n)?^```causal\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_command_prints_the_page_without_marks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["skill"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("# ") and "<!--" not in printed
    words = set(re.findall(r"\w+", printed))
    every = {*MEASURES.own, *READINGS, *FEATURES.own, *(f.code for f in FINDINGS.values() if f.about == "verdict")}
    assert every <= words
    assert 2000 < len(printed.split()) < 5000


def test_there_are_examples_of_both_kinds() -> None:
    assert sum(not code for code, _ in BLOCKS) >= 1 and sum(bool(code) for code, _ in BLOCKS) >= 3


@pytest.mark.parametrize(("code", "text"), BLOCKS)
def test_its_examples_are_judged_as_it_says(code: str, text: str) -> None:
    try:
        found = {diagnostic.code for diagnostic in cd.check(cd.parse(text)).diagnostics}
    except cd.SpecError as error:
        found = {diagnostic.code for diagnostic in error.diagnostics}
    assert found == ({code} if code else set())


def test_the_whole_example_finds_what_a_report_of_it_says() -> None:
    (whole,) = (text for code, text in BLOCKS if not code)
    assert cd.parse(whole).source() == whole
    results = cd.run(cd.parse(whole), cd.Options(tests=("solves", "at_b")))
    assert results.passed
    estimate = results["at_b"].cell().scores["iia"]
    assert f"iia {estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}] over {estimate.n} pairs" in " ".join(
        PAGE.split()
    )


def test_llms_txt_links_pages_that_are_there() -> None:
    text = (ROOT / "docs" / "llms.txt").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) > 8 and all((ROOT / "docs" / link).is_file() for link in links)
