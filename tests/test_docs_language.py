"""Every example of the documentation is read as it stands, and laid out as the formatter lays it out."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from causal_dsl import build
from causal_dsl.base.resources import resource
from causal_dsl.diagnostics import Diagnostics, Source
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_tree
from causal_dsl.syntax.parse import parse

TEXT = Path(resource("docs", "language.md")).read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```causal\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
PAGES = sorted(Path(resource("docs", "diagnostics.d")).glob("E1*.md"))


def attempt(text: str) -> tuple[tree.Tree, Diagnostics]:
    diagnostics = Diagnostics()
    return parse(Source("language.md", text), diagnostics), diagnostics


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_examples_parse(block: str) -> None:
    _, diagnostics = attempt(block)
    diagnostics.raise_errors()


def test_all_kinds_of_declarations_are_shown() -> None:
    shown = {type(node) for block in BLOCKS for node in attempt(block)[0].walk()}
    grammar = set(tree.Declaration.__subclasses__()) | {
        tree.PatchPath,
        tree.AddTo,
        tree.Member,
        tree.IfElse,
        tree.Slice,
        tree.Located,
    }
    assert grammar <= shown


def test_the_keywords_are_all_listed() -> None:
    from causal_dsl.syntax.grammar import load_grammar

    listed = re.search(r"These words are reserved:\n\n((?:    .*\n)+)", TEXT)
    assert listed is not None
    assert set(listed[1].split()) == set(load_grammar().keywords)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pages_of_syntax_faults_show_the_fault_and_its_mending(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# {page.stem}: ")
    blocks = re.findall(r"^```causal\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    *refused, mended = blocks or [None]
    for block in refused:
        _, diagnostics = attempt(block)
        assert {diagnostic.code for diagnostic in diagnostics} == {page.stem}
    if mended is not None:
        parsed, diagnostics = attempt(mended)
        diagnostics.raise_errors()
        assert format_tree(parsed) == mended


def test_the_python_example_makes_a_spec(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    body = example.replace("import causal_dsl as cd\n", "").replace("print(spec.source())\n", "")
    (tmp_path / "example.py").write_text(body, encoding="utf-8")
    made = runpy.run_path(str(tmp_path / "example.py"), {"cd": build})["spec"]
    declared = getattr(made, "tree", made)
    text = format_tree(declared)
    again, diagnostics = attempt(text)
    diagnostics.raise_errors()
    assert again == declared
