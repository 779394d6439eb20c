"""How far draws are all that can be drawn: weights against the design's own probabilities, shares against counting."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import causal_dsl as cd
from causal_dsl.causal.cover import Cover, Scope, cover_of, scope_of
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
    (test,) = checked.plan.tests
    return test.design, checked.plan.draw_of(test)


def mean(cover: Cover, drawn: Drawn, of: object) -> float:
    assert cover.weights is not None
    values = {role: {name: codes for name, codes in columns.items()} for role, columns in drawn.values.items()}
    return float(np.average(of(values), weights=cover.weights))  # type: ignore[operator]


def test_weights_are_those_of_the_design() -> None:
    """All five inputs that the model's condition leaves are alike; so are the pairs of them."""
    design, drawn = drawn_of("base, source ~ m(n=2000, seed=0)")
    cover = cover_of(design, drawn)
    assert cover.seen and cover.weights is not None
    assert cover.weights.mean() == pytest.approx(1)
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


def test_few_draws_do_not_cover() -> None:
    design, drawn = drawn_of("base, source ~ m(n=12, seed=0)")
    assert cover_of(design, drawn).weights is None
    wide = MODEL.replace("y ~ 0..2 where y >= x", "y ~ 0..100000")
    assert drawn_of is not None
    checked = cd.check(cd.parse(wide.replace("y @ input[4:7] via onehot()", "y @ input[4:5] via scalar()") + "test t on at { base ~ m(n=64) report accuracy }"))  # fmt: skip
    if checked.plan is not None:
        (test,) = checked.plan.tests
        assert not cover_of(test.design, checked.plan.draw_of(test)).seen


def test_all_pairs_need_no_cover() -> None:
    design, drawn = drawn_of("base, source ~ m(exhaustive=true)")
    assert cover_of(design, drawn) == Cover(False)


def test_the_share_that_a_condition_lets_through() -> None:
    design, _ = drawn_of("base, source ~ m(n=64, seed=0) where base.x != source.x")
    assert scope_of(design) == (Scope(("base", "source"), pytest.approx(0.48), True),)
    design, _ = drawn_of("base ~ m(n=64, seed=0)")
    assert scope_of(design) == ()
    design, _ = drawn_of("base ~ m(n=64, seed=0) source ~ m(n=64, seed=1) where source.y >= base.y")
    (scope,) = scope_of(design)
    # y is 0, 1, 2 in 1/5, 2/5, 2/5 of the inputs
    assert not scope.exact and scope.share == pytest.approx(0.68, abs=0.03)
