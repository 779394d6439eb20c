"""Outputs that accept several answers: the codes of sets, and ceilings against plain Python over all pairs."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

import causal_dsl as cd
from causal_dsl.causal.ceilings import ceilings, of_rows
from causal_dsl.causal.designs import Design, DrawStatement
from causal_dsl.causal.draw import draw
from causal_dsl.causal.model import CausalModel
from causal_dsl.causal.predicates import compile_predicate
from causal_dsl.diagnostics import NOWHERE, Diagnostics

DOMAIN = range(6)

#: mechanisms of `out` from a and b, beside what they mean
SETS: dict[str, Callable[[int, int], set[int]]] = {
    "{y in Digit where y > a}": lambda a, b: {y for y in DOMAIN if y > a},
    "{y in Digit where y == a or y == b}": lambda a, b: {a, b},
    "{a, b}": lambda a, b: {a, b},
    "{y in Digit where y mod 3 == (a + b) mod 3 and y != b}": lambda a, b: {
        y for y in DOMAIN if y % 3 == (a + b) % 3 and y != b
    },
    "{y in Digit where a == b or y == b}": lambda a, b: set(DOMAIN) if a == b else {b},
    "{a}": lambda a, b: {a},
}


def model_of(mechanism: str) -> CausalModel:
    text = f"domain Digit = 0..5\ncausal m {{\n  a, b ~ Digit where a < 5\n  output out : Digit := {mechanism}\n}}"
    program = cd.check(cd.parse(text)).program
    assert program is not None
    return program.models["m"]


@pytest.mark.parametrize("mechanism", SETS)
def test_the_values_of_a_set_are_those_for_which_its_condition_holds(mechanism: str) -> None:
    model = model_of(mechanism)
    a, b = (column.reshape(-1) for column in np.meshgrid(np.arange(5), np.arange(6)))
    codes = model.evaluate({"a": a, "b": b})["out"]
    for x, y, code in zip(a.tolist(), b.tolist(), codes.tolist(), strict=True):
        assert set(model.sets["out"].values(code)) == SETS[mechanism](x, y)
    same = {(x, y): SETS[mechanism](x, y) for x, y in zip(a.tolist(), b.tolist(), strict=True)}
    assert len(set(codes.tolist())) == len(set(map(frozenset, same.values())))


def best(rows: list[tuple[object, set[int], Fraction]], own: bool = False) -> Fraction:
    """The best rule that sees the first part of a row and says one answer (``own``: one of the set that it sees)."""
    groups: dict[object, list[tuple[set[int], Fraction]]] = {}
    for seen, label, p in rows:
        groups.setdefault(seen, []).append((label, p))
    total = Fraction(0)
    for seen, cases in groups.items():
        choices = [y for y in DOMAIN if not own or y in seen]  # type: ignore[operator]
        total += max((sum((p for label, p in cases if y in label), Fraction(0)) for y in choices), default=Fraction(0))
    return total


@pytest.mark.thinned(always=8)
@pytest.mark.parametrize("swapped", ["a", "b"])
@pytest.mark.parametrize("mechanism", SETS)
@pytest.mark.parametrize("where", ["", "base.b < source.b"])
def test_ceilings_of_sets_are_those_of_all_pairs(mechanism: str, swapped: str, where: str) -> None:
    model, right = model_of(mechanism), SETS[mechanism]
    inputs = [(a, b) for a in range(5) for b in range(6)]
    pairs = [(s, t) for s, t in itertools.product(inputs, inputs) if not where or s[1] < t[1]]
    p = Fraction(1, len(pairs))
    label = {(s, t): right(t[0], s[1]) if swapped == "a" else right(s[0], t[1]) for s, t in pairs}
    answer = {s: frozenset(right(*s)) for s in inputs}
    expected = {
        "noop": best([(answer[s], label[s, t], p) for s, t in pairs], own=True),
        "source": best([(answer[t], label[s, t], p) for s, t in pairs], own=True),
        "output_only": best([((answer[s], answer[t]), label[s, t], p) for s, t in pairs]),
        "base_only": best([(s, label[s, t], p) for s, t in pairs]),
        "source_only": best([(t, label[s, t], p) for s, t in pairs]),
        "informative": sum((p for s, t in pairs if not label[s, t] & answer[s]), Fraction(0)),
    }
    found = Diagnostics()
    condition = None
    if where:
        metric = cd.parse(f"metric w = {where}").tree.declarations[0]
        condition = compile_predicate(metric.value, {"base": model, "source": model}, found)  # type: ignore[union-attr]
    design = Design((DrawStatement(("base", "source"), model, 400, 3, (), False, condition, NOWHERE),), ())
    exact = ceilings(design, [(swapped, "source")], "out", None)
    assert {name: round(c.value, 12) for name, c in exact.items()} == {
        name: round(float(value), 12) for name, value in expected.items()
    }
    assert all(c.exact for c in exact.values())

    # From drawn rows alone the best rules lie within their bounds, and the rest near its share.
    drawn = draw(design, found)
    assert drawn is not None
    do = {swapped: drawn.values["source"][swapped]}
    labels = model.evaluate({name: drawn.values["base"][name] for name in "ab"}, do)["out"]
    answers = {role: drawn.values[role]["out"] for role in ("base", "source")}
    sampled = of_rows(labels, answers, drawn.ids, False, model.accepted("out"))
    for name, value in expected.items():
        assert sampled[name].low - 0.02 <= float(value) <= sampled[name].high + 0.02, name


def test_single_values_as_sets_have_the_ceilings_of_the_values() -> None:
    whole, sets, swap = model_of("{a}"), model_of("a"), ("a", "source")
    found = [
        ceilings(
            Design((DrawStatement(("base", "source"), m, 8, 0, (), False, None, NOWHERE),), ()), [swap], "out", None
        )
        for m in (whole, sets)
    ]
    assert found[0] == found[1]


def test_the_builder_makes_the_sets_that_the_parser_reads() -> None:
    model = cd.Causal("later")
    a = model.draw("a", domain=cd.between(0, 3))
    model.let("pair", [a, a + 1], domain=cd.between(0, 4))
    model.output("after", cd.chosen("y", cd.between(0, 4), lambda y: y > a))
    text = cd.spec(model).source()
    assert "output after := {y in 0..4 where y > a}" in text
    assert "pair : 0..4 := {a, a + 1}" in text
    assert cd.parse(text).source() == text
