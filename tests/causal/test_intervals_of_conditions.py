"""Conditions over real numbers: what is proved never to hold, and what is drawn where they hold, against plain counting."""

from __future__ import annotations

import time
from random import Random

import numpy as np
import pytest

from causal_dsl.causal.draw import draw
from causal_dsl.causal.interval_bounds import boxes_of
from causal_dsl.diagnostics import Diagnostics, render_all
from tests.causal import causal_models as plain

MODEL = """
causal m {
  x, y ~ real(-1, 1)
  k ~ 0..9
  c ~ {x, 0.5}
  u := x * y + 0.5 * k
  v := if x > y then x else y
  b := x > 0 and y > 0
  r := k mod 3
  output z := x > y
}
"""


def drawn(where: str, n: int = 500, roles: str = "base source"):  # type: ignore[no-untyped-def]
    found = Diagnostics()
    return draw(plain.design(plain.model(MODEL), roles, n=n, where=where), found), found


NEVER = [
    "base.x > 2",
    "base.x + source.y > 2.5",
    "base.x > 0.5 and base.x < 0.2",
    "base.u > 6",
    "base.x * base.x + base.y * base.y < -0.001",
    "base.x - base.x > 0.01",
    "base.b and base.x < 0",
    "base.x / 2 > 0.6",
    "base.x > 0.5 and source.x > 0.5 and base.x + source.x < 0.9",
    "base.k > 5 and base.u < 1",
    "base.r > 2 and base.x > 0",
    "base.c > 1.1",
    "not (base.x <= 1)",
    "base.x + 0.0 == 3",
]


@pytest.mark.parametrize("where", NEVER)
def test_what_never_holds_is_proved_at_once(where: str) -> None:
    start = time.process_time()
    rows, found = drawn(where)
    assert rows is None
    assert [(fault.code, fault.title, fault.label) for fault in found] == [
        ("E330", "this `where` never holds", "no input satisfies it")
    ]
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    "where",
    [
        "base.x > 0.99999",
        "base.x > 0.9999 and source.y > 0.9999",
        "base.x + base.y + source.x + source.y > 3.97",
        "base.u > 5.49",
        "base.k == 9 and base.x > 0.99995 and source.v < -0.99",
        "base.x * base.x + base.y * base.y < 0.00002",
    ],
)
def test_what_hardly_ever_holds_is_drawn_where_it_does(where: str) -> None:
    start = time.process_time()
    rows, found = drawn(where, 200)
    assert rows is not None, render_all(found)
    predicate = plain.predicate(where, dict.fromkeys(("base", "source"), plain.model(MODEL)))
    assert predicate(rows.values, 200).all()
    assert len(np.unique(rows.values["base"]["x"])) == 200
    assert time.process_time() - start < 10


COUNTED = "causal m { a, b, c, d, e ~ 0..99  output o := a == b }"


@pytest.mark.parametrize(
    ("where", "n"),
    [
        ("base.a + base.b + base.c + base.d + base.e >= 496", 0),  # 495 is the most
        ("base.a * base.b + base.c == 9801 + base.d + 100 and base.e * base.e == base.a + 3", 0),
        ("base.a + base.b + base.c + base.d + base.e >= 493", 21),
        ("base.a * base.b * base.c <= 99 * 98 * 97 + 1 and base.a + base.b + base.c + base.d + base.e == 1", 5),
    ],
)
def test_whole_numbers_are_proved_and_drawn_as_well(where: str, n: int) -> None:
    """``n``: how many inputs satisfy it, of 10**10."""
    start, found = time.process_time(), Diagnostics()
    rows = draw(plain.design(plain.model(COUNTED), "base", n=400, where=where), found)
    if n:
        assert rows is not None, render_all(found)
        held = np.stack([rows.values["base"][name] for name in "abcde"])
        assert plain.predicate(where, {"base": plain.model(COUNTED)})(rows.values, 400).all()
        _, counts = np.unique(held, axis=1, return_counts=True)
        assert len(counts) == n and counts.max() < 3 * 400 / n  # all of them, alike often
    else:
        assert [(one.code, one.title) for one in found] == [("E330", "this `where` never holds")]
    assert time.process_time() - start < 2


def test_whole_numbers_that_are_no_floats_are_not_told_apart() -> None:
    big = 2**53
    text = f"causal m {{ x ~ real(0, 1)  k ~ 0..{big + 1}  j := k + 1  output z := x > 0.5 }}"
    m = plain.model(text)
    for where in (
        f"base.k > {big} and base.x > 0.5",
        f"base.j - 1 > {big} and base.x > 0.5",
        f"base.k * 2 > {2 * big + 1} and base.x > 0.1",
    ):
        boxes = boxes_of({"base": m}, plain.predicate(where, {"base": m}))
        assert boxes is not None and not boxes.empty
    boxes = boxes_of({"base": m}, plain.predicate("base.k >= 0 and base.x > 2", {"base": m}))
    assert boxes is not None and boxes.empty


def test_the_draws_are_uniform_where_the_condition_holds() -> None:
    """Of a triangle in the corner of the square: each of its quarters by its area, and `k` as ever."""
    rows, _ = drawn("base.x + base.y > 1.999", 8000, "base")
    assert rows is not None
    x, y = (rows.values["base"][name] - (1 - 0.001) for name in ("x", "y"))
    x, y = x / 0.001, y / 0.001
    for low, high in ((0.25, 0.5), (0.5, 0.9), (0.9, 1.0)):
        expected = high**2 - low**2  # P(x < t) = t**2 for x uniform over the triangle x + y > 1
        assert np.mean((x > low) & (x <= high)) == pytest.approx(expected, abs=0.025)
    counts = np.bincount(rows.values["base"]["k"], minlength=10)
    assert abs(counts - 800).max() < 150
    assert np.mean(y > 0.5) == pytest.approx(0.75, abs=0.025)


def test_rows_without_a_partner_are_proved_to_have_none() -> None:
    m = plain.model(MODEL)
    first, second = plain.design(m, "base", n=64), plain.design(m, "source", n=64)
    from dataclasses import replace

    where = plain.predicate("source.x > base.x + 1.8", {"base": m, "source": m})
    statements = (first.statements[0], replace(second.statements[0], where=where))
    found = Diagnostics()
    start = time.process_time()
    assert draw(replace(first, statements=statements), found) is None
    (fault,) = found
    assert fault.code == "E330" and fault.title == "this `where` never holds for some rows"
    assert time.process_time() - start < 4
    base = draw(first, Diagnostics())
    assert base is not None
    alone = int((base.values["base"]["x"] + 1.8 >= 1).sum())
    assert fault.label == f"{alone} of 64 rows have no partner"


@pytest.mark.thinned(always=14, slow=13)
@pytest.mark.parametrize("seed", range(40))
def test_bounds_hold_on_random_conditions(seed: int) -> None:
    """No input that satisfies a condition lies outside of the boxes."""
    random = Random(seed)
    names = ["base.x", "base.y", "base.u", "base.v", "base.c", "source.x", "base.r"]

    def number(depth: int) -> str:
        if depth == 0 or random.random() < 0.3:
            return random.choice([*names, "0.25", "2", "0.7"])
        op = random.choice(["+", "-", "*", "/", "mod"])
        right = random.choice(["0.5", "2", "3"]) if op in ("/", "mod") else number(depth - 1)
        return f"({number(depth - 1)} {op} {right})"

    def condition(depth: int) -> str:
        if depth == 0:
            return f"{number(2)} {random.choice(['<', '>', '<=', '>=', '!='])} {number(1)}"
        return random.choice(["({} and {})", "({} or {})", "(not {} and {})"]).format(
            condition(depth - 1), condition(depth - 1)
        )

    m = plain.model(MODEL)
    roles = {"base": m, "source": m}
    where = plain.predicate(condition(2), roles)
    boxes = boxes_of(roles, where)
    if boxes is None:
        return
    rows = draw(plain.design(m, n=4000, seed=seed), Diagnostics())
    assert rows is not None
    holds = where(rows.values, 4000)
    inside = np.ones((boxes.low.shape[1], 4000), bool)
    for i, (role, name) in enumerate(boxes.keys):
        column = rows.values[role][name][None, :]
        inside &= (column >= boxes.low[i][:, None]) & (column <= boxes.high[i][:, None])
    assert (~holds | inside.any(axis=0)).all()
