"""Golden diagnostics: every ``errors/NAME.causal`` has its messages in ``errors/NAME.txt``.

After a change on purpose, write them anew with ``UPDATE_GOLDEN=1 pytest tests/syntax/test_errors.py`` and read the diff.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from causal_dsl.base.resources import resource
from causal_dsl.diagnostics import Diagnostics, Source, render_all
from causal_dsl.syntax.parse import parse

FOLDER = Path(__file__).parent / "errors"
SPECS = sorted(FOLDER.glob("*.causal"))


def rendered(path: Path) -> str:
    diagnostics = Diagnostics()
    with path.open(encoding="utf-8", newline="") as file:
        parse(Source(path.name, file.read()), diagnostics)
    return render_all(diagnostics) + "\n"


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_messages(path: Path) -> None:
    golden = path.with_suffix(".txt")
    found = rendered(path)
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(found, encoding="utf-8")
    assert found == golden.read_text(encoding="utf-8")


def test_every_golden_text_has_its_spec() -> None:
    assert len(SPECS) >= 25
    assert {path.stem for path in FOLDER.glob("*.txt")} == {path.stem for path in SPECS}


def test_every_code_has_its_page_and_its_golden_text() -> None:
    package = Path(__file__).parents[2] / "causal_dsl" / "syntax"
    used = {
        code for path in package.glob("*.py") for code in re.findall(r'"(E1\d\d)"', path.read_text(encoding="utf-8"))
    }
    shown = {
        code for path in FOLDER.glob("*.txt") for code in re.findall(r"\[(E1\d\d)\]", path.read_text(encoding="utf-8"))
    }
    pages = {path.stem for path in Path(resource("docs", "diagnostics.d")).glob("E1*.md")}
    assert used == pages
    assert used - shown <= {"E110"}, "E110 is about size: see test_parse.py"
