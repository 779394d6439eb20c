"""Lists of settings: each thing stands in them once, by whatever name, and what was not written is not told of."""

from __future__ import annotations

from pathlib import Path

import pytest

from causal_dsl import api

SPEC = (Path(__file__).parent / "errors" / "draw_exhaustive_n.causal").read_text(encoding="utf-8")
KINDS = (Path(__file__).parent / "errors" / "circuit_unknown_kind.causal").read_text(encoding="utf-8")
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
#: lists that are empty: in the test of a circuit, and in its declaration
EMPTY = [
    ("outside(c, at=[])", "layer[0].head[0]", "E213", "`at` of `outside` cannot be `[]`"),
    ("outside(c, among=[])", "layer[0].head[0]", "E213", "`among` of `outside` cannot be `[]`"),
    ("outside(c, at=[last, last])", "layer[0].head[0]", "E776", "`at` has `last` twice"),
    ("outside(c)", "layer[0].head[[]]", "E457", "`[]` holds no head"),
    ("outside(c)", "DISCOVER, among=[])", "E213", "`among` of `discover` cannot be `[]`"),
    ("outside(c)", "DISCOVER, at=[])", "E213", "`at` of `discover` cannot be `[]`"),
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


@pytest.mark.parametrize(("action", "members", "code", "title"), EMPTY, ids=[f"{a} {m}" for a, m, _, _ in EMPTY])
def test_a_list_that_is_empty_is_not_the_same_as_none(action: str, members: str, code: str, title: str) -> None:
    call = members.replace("DISCOVER", "discover(nodes, method=eap, keep=1, by=absolute")
    value = f"= {call}" if call != members else f"{{ a = {members} }}"
    before, _, after = KINDS.partition("circuit wang : gpt {")
    text = f"{before}circuit wang : gpt {value}{after.partition('}')[2]}"
    told = api.check(api.parse(text.replace("outside(wang, among=[hed])", action.replace("(c", "(wang")))).errors
    assert (told[0].code, told[0].title) == (code, title)
