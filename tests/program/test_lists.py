"""Lists of settings: each thing stands in them once, by whatever name, and what was not written is not told of."""

from __future__ import annotations

from pathlib import Path

import pytest

from causal_dsl import api

SPEC = (Path(__file__).parent / "errors" / "draw_exhaustive_n.causal").read_text(encoding="utf-8")
TWICE = [
    ("n=8, balance=[a, a]", "`balance` has `a` twice", ()),
    ("n=8, balance=[a, base.a]", "`balance` has `base.a` twice", ("it is the same as `a`",)),
    ("n=8, balance=[source.a, a, source.a]", "`balance` has `source.a` twice", ()),
    ("n=8, strata=[left, left]", "`strata` has `left` twice", ()),
    ("cover=[a, b, a], t=2", "`cover` has `a` twice", ()),
    ("cover=[a, base.a], t=2", "`cover` has `base.a` twice", ("it is the same as `a`",)),
    ("n=8, split=test, by=[a, a]", "`by` has `a` twice", ()),
    ("n=8, like=base, vary=[a, a]", "`vary` has `a` twice", ()),
]
IDLE = [
    ("exhaustive=true, n=8", "`n`"),
    ("exhaustive=true, balance=[a]", "`balance`"),
    ("exhaustive=true, cover=[a, b]", "`cover`"),
    ("exhaustive=true, n=8, strata=[a]", "`n` and no `strata`"),
]


def faults(draw: str) -> list[tuple[str, str, tuple[str, ...]]]:
    told = api.check(api.parse(SPEC.replace("n=8, exhaustive=true", draw))).errors
    return [(one.code, one.title, one.notes) for one in told]


@pytest.mark.parametrize(("draw", "title", "notes"), TWICE, ids=[draw for draw, _, _ in TWICE])
def test_nothing_is_named_twice(draw: str, title: str, notes: tuple[str, ...]) -> None:
    assert faults(draw) == [("E776", title, notes)]


@pytest.mark.parametrize(("draw", "idle"), IDLE, ids=[draw for draw, _ in IDLE])
def test_an_exhaustive_draw_is_told_of_what_it_has(draw: str, idle: str) -> None:
    assert faults(draw) == [("E698", f"`exhaustive` takes every pair: it needs no {idle}", ())]


def test_the_same_variable_of_two_runs_is_two_things() -> None:
    assert not faults("n=16, balance=[a, source.a]")
