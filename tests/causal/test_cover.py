"""How far draws are all that can be drawn: weights against the design's own probabilities, shares against counting."""

from __future__ import annotations

import itertools
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

import causal_dsl as cd
from causal_dsl.causal.cover import Cover, DrawScope, cover_of, once, scope_of
from causal_dsl.causal.designs import Design, Drawn

MODEL = """
causal m {
  x ~ 0..1
  y ~ 0..2 where y >= x
  output z := x == 1 and y == 2
}
network net = zoo("equality-relu")
align at : m -> net {
  x @ input[0:2] via onehot()
  y @ input[4:7] via onehot()
  z @ logits
}
"""


def drawn_of(draws: str, model: str = MODEL) -> tuple[Design, Drawn]:
    checked = cd.check(cd.parse(f"{model}test t on at {{ {draws} report accuracy }}"))
    assert checked.plan is not None, checked.diagnostics
    test = next(test for test in checked.plan.tests if test.name == "t")
    return test.design, checked.plan.draw_of(test)


def mean(cover: Cover, drawn: Drawn, of: object) -> float:
    assert cover.weights is not None and cover.group is not None
    values = {role: {name: codes for name, codes in columns.items()} for role, columns in drawn.values.items()}
    weights = once(cover.weights, cover.group)
    assert weights.sum() < 2**53 and (weights == np.rint(weights)).all()
    return float((weights * of(values)).sum() / weights.sum())  # type: ignore[operator]


def test_weights_are_those_of_the_design() -> None:
    """All five inputs that the model's condition leaves are alike; so are the pairs of them."""
    design, drawn = drawn_of("base, source ~ m(n=2000, seed=0)")
    cover = cover_of(design, drawn)
    assert cover.seen and cover.weights is not None
    assert (cover.weights == 1).all()
    one = dict.fromkeys(((0, 0), (0, 1), (0, 2), (1, 1), (1, 2)), 1 / 5)
    for (a, b), (c, d) in itertools.product(one, one):

        def hit(v: dict, a: int = a, b: int = b, c: int = c, d: int = d) -> np.ndarray:
            here, there = v["base"], v["source"]
            return (here["x"] == a) & (here["y"] == b) & (there["x"] == c) & (there["y"] == d)

        assert mean(cover, drawn, hit) == pytest.approx(one[a, b] * one[c, d])
        assert hit(drawn.values).mean() == pytest.approx(one[a, b] * one[c, d], abs=0.02)


def test_conditions_and_balance() -> None:
    design, drawn = drawn_of("base, source ~ m(n=3000, seed=0, balance=[base.z]) where base.x != source.x")
    cover = cover_of(design, drawn)
    assert cover.weights is not None
    assert mean(cover, drawn, lambda v: v["base"]["z"]) == pytest.approx(0.5)
    # with z false, of nine pairs three have x = 1, y = 1 in the base, and six x = 0
    assert mean(cover, drawn, lambda v: (v["base"]["z"] == 0) & (v["base"]["x"] == 1)) == pytest.approx(0.5 / 3)


@pytest.mark.parametrize(
    "where",
    [
        "base.x == 0",
        "source.x == 1 and base.y == 2",
        "base.x == 0 and source.x != 0",
        "base.z == true and source.z == false",
        "base.x == source.x and base.y == 2",
    ],
)
def test_half_of_the_inputs_is_half_of_those_that_the_condition_leaves(where: str) -> None:
    cover = cover_of(*drawn_of(f"base, source ~ m(n=600, seed=0) where {where}"))
    assert cover.seen and cover.weights is not None


def test_the_source_of_a_value_is_one_of_few() -> None:
    cover = cover_of(*drawn_of("base ~ m(n=200, seed=0) do(x = 1)"))
    assert cover.seen and cover.weights is not None


def test_what_a_value_leaves_is_told_as_such() -> None:
    (scope,) = scope_of(drawn_of("base ~ m(n=200, seed=0) do(x = 1)")[0])
    assert scope == DrawScope(("x = 1",), pytest.approx(0.4), True, value=True)


def test_of_what_a_condition_leaves_less_than_half_was_drawn() -> None:
    wide = MODEL.replace("y ~ 0..2 where y >= x", "y ~ 0..5999").replace(
        "y @ input[4:7] via onehot()", "y @ input[4:5] via scalar()"
    )
    left, (_, few) = "where base.x == 0 and source.x == 0", drawn_of("base, source ~ m(n=400, seed=0)", wide)
    assert not cover_of(*drawn_of(f"base, source ~ m(n=400, seed=0) {left}", wide)).seen
    assert not cover_of(drawn_of("base, source ~ m(n=400, seed=0)", wide)[0], few).seen
    many = cover_of(*drawn_of(f"base, source ~ m(n=400, seed=0) {left} and base.y < 100 and source.y < 100", wide))
    assert many.seen and many.weights is None  # 10 000 pairs of 100 inputs each


@pytest.mark.parametrize(
    "draws",
    [
        "base, source ~ m(n=2000, seed=0, balance=[base.z])",
        "base, source ~ m(n=2000, seed=0, balance=[base.z, source.y])",
        "base, source ~ m(n=2000, seed=0, balance=[base.y]) where base.x != source.x or base.y == 2",
        "base ~ m(n=2000, seed=0) source ~ m(n=2000, seed=1) where source.y >= base.y",
        "base ~ m(n=2000, seed=0, balance=[base.z]) source ~ m(n=2000, seed=1) where source.y != base.y or base.x == 0",
    ],
)
def test_shares_are_those_of_fractions(draws: str) -> None:
    """All rows are exactly 1 and none exactly 0, and any share is the float nearest to the fraction that it is."""
    design, drawn = drawn_of(draws)
    cover = cover_of(design, drawn)
    chances = _fractions(design)
    assert mean(cover, drawn, lambda v: np.ones(drawn.n)) == 1 and mean(cover, drawn, lambda v: np.zeros(drawn.n)) == 0
    assert sum(chances.values()) == 1
    columns = [drawn.values[role][name].tolist() for role in ("base", "source") for name in ("x", "y")]
    for seed in range(30):
        hit = {
            row: bool(bit)
            for row, bit in zip(chances, np.random.default_rng(seed).integers(0, 2, len(chances)), strict=True)
        }
        share = mean(cover, drawn, lambda v, hit=hit: np.array([hit[row] for row in zip(*columns, strict=True)]))
        assert share == float(sum(chance for row, chance in chances.items() if hit[row]))


def _fractions(design: Design) -> dict[tuple[int, ...], Fraction]:
    """The probability of each (base.x, base.y, source.x, source.y), by enumeration."""
    inputs = [(x, y) for x in range(2) for y in range(3) if y >= x]

    def allowed(index: int, base: tuple[int, int], source: tuple[int, int]) -> bool:
        where = design.statements[index].where
        rows = {
            role: {"x": np.array([x]), "y": np.array([y]), "z": np.array([x == 1 and y == 2])}
            for role, (x, y) in (("base", base), ("source", source))
        }
        return where is None or bool(where(rows, 1)[0])

    def drawn(index: int, rows: list[tuple[tuple[int, int], tuple[int, int]]]) -> dict[tuple, Fraction]:
        rows = [row for row in rows if allowed(index, *row)]

        def cell(row: tuple[tuple[int, int], tuple[int, int]]) -> tuple:
            named = dict(zip(("base", "source"), row, strict=True))
            value = {"x": lambda v: v[0], "y": lambda v: v[1], "z": lambda v: v == (1, 2)}
            return tuple(value[name](named[role]) for role, name in design.statements[index].balance)

        counts = Counter(map(cell, rows))
        return {row: Fraction(1, counts[cell(row)] * len(counts)) for row in rows}

    if len(design.statements) == 1:
        found = drawn(0, list(itertools.product(inputs, inputs)))
        return {(*base, *source): chance for (base, source), chance in found.items()}
    found = {}
    for (base, _), chance in drawn(0, [(base, inputs[0]) for base in inputs]).items():
        for (_, source), then in drawn(1, [(base, source) for source in inputs]).items():
            found[*base, *source] = chance * then
    return found


def test_few_draws_do_not_cover() -> None:
    design, drawn = drawn_of("base, source ~ m(n=12, seed=0)")
    assert cover_of(design, drawn).weights is None
    wide = MODEL.replace("y ~ 0..2 where y >= x", "y ~ 0..100000")
    assert drawn_of is not None
    checked = cd.check(
        cd.parse(
            wide.replace("y @ input[4:7] via onehot()", "y @ input[4:5] via scalar()")
            + "test t on at { base ~ m(n=64) report accuracy }"
        )
    )
    if checked.plan is not None:
        test = next(test for test in checked.plan.tests if test.name == "t")
        assert not cover_of(test.design, checked.plan.draw_of(test)).seen


def test_all_pairs_need_no_cover() -> None:
    design, drawn = drawn_of("base, source ~ m(exhaustive=true)")
    assert cover_of(design, drawn) == Cover(False)


def test_the_share_that_a_condition_lets_through() -> None:
    design, _ = drawn_of("base, source ~ m(n=64, seed=0) where base.x != source.x")
    assert scope_of(design) == (DrawScope(("base", "source"), pytest.approx(0.48), True),)
    design, _ = drawn_of("base ~ m(n=64, seed=0)")
    assert scope_of(design) == ()
    design, _ = drawn_of("base ~ m(n=64, seed=0) source ~ m(n=64, seed=1) where source.y >= base.y")
    (scope,) = scope_of(design)
    # y is 0, 1, 2 in 1/5, 2/5, 2/5 of the inputs
    assert scope.exact and scope.share == pytest.approx(0.68)
    # given draws that a condition chose, it is looked at in draws
    design, _ = drawn_of("base ~ m(n=64, seed=0) where base.x != 1 source ~ m(n=64, seed=1) where source.y >= base.y")
    _, scope = scope_of(design)
    assert not scope.exact and scope.low < scope.share < scope.high


def test_inputs_of_one_value_are_summed_out() -> None:
    # 14641 inputs, 2 * 10^8 pairs, of which a condition on a sum modulo 11 lets 1 in 11 through
    model = """
causal m {
  x, y, u, v ~ 0..10
  s := (x + y) mod 11
  t := (u + v) mod 11
  output z := (s + t) mod 11 > 4
}
network net = zoo("equality-relu")
align at : m -> net {
  x @ input[0:1] via scalar()
  y @ input[1:2] via scalar()
  u @ input[2:3] via scalar()
  v @ input[3:14] via onehot()
  z @ logits
}
"""
    design, _ = drawn_of("base, source ~ m(n=64, seed=0) where (base.s + source.t) mod 11 == source.s", model)
    (scope,) = scope_of(design)
    assert scope.exact and scope.share == pytest.approx(1 / 11)


def test_a_condition_that_speaks_of_no_run() -> None:
    design, _ = drawn_of("base ~ m(n=200, seed=0) where 1 == 1")
    assert scope_of(design) == (DrawScope(("base",), 1.0, True),)
