"""Options in messages: each is called as it can be given where the message is shown."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest

from causal_dsl import api
from causal_dsl.base.options_shown import MCP, OPTIONS, PYTHON, SURFACES, TERMINAL, Surface, shown_in
from causal_dsl.diagnostics import SpecError
from tests.package_trees import PACKAGE, tree_of

OPTION = re.compile(r"--[a-z]")
#: Modules of commands that only a terminal has.
OF_COMMANDS = ("tools", "units", "compare")


VECTORS = """
causal m {
  a, b ~ 0..3
  output y := a == b
}

network n = torch("net.py:build")

align al : m -> n {
  a..b @ input via onehot()
  y @ logits
}

test t on al {
  base ~ m(n=64)
  report accuracy
}
"""


@cache
def said() -> frozenset[str]:
    """Every text of a note or a help in the package that speaks of an option of a run."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).parts[0] in OF_COMMANDS or not OPTION.search(path.read_text(encoding="utf-8")):
            continue
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.keyword) and node.arg in ("help", "notes"):
                texts = [one.value for one in ast.walk(node.value) if isinstance(one, ast.Constant)]
                found |= {one for one in texts if isinstance(one, str) and OPTION.search(one)}
    return frozenset(found)


@pytest.mark.parametrize("surface", [one for one in SURFACES if one is not TERMINAL], ids=lambda one: one.name)
def test_no_message_names_an_option_that_is_not_there(surface: Surface) -> None:
    texts = said()
    assert len(texts) > 15
    for text in texts:
        told = re.sub(
            r"`?causal-dsl [a-z]+ [^`,;)]*|`--[^`]*` of `causal-dsl run`|the (?:language )?server's (?:own )?`--\w+`",
            "",
            surface.told(text),
        )
        rest = [one for one in re.findall(r"--[a-z][a-z-]*", told) if not one.startswith("--causal-")]
        assert not [one for one in rest if one in OPTIONS], (text, surface.told(text))
        assert TERMINAL.told(text) == text


def test_what_options_are_called_is_there() -> None:
    assert set(OPTIONS.values()) <= {one.name for one in fields(api.Options)}
    assert PYTHON.told("read it, then run with --trust") == "read it, then run with Options(trust=True)"
    assert PYTHON.told("use a smaller dtype (--dtype bfloat16)") == 'use a smaller dtype (Options(dtype="bfloat16"))'
    assert PYTHON.told("pass a folder: --network NAME=PATH").endswith('Options(networks={"NAME": Path("PATH")})')
    assert PYTHON.told("with --workers N") == "with Options(workers=N)"
    assert MCP.told("(`run --out` keeps them)") == "(`--out` of `causal-dsl run` keeps them)"
    assert PYTHON.told("run causal-dsl run x.causal --out results") == "run causal-dsl run x.causal --out results"


def test_a_fault_is_told_where_it_is_raised(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("def build():\n    raise OSError\n")
    spec = api.parse(VECTORS, folder=tmp_path)
    told = {}
    for surface in (PYTHON, TERMINAL, MCP):
        with shown_in(surface), pytest.raises(SpecError) as caught:
            api.plan(spec)
        told[surface.name] = str(caught.value)
    assert all("E703" in one and "tokenizer" not in one for one in told.values())
    assert "pass --load and --trust" in told["terminal"] and "Options(load=True)" in told["python"]
    assert "`run`" in told["mcp"] and "--" not in told["mcp"].partition("help:")[2]
