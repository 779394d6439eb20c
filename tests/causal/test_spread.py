"""Weights, strata and covering designs: against plain counting over all that can be drawn."""

from __future__ import annotations

import itertools
from collections import Counter
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import causal_dsl as cd
from causal_dsl.causal.cover import cover_of, once
from causal_dsl.causal.covering import covering_of
from causal_dsl.causal.designs import Design, Drawn
from causal_dsl.diagnostics import render_all

WORDS = {"a": 1, "b": 5, "c": 0, "d": 4}
MODEL = """
table Often = {{"a": 1, "b": 5, "c": 0, "d": 4}}
table Share = {{"a": 0.1, "b": 0.5, "c": 0.0, "d": 0.4}}
causal m {{
  w ~ Often
  x ~ 0..{top}
  k ~ 0..{top} where k != x
  f ~ bool

  often := Often[w]
  share := Share[w]
  u := w == "a" or k > 1
  output z := u == (x > 1)
}}
network net = zoo("equality-relu")
align at : m -> net {{
  w @ input[3:7] via onehot()
  x @ input[0:1] via scalar()
  k @ input[2:3] via scalar()
  f @ input[1:2] via scalar()
  u @ layer[1].out[0:2]
  z @ logits
}}
test t on at {{ {draws} do(u <- source) report iia }}
"""


def checked(draws: str, top: int = 3) -> Any:
    return cd.check(cd.parse(MODEL.format(draws=draws, top=top)))


def drawn(draws: str, top: int = 3) -> tuple[dict[str, Any], Design, Drawn]:
    found = checked(draws, top)
    assert found.plan is not None, render_all(found.diagnostics)
    test = found.plan.tests[0]
    return found.ceilings["t"], test.design, found.plan.draw_of(test)


def inputs(top: int = 3) -> list[dict[str, Any]]:
    return [
        {"w": w, "x": x, "k": k, "f": f, "u": w == "a" or k > 1, "z": (w == "a" or k > 1) == (x > 1)}
        for w, x, k, f in itertools.product(WORDS, range(top + 1), range(top + 1), (False, True))
        if k != x
    ]


def ceilings(pairs: list[tuple[dict[str, Any], dict[str, Any], Fraction]]) -> dict[str, Fraction]:
    total = sum(p for _, _, p in pairs)
    seen: dict[str, dict[Any, dict[Any, Fraction]]] = {"output_only": {}, "base_only": {}, "source_only": {}}
    found = dict.fromkeys(("noop", "source"), Fraction(0))
    for base, source, p in pairs:
        label = source["u"] == (base["x"] > 1)
        found["noop"] += p / total * (label == base["z"])
        found["source"] += p / total * (label == source["z"])
        shown = {
            "output_only": (base["z"], source["z"]),
            "base_only": tuple(base.items()),
            "source_only": tuple(source.items()),
        }
        for rule, what in shown.items():
            labels = seen[rule].setdefault(what, {})
            labels[label] = labels.get(label, Fraction(0)) + p / total
    return found | {
        rule: sum((max(labels.values()) for labels in of.values()), Fraction(0)) for rule, of in seen.items()
    }


def column(design: Design, rows: Drawn, role: str, name: str) -> list[Any]:
    return design.models[role].decode(name, rows.values[role][name])


# ── weights ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("weight", ["often", "share"])
def test_inputs_are_drawn_in_proportion_to_their_weight(weight: str) -> None:
    told, design, rows = drawn(f"base, source ~ m(n=6000, weight={weight}) where base.u != source.u")
    pairs = [
        (a, b, Fraction(WORDS[a["w"]] * WORDS[b["w"]]))
        for a, b in itertools.product(inputs(), repeat=2)
        if a["u"] != b["u"] and WORDS[a["w"]] * WORDS[b["w"]]
    ]
    for name, value in ceilings(pairs).items():
        assert told[name].exact and told[name].value == pytest.approx(float(value), abs=1e-8), name
    total = sum(p for _, _, p in pairs)
    counts = Counter(column(design, rows, "base", "w"))
    for word in WORDS:
        expected = float(sum(p for a, _, p in pairs if a["w"] == word) / total)
        assert counts[word] / 6000 == pytest.approx(expected, abs=4 * (0.25 / 6000) ** 0.5)
    assert counts["c"] == 0


def test_the_weights_of_rows_that_are_all_there_are() -> None:
    _, design, rows = drawn(
        "base ~ m(n=9000, weight=often) where base.x == 0 and not base.f source ~ m(n=9000) where source.w == base.w and source.x == base.x and source.k == base.k and source.f == base.f"
    )
    cover = cover_of(design, rows)
    assert cover.weights is not None and cover.group is not None
    weights = once(cover.weights, cover.group)
    words = np.array(column(design, rows, "base", "w"))
    for word, often in WORDS.items():
        assert weights[words == word].sum() / weights.sum() == pytest.approx(often / 10)


@pytest.mark.slow
@pytest.mark.parametrize(
    "draws",
    ["base, source ~ m(n=4000, weight=often)", "base, source ~ m(n=4000, weight=often) where base.x == source.x"],
)
def test_weights_of_inputs_that_are_too_many_to_list(draws: str) -> None:
    _, design, rows = drawn(draws, 9999)
    counts = Counter(column(design, rows, "base", "w"))
    for word, often in WORDS.items():
        assert counts[word] / 4000 == pytest.approx(often / 10, abs=0.03)
    assert counts["c"] == 0


def test_weights_go_with_balance_and_with_minimal_pairs() -> None:
    _, design, rows = drawn("base, source ~ m(n=900, weight=often, balance=[base.w])")
    assert Counter(column(design, rows, "base", "w")) == {"a": 300, "b": 300, "d": 300}
    _, design, rows = drawn('base ~ m(n=6000) where base.w == "c" source ~ m(like=base, vary=[w], weight=often)')
    counts = Counter(column(design, rows, "source", "w"))
    for word, share in {"a": 0.1, "b": 0.5, "d": 0.4}.items():
        assert counts[word] / 6000 == pytest.approx(share, abs=0.03)


def test_parts_are_those_of_the_inputs_whatever_their_weight() -> None:
    parts = []
    for more in ("", ", weight=often"):
        _, design, rows = drawn(f"base, source ~ m(n=3000, split=test{more})")
        names = ("w", "x", "k", "f")
        parts.append(set(zip(*(column(design, rows, "base", name) for name in names), strict=True)))
    assert {row for row in parts[0] if WORDS[row[0]]} == parts[1]


# ── strata ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("where", ["", "base.x != source.x or base.f"])
def test_strata_have_the_rows_that_their_share_says(where: str) -> None:
    told, design, rows = drawn(f"base, source ~ m(n=1000, strata=[w, source.u]) {'where ' * bool(where)}{where}")
    pairs = [
        (a, b, Fraction(1)) for a, b in itertools.product(inputs(), repeat=2) if not where or a["x"] != b["x"] or a["f"]
    ]
    counts = Counter(zip(column(design, rows, "base", "w"), column(design, rows, "source", "u"), strict=True))
    for stratum in itertools.product(WORDS, (False, True)):
        share = Fraction(sum((a["w"], b["u"]) == stratum for a, b, _ in pairs), len(pairs))
        assert abs(counts[stratum] - 1000 * share) < 1
    for name, value in ceilings(pairs).items():  # a row is in a stratum as often as it is without strata
        assert told[name].exact and told[name].value == float(value)


@pytest.mark.slow
def test_a_stratum_of_less_than_a_row_is_there_as_often_as_it_should() -> None:
    seen = Counter()
    for seed in range(120):
        _, design, rows = drawn(f"base, source ~ m(n=3, seed={seed}, strata=[w])")
        seen.update(column(design, rows, "base", "w"))
    assert all(abs(count - 90) < 25 for count in seen.values()) and len(seen) == 4


# ── covering designs ────────────────────────────────────────────────────────────────────────────


def tuples(rows: list[tuple[Any, ...]], t: int) -> set[Any]:
    return {(at, tuple(row[i] for i in at)) for row in rows for at in itertools.combinations(range(len(row)), t)}


@pytest.mark.thinned(always=2, values=True, slow=2)
@pytest.mark.parametrize(("t", "where"), [(2, ""), (3, ""), (2, "base.f or base.x < base.k"), (1, "")])
def test_any_values_that_can_come_together_do(t: int, where: str) -> None:
    names = ("w", "x", "k", "f")
    told, design, rows = drawn(
        f"base, source ~ m(n=480, cover=[{', '.join(names)}], t={t}) {'where ' * bool(where)}{where}"
    )
    found = list(zip(*(column(design, rows, "base", name) for name in names), strict=True))
    possible = [tuple(a[n] for n in names) for a in inputs() if not where or a["f"] or a["x"] < a["k"]]
    assert tuples(found, t) == tuples(possible, t)
    cells = covering_of(design, design.statements[0])
    assert len(cells) < len(possible) and set(found) <= set(possible)
    counts = Counter(found)
    assert len(counts) == len(cells) and max(counts.values()) - min(counts.values()) <= 1
    pairs = [
        (a, b, Fraction(1)) for a, b in itertools.product(inputs(), repeat=2) if tuple(a[n] for n in names) in counts
    ]
    for name, value in ceilings(pairs).items():
        assert told[name].exact and told[name].value == float(value)


def test_a_pairwise_design_is_small() -> None:
    _, design, _ = drawn("base, source ~ m(n=480, cover=[w, x, k, f])")
    assert len(covering_of(design, design.statements[0])) <= 24  # no fewer than 16, of 96


BIG = """
causal m {{
  a, b, c, d, e, g, h, i ~ 0..9
  r ~ real(0, 1) {where}
  u := a == b
  output z := u == (c == d)
}}
network net = zoo("equality-relu")
align at : m -> net {{
  a @ input[0:1] via scalar()  b @ input[1:2] via scalar()  c @ input[2:3] via scalar()  d @ input[3:4] via scalar()
  e @ input[4:5] via scalar()  g @ input[5:6] via scalar()  h @ input[6:7] via scalar()  i @ input[7:8] via scalar()
  r @ input[8:9] via scalar()
  u @ layer[1].out[0:2]
  z @ logits
}}
test t on at {{ base, source ~ m(n={n}, cover=[a, b, c, d, e, g, h, i]) do(u <- source) report iia }}
"""


@pytest.mark.slow
@pytest.mark.parametrize("where", ["", "where a + b != 17 and not (c == 3 and d == 4)"])
def test_pairs_of_a_hundred_million_combinations(where: str) -> None:
    found = cd.check(cd.parse(BIG.format(n=400, where=where)))
    assert found.plan is not None, render_all(found.diagnostics)
    test = found.plan.tests[0]
    rows = found.plan.draw_of(test)
    names = ("a", "b", "c", "d", "e", "g", "h", "i")
    seen = tuples(list(zip(*(rows.values["base"][name].tolist() for name in names), strict=True)), 2)
    every = tuples(list(itertools.product(range(10), repeat=2)), 2)
    expected = {(at, values) for at in itertools.combinations(range(8), 2) for _, values in every}
    if where:
        expected -= {((0, 1), (8, 9)), ((0, 1), (9, 8)), ((2, 3), (3, 4))}
    assert seen == expected
    assert len(covering_of(test.design, test.design.statements[0])) < 250


@pytest.mark.slow
def test_values_that_are_rare_are_covered_too() -> None:
    """`a` and `b` are both 9 in one of ten thousand inputs that are drawn: such a row is built."""
    where = "where (a == 9 and b == 9 and c == 9 and d == 9 and e == 9 and g == 9) or (a < 9 and b < 9)"
    found = cd.check(cd.parse(BIG.format(n=400, where=where)))
    assert found.plan is not None, render_all(found.diagnostics)
    rows = found.plan.draw_of(found.plan.tests[0]).values["base"]
    assert ((rows["a"] == 9) & (rows["b"] == 9) & (rows["g"] == 9)).any()
    assert not ((rows["a"] == 9) & (rows["b"] != 9)).any()


@pytest.mark.parametrize(
    ("draws", "code"),
    [
        ("base, source ~ m(n=8, weight=w)", "E353"),
        ("base, source ~ m(n=8, weight=wd)", "E201"),
        ("base, source ~ m(exhaustive=true, weight=often)", "E353"),
        ("base, source ~ m(n=8, cover=[w, x])", "E354"),
        ("base, source ~ m(n=8, strata=[w], balance=[x])", "E354"),
        ("base, source ~ m(n=8, t=2)", "E354"),
        ("base ~ m(n=8) source ~ m(n=8, strata=[w]) where source.x == base.x", "E354"),
        ("base ~ m(n=8) source ~ m(like=base, vary=[x], cover=[w])", "E354"),
        ("base, source ~ m(exhaustive=true, cover=[w])", "E698"),
    ],
)
def test_faults(draws: str, code: str) -> None:
    found = checked(draws)
    assert [fault.code for fault in found.diagnostics if fault.code[0] == "E"] == [code], render_all(found.diagnostics)
