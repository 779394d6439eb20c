"""Editors colour a spec by the tokens that the language itself has."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
from pygments.token import Comment, Error, Keyword, Name, Number, Operator, Punctuation, String, Token, Whitespace

from causal_dsl.diagnostics import Diagnostics, Source
from causal_dsl.syntax.grammar import load_grammar
from causal_dsl.syntax.lex import scan
from causal_dsl.tools.pygments_lexer import CausalLexer
from causal_dsl.tools.word_classes import class_of

ROOT = Path(__file__).parents[2]
GRAMMAR = ROOT / "editors" / "vscode" / "syntaxes" / "causal.tmLanguage.json"


@cache
def texts() -> dict[str, str]:
    """All specs of the repository that can be read, and those of the documentation."""
    found = {}
    for path in [*(ROOT / "specs").rglob("*.causal"), *(ROOT / "tests" / "syntax" / "specs").rglob("*.causal")]:
        found[path.relative_to(ROOT).as_posix()] = path.read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        blocks = re.findall(r"^```causal\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        found |= {f"{page.name}-{number}": block for number, block in enumerate(blocks)}
    sound = {}
    for name, text in found.items():
        faults = Diagnostics()
        scan(Source(name, text), faults)
        if not len(faults):
            sound[name] = text.replace("\r\n", "\n")
    assert len(sound) > 60
    return sound


def tokens(text: str) -> Iterator[tuple[int, int, str]]:
    """Where each token and comment of a text stands, and its class, by the language's own lexer."""
    found = scan(Source("", text), Diagnostics())
    yield from ((one.span.start, one.span.end, class_of(one.type)) for one in found.tokens)
    yield from ((one.span.start, one.span.end, "comment") for one in found.comments)


def test_every_terminal_has_a_class() -> None:
    grammar = load_grammar()
    kinds = {terminal.name: class_of(terminal.name) for terminal in grammar.tables.terminals}
    signs = {name for name, kind in kinds.items() if kind == "operator"} - {"SPACE"}
    assert {"declaration", "statement", "joining", "constant", "unit", "bracket", "separator"} < set(kinds.values())
    assert signs <= {*grammar.symbols.values(), "COMPARE"}


PYGMENTS = {
    "declaration": (Keyword.Declaration,),
    "statement": (Keyword,),
    "joining": (Operator.Word,),
    "constant": (Keyword.Constant,),
    "unit": (Keyword.Type,),
    "bracket": (Punctuation,),
    "separator": (Punctuation,),
    "operator": (Operator,),
    "name": (Name, Name.Class),
    "number": (Number,),
    "string": (String.Double,),
    "comment": (Comment.Single,),
}


def test_pygments_cuts_all_specs_as_the_language_does() -> None:
    for name, text in texts().items():
        cut = list(CausalLexer().get_tokens_unprocessed(text))
        assert "".join(word for _, _, word in cut) == text
        there = {(at, at + len(word.rstrip())): kind for at, kind, word in cut if kind is not Whitespace}
        for start, end, kind in tokens(text):
            assert there.pop((start, end)) in PYGMENTS[kind], (name, text[start:end])
        assert there == {}, name


def test_pygments_colours_any_text() -> None:
    found = list(CausalLexer().get_tokens('causal 🙂 "never closed\n&& ¬ 1e5x'))
    assert Error in {kind for kind, _ in found} and all(kind in Token for kind, _ in found)


def test_the_entry_point_names_the_lexer() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, name = project["entry-points"]["pygments.lexers"]["causal"].partition(":")
    assert getattr(import_module(module), name) is CausalLexer


@cache
def scopes() -> dict[str, str]:
    found: dict[str, str] = runpy.run_path(str(ROOT / "docs" / "editor_files.py"))["SCOPES"]
    return found


def fits(kind: str, stack: list[str]) -> bool:
    """Whether the scopes of a character are those of a class of tokens; names may be told more exactly."""
    if kind == "name":
        return any(one.startswith(("variable.other", "entity.name")) for one in stack)
    return any(one.startswith(scopes()[kind] + ".") for one in stack)


@pytest.mark.tools
def test_textmate_cuts_all_specs_as_the_language_does(tmp_path: Path) -> None:
    """By the engine of VS Code: each character of each token has the scope of its class, and nothing else has one."""
    npm = shutil.which("npm")
    assert npm is not None, "npm is needed"
    packages = ["vscode-textmate@9", "vscode-oniguruma@2"]
    subprocess.run(
        [npm, "install", "--no-audit", "--no-fund", "--silent", *packages], cwd=tmp_path, check=True, timeout=300
    )
    script = shutil.copy(Path(__file__).with_name("textmate.js"), tmp_path)
    done = subprocess.run(
        ["node", script, str(GRAMMAR)],
        input=json.dumps(list(texts().values())),
        capture_output=True,
        text=True,
        check=True,
    )
    for (name, text), lines in zip(texts().items(), json.loads(done.stdout), strict=True):
        starts = [0]
        for line in text.split("\n"):
            starts.append(starts[-1] + len(line) + 1)
        stacks: dict[int, list[str]] = {}
        for number, (line, cut) in enumerate(zip(text.split("\n"), lines, strict=True)):
            units = [i for i, letter in enumerate(line) for _ in range(1 + (ord(letter) > 0xFFFF))]
            for start, end, stack in cut:
                stacks |= {starts[number] + units[i]: stack for i in range(start, min(end, len(units)))}
        for start, end, kind in tokens(text):
            for at in range(start, end):
                assert fits(kind, stacks.pop(at)), (name, text[start:end], kind)
        left = {at: stack for at, stack in stacks.items() if not text[at].isspace() and len(stack) > 1}
        assert left == {}, (name, left)


VIM = ("declaration", "statement", "joining", "constant", "number", "string", "comment", "operator")


@pytest.mark.tools
def test_vim_colours_a_spec(tmp_path: Path) -> None:
    """The groups of the first character of each token, by Vim itself."""
    text = (ROOT / "specs" / "ioi.causal").read_text(encoding="utf-8")
    (tmp_path / "s.causal").write_text(text, encoding="utf-8")
    wanted = [(start, kind) for start, _, kind in tokens(text) if kind in VIM]
    places = []
    for start, _ in wanted:
        line = text.count("\n", 0, start) + 1
        column = len(text[text.rfind("\n", 0, start) + 1 : start].encode()) + 1
        places.append([line, column])
    script = tmp_path / "ask.vim"
    script.write_text(
        f"set encoding=utf-8\nset runtimepath^={ROOT}/editors/vim\nsyntax on\nfiletype plugin on\nedit {tmp_path}/s.causal\n"
        f"let found = map({json.dumps(places)}, 'synIDattr(synID(v:val[0], v:val[1], 1), \"name\")')\n"
        f"call writefile(found, '{tmp_path}/found')\nqall!\n",
        encoding="utf-8",
    )
    subprocess.run(["vim", "-es", "-u", "NONE", "-N", "-S", str(script)], timeout=60, check=False)
    found = (tmp_path / "found").read_text(encoding="utf-8").split("\n")[:-1]
    assert found == [f"causal{kind.title()}" for _, kind in wanted]
