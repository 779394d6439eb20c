"""Golden diagnostics: every ``errors/NAME.causal`` has its messages in ``errors/NAME.txt``.

After a change on purpose, write them anew with ``UPDATE_GOLDEN=1 pytest tests/causal/test_causal_errors.py`` and read the diff.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from causal_dsl.diagnostics import render_all
from tests.causal import causal_models as plain

FOLDER = Path(__file__).parent / "errors"
SPECS = sorted(FOLDER.glob("*.causal"))


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_messages(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    golden = path.with_suffix(".txt")
    _, diagnostics = plain.compile_text(path.read_text(encoding="utf-8"), name=path.name)
    found = render_all(diagnostics) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(found, encoding="utf-8")
    assert found == golden.read_text(encoding="utf-8")


def test_every_golden_text_has_its_spec() -> None:
    assert len(SPECS) >= 6
    assert {path.stem for path in FOLDER.glob("*.txt")} == {path.stem for path in SPECS}
