"""Draws that are remembered: two designs share their rows just if nothing that decides the rows differs."""

from __future__ import annotations

from copy import copy
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from causal_dsl import api
from causal_dsl.causal import memo
from causal_dsl.causal.designs import Design, DrawStatement
from causal_dsl.checking import checking
from causal_dsl.diagnostics import Diagnostics

_TEXT = """
domain Few = 0..1
causal one { a, b ~ 0..3  output same := a == b }
causal two { a, b ~ 0..3  output same := a != b }
network net = zoo("equality-relu")
align first : one -> net { a @ input[0:4] via onehot()  same @ logits }
test plain on first { base, source ~ one(n=8)  do(a <- source)  report iia }
test apart on first { base, source ~ one(n=8) where base.a != source.a  do(a <- source)  report iia }
"""


def designs() -> tuple[Design, Design]:
    """A draw without a condition, and one with a condition."""
    checked = api.check(api.parse(_TEXT))
    assert checked.program is not None, checked.text()
    plain, apart = checked.program.tests
    return plain.design, apart.design


def others() -> dict[str, Any]:
    """Another value for each field of a draw."""
    plain, apart = designs()
    condition = apart.statements[0].where
    return {
        "roles": ("base", "other"),
        "model": copy(plain.statements[0].model),
        "n": 9,
        "seed": 5,
        "balance": (("base", "a"),),
        "exhaustive": True,
        "where": condition,
        "span": apart.statements[0].span,
        "split": "test",
        "like": "base",
        "vary": ("a",),
        "alike": condition,
        "written": condition,
        "strata": (("base", "a"),),
        "cover": (("base", "a"),),
        "t": 3,
        "choose": lambda design, statement: None,
    }


def drawn_twice(monkeypatch: pytest.MonkeyPatch, one: Design, other: Design) -> bool:
    """Whether a memo that knows one design draws the other one anew."""
    monkeypatch.setattr(memo, "draw", lambda design, diagnostics: object())
    known = memo.Memo()
    return known.draw(one, Diagnostics()) is not known.draw(other, Diagnostics())


@pytest.mark.parametrize("name", [field.name for field in fields(DrawStatement)])
@pytest.mark.thinned(always=9)
def test_a_draw_is_shared_unless_a_field_differs_that_decides_its_rows(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = designs()
    changed = replace(one.statements[0], **{name: others()[name]})
    assert not drawn_twice(monkeypatch, one, replace(one))
    other = replace(one, statements=(changed, *one.statements[1:]))
    assert drawn_twice(monkeypatch, one, other) == (name not in memo.UNTOLD)


@pytest.mark.parametrize("name", [field.name for field in fields(Design)])
def test_a_design_is_shared_unless_a_field_differs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one, apart = designs()
    other = {"statements": apart.statements, "templates": (apart.statements[0].where,), "by": ("a",)}[name]
    assert drawn_twice(monkeypatch, one, replace(one, **{name: other}))


def test_what_is_left_out_is_a_field() -> None:
    assert {*memo.UNTOLD, *memo.OF_ROWS} <= {field.name for field in fields(DrawStatement)}


#: Edits of a spec, one after the other, and how many of its two draws each of them asks for anew.
EDITS = [
    ("", "", 2),
    ("report iia", "report iia, accuracy", 0),
    ("onehot()  same", "onehot()   same", 0),
    ("n=8) where", "n=12) where", 1),
    ("n=12) where", "n=8) where", 0),
    ("output same := a == b }", "output same := a >= b }", 2),
    ("output same := a >= b }", "output same := a == b }", 0),
    ("base.a != source.a", "base.b != source.a", 1),
    ("output same := a != b }", "output same := a >= b }", 0),  # of another model
    ("base.b != source.a", "base.b in Few", 1),
    ("domain Few = 0..1", "domain Few = 0..2", 2),  # which a condition speaks of, and no model
    ("domain Few = 0..2", "domain Few = 0..3", 2),
    ("causal one { a, b ~ 0..3", "causal one { a, b ~ Few", 2),
]


@pytest.mark.slow
def test_what_is_remembered_from_check_to_check_is_what_a_check_would_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    inner = memo.draw
    monkeypatch.setattr(memo, "draw", lambda design, found: drawn.append(1) or inner(design, found))
    known, text = memo.Memo(), _TEXT
    for old, new, count in EDITS:
        assert old in text
        text = text.replace(old, new, 1)
        drawn.clear()
        again = checking.check(api.parse(text), memo=known)
        assert len(drawn) == count, (old, new)
        fresh = checking.check(api.parse(text))
        assert again.ceilings == fresh.ceilings and again.distinct == fresh.distinct
        assert [one.to_json() for one in again.diagnostics] == [one.to_json() for one in fresh.diagnostics]
        assert again.plan is not None and fresh.plan is not None
        for one, other in zip(again.plan.tests, fresh.plan.tests, strict=True):
            mine, theirs = again.plan.ids_of(one), fresh.plan.ids_of(other)
            assert all((mine[role] == theirs[role]).all() for role in theirs)


def test_a_file_that_a_model_reads_is_part_of_what_is_remembered(tmp_path: Path) -> None:
    (tmp_path / "s.causal").write_text(
        _TEXT.replace("a, b ~ 0..3  output same := a == b", 'a, b ~ lines("w.txt")  output same := a == b')
        .replace("a @ input[0:4] via onehot()  ", "")
        .replace("do(a <- source)", "")
    )
    known, found = memo.Memo(), []
    for words in ("one two three four", "one two", "one two three four five"):
        (tmp_path / "w.txt").write_text("\n".join(words.split()))
        checked = checking.check(api.load(tmp_path / "s.causal"), memo=known)
        fresh = checking.check(api.load(tmp_path / "s.causal"))
        assert checked.distinct == fresh.distinct
        found.append(checked.distinct)
    assert found[0] != found[1]
