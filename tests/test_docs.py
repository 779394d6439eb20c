"""What the documentation shows is true: specs parse and pass ``check``, Python runs, commands and outputs exist.

The examples of language.md are looked at more closely in ``test_docs_language.py``.
"""

from __future__ import annotations

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import causal_dsl as cd
from causal_dsl.report.word_pages import of_word
from causal_dsl.syntax import tree
from causal_dsl.tools.arguments import parser
from causal_dsl.tools.cli import main
from causal_dsl.vocabulary.findings import FINDINGS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
REFUSED = re.compile(r"^Refused \(\w+\):\n\n```causal\n.*?^```", re.MULTILINE | re.DOTALL)
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
#: A block that declares all of these stands for itself; others speak of names that the page has told before.
WHOLE = {tree.CausalDecl, tree.NetworkDecl, tree.AlignDecl, tree.TestDecl}


def blocks(text: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def of_pages(kind: str) -> list[object]:
    """The blocks of all pages, but for those that are shown because they are refused (``test_skill.py`` looks at these)."""
    return [
        pytest.param(block, id=f"{page.stem}-{number}")
        for page in PAGES
        for number, block in enumerate(blocks(re.sub(REFUSED, "", page.read_text(encoding="utf-8")), kind))
    ]


def commands() -> list[object]:
    """The ``causal-dsl …`` lines of code blocks, and those in the running text."""
    found = {}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        shell = "\n".join(blocks(text, "sh"))
        lines = re.findall(r"^(?:    (?:\$ )?|.*bin/|)causal-dsl +(.+)$", shell + "\n" + text, re.MULTILINE)
        inline = re.findall(r"`causal-dsl ([^`]+)`", text)
        found |= {line: page.stem for line in lines + inline}
    return [pytest.param(line, id=f"{page}-{line}") for line, page in found.items()]


def tutorial() -> str:
    """The file that the reader of the tutorial has in the end."""
    return "\n".join(blocks(TUTORIAL, "causal"))


def lasting(output: str) -> str:
    """An output without times, and without intervals, whose last digit hangs on the resamples."""
    timeless = re.sub(r"; \d+\.\d s\b", "", output)
    return " ".join(re.sub(r"\[[-\d., ]+\]|up to [\d.]+ wide", "…", timeless).split())


@pytest.mark.parametrize("block", of_pages("causal"))
@pytest.mark.thinned(always=40)
def test_specs_parse_and_whole_ones_are_sound(block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    spec = cd.parse(block)
    if {type(node) for node in spec.tree.walk()} >= WHOLE:
        checked = cd.check(spec)
        checked.raise_errors()
        assert not {one.code for one in checked.diagnostics} & {"W620", "W621", "W622", "W628"}, "chance passes it"


def test_the_tutorial_is_one_sound_spec_in_the_canonical_layout() -> None:
    spec = cd.parse(tutorial())
    assert spec.source() == tutorial()
    assert cd.check(spec).diagnostics == []


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of someone who follows the page."""
    shutil.copytree(ROOT / "specs", tmp_path / "specs")
    (tmp_path / "tutorial.causal").write_text(tutorial(), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_python_blocks_run(reader: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "tutorial.causal", "--test", "two_sources", "--json", "--out", "kept"]) == 0
    capsys.readouterr()
    examples = blocks((ROOT / "README.md").read_text(encoding="utf-8"), "python") + blocks(TUTORIAL, "python")
    assert len(examples) == 5
    for number, example in enumerate(examples):
        exec(compile(example, f"<example {number}>", "exec"), {"__name__": "example"})
    printed = capsys.readouterr().out
    shown = re.search(r"^ +l  value +low +high\n(?: .*\n)+", TUTORIAL, re.MULTILINE)
    assert shown is not None and shown[0].split() == printed.split()[-len(shown[0].split()) :]


@pytest.mark.slow
def test_the_outputs_of_the_tutorial_are_printed(reader: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every output is the whole of what its command prints for the file so far; but for times and intervals.

    ``UPDATE_GOLDEN=1`` writes the outputs anew.
    """
    lines = TUTORIAL.split("\n")
    written: list[str] = []
    spec, at, seen = "", 0, 0
    while at < len(lines):
        line = lines[at]
        written.append(line)
        at += 1
        if line == "```causal":
            end = lines.index("```", at)
            spec += "\n".join(lines[at:end]) + "\n\n"
            (reader / "tutorial.causal").write_text(spec, encoding="utf-8")
        command = re.fullmatch(r"    \$ causal-dsl ((?:check|run|plan) tutorial.causal.*)", line)
        end = at
        while command and (lines[end].startswith("    ") or not lines[end]) and not lines[end].startswith("    $"):
            end += 1
        shown = "\n".join(one[4:] for one in lines[at:end]).strip("\n")
        if command and shown:
            main(command[1].split())
            told = capsys.readouterr()
            printed = re.sub(r"[ ]+$", "", told.out, flags=re.MULTILINE).strip("\n")
            if not os.environ.get("UPDATE_GOLDEN"):
                assert lasting(shown) == lasting(printed), line
            written += [f"    {one}".rstrip() for one in printed.split("\n")] + [""]
            at, seen = end, seen + 1
    assert seen >= 7
    if os.environ.get("UPDATE_GOLDEN"):
        (ROOT / "docs" / "tutorial.md").write_text("\n".join(written), encoding="utf-8")


def numbers(text: str) -> dict[str, list[float]]:
    """The numbers of the rows of a report, by the name of the row; but for intervals."""
    rows = re.findall(r"^ +([a-z_ ]+?)  +(\d\.\d{3})(?:  \[.*?\] +(-?\d+\.\d{3})?)?", text, re.MULTILINE)
    return {name: [float(number) for number in found if number] for name, *found in rows}


@pytest.mark.slow
def test_the_example_of_learned_features_comes_out_as_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Up to the rounding of a fit, which differs from machine to machine."""
    page = (ROOT / "docs" / "features.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CAUSAL_DSL_CACHE", str(tmp_path / "cache"))
    Path("learned.causal").write_text(blocks(page, "causal")[0], encoding="utf-8")
    assert main(["run", "learned.causal"]) == 0
    printed = capsys.readouterr().out
    (shown,) = re.findall(r"^    \$ causal-dsl run learned.causal\n((?:(?:    .*)?\n)+)", page, re.MULTILINE)
    expected, found = numbers(shown), numbers(printed)
    assert {"iia", "the feature", "shuffled labels", "untrained network"} < expected.keys() == found.keys()
    for name, values in expected.items():
        assert found[name][0] == pytest.approx(values[0], abs=0.1), name
        assert found[name][1:] == pytest.approx(values[1:], abs=4), name
    said = re.findall(r"^ +([a-z_]+): ", shown, re.MULTILINE)
    assert said == ["chance", "supported", "fitted", "above_controls", "wrong_answers", "not_tried"]
    assert said == re.findall(r"^ +([a-z_]+): ", printed, re.MULTILINE)
    (example,) = blocks(page, "python")
    exec(compile(example, "<features.md>", "exec"), {"__name__": "example"})
    assert capsys.readouterr().out.startswith("1 <Estimate 0.")


@pytest.fixture(scope="module")
def generate() -> dict[str, Any]:
    """The names of docs/generate.py."""
    return runpy.run_path(str(ROOT / "docs" / "generate.py"))


def test_a_full_chapter_of_diagnostics_goes_on_in_one_that_is_not(generate: dict[str, Any]) -> None:
    left = {start: numbers for start, _, numbers in generate["free"]()}
    full = {start for start, numbers in left.items() if not numbers} - {799}  # of which there is one code
    assert full and full <= generate["CONTINUED"].keys()
    assert all(left[generate["CONTINUED"][start]] for start in full)
    shown = "\n".join(generate["shown_free"]())
    assert (
        "790 Written values: full; go to 975" in shown and "765 Output, and fits without a gradient: 767-769" in shown
    )


@pytest.mark.slow
def test_what_records_decide_is_as_they_say(generate: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """The tables of pages, the index of diagnostics, and the defaults of the installed transformers."""
    assert len(generate["FILES"]) > 30
    assert generate["main"](["--check"]) == 0, f"run docs/generate.py: {capsys.readouterr().out}"


@pytest.mark.parametrize(
    ("first", "last", "chapter"),
    [
        (100, 199, "Syntax"),
        (720, 729, "Features"),
        (790, 792, "Written values"),
        (793, 798, "Vocabularies and layouts"),
        (799, 799, "Defects of causal_dsl"),
        (800, 829, "Circuits"),
        (830, 849, "Measures at a place"),
        (850, 859, "Measures of a whole alignment"),
        (860, 869, "Pages and figures of results"),
        (870, 879, "Runs side by side, and the command line"),
        (880, 884, "Editors"),
        (885, 889, "Notebooks and agents"),
        (890, 899, "More of circuits and readings"),
        (930, 939, "Very many pairs"),
    ],
)
def test_codes_stand_in_the_chapter_of_their_range(first: int, last: int, chapter: str) -> None:
    index = (ROOT / "docs" / "diagnostics.md").read_text(encoding="utf-8")
    (section,) = re.findall(rf"^## {chapter}\n\n(.*?)(?:\n\n|\Z)", index, re.M | re.S)
    there = {int(number) for number in re.findall(r"^- \[[EWF](\d+)\]", section, re.M)}
    pages = {int(path.stem[1:]) for path in (ROOT / "docs" / "diagnostics.d").glob("*.md")}
    assert there == {number for number in pages if first <= number <= last} != set()


@pytest.mark.slow
def test_the_pages_are_of_the_checkout_in_which_the_script_stands(tmp_path: Path) -> None:
    """Another installed package of the same name is not documented."""
    other = tmp_path / "causal_dsl"
    other.mkdir()
    (other / "__init__.py").write_text("raise SystemExit('another package')", encoding="utf-8")
    script = str(ROOT / "docs" / "generate.py")
    code = f"import runpy; print(runpy.run_path({script!r})['shapes'].__file__)"
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    found = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert Path(found.stdout.strip()).is_relative_to(ROOT)


def test_a_file_that_is_not_as_they_say_is_named_and_left(
    generate: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = generate["main"].__globals__
    page = tmp_path / "docs" / "features.md"
    page.parent.mkdir()
    right = (ROOT / "docs" / "features.md").read_text(encoding="utf-8")
    page.write_text(right.replace("| `rotation(", "| `turn("), encoding="utf-8")
    names |= {"DOCS": page.parent, "FILES": {page: generate["page"]}}
    assert generate["main"](["--check"]) == 1
    assert capsys.readouterr().out == "docs/features.md\n" and page.read_text(encoding="utf-8") != right
    assert generate["main"]([]) == 0
    assert page.read_text(encoding="utf-8") == right


def test_a_finding_of_a_control_leads_to_its_section() -> None:
    """The sections that records name, and `explain` with them, are those of the index of the page."""
    page = (ROOT / "docs" / "controls.md").read_text("utf-8")
    index = re.findall(r"^\| \[(.+)\]\(#.+\) \| .+ \| (`.+) \|$", page, re.MULTILINE)
    listed: dict[str, list[str]] = {}
    for section, codes in index:
        assert f"\n## {section}\n" in page
        for code in re.findall(r"`(\w+)`", codes):
            listed.setdefault(code, []).append(section)
    named = {code: finding.control for code, finding in FINDINGS.items() if finding.control}
    assert named == {code: sections[0] for code, sections in listed.items()}
    assert all(f"docs/controls.md, {section}" in of_word(code) for code, section in named.items())


def test_every_setting_of_a_fit_is_on_its_page() -> None:
    from causal_dsl.vocabulary.called_words import FITTING

    page = (ROOT / "docs" / "features.md").read_text(encoding="utf-8")
    settings = page.split("\n## Settings of a fit\n")[1].split("\n## ")[0]
    defaults = dict(re.findall(r"^\| `(\w+)` \| (.*?) ?\|", settings, re.MULTILINE))
    assert {name: value.strip("`") for name, value in defaults.items()} == {
        name: str(setting.default).lower() for name, setting in FITTING.items()
    }


@pytest.mark.parametrize("line", commands())
@pytest.mark.thinned(always=20)
def test_commands_exist(line: str) -> None:
    words = shlex.split(line, comments=True)
    try:
        parser().parse_args(words)
    except SystemExit:
        parser().parse_args([*words, "specs"])  # shown without the files that it is for
