"""Minimal pairs against plain Python: what is drawn, how often, and every chance level, on random models and designs."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from random import Random
from typing import Any

import numpy as np
import pytest

import causal_dsl as cd
from causal_dsl.causal import minimal
from causal_dsl.causal.cover import cover_of, once, scope_of
from causal_dsl.causal.designs import Design, Drawn
from causal_dsl.diagnostics import render_all
from tests.causal import causal_models as plain

Row = dict[str, Any]
HEAD = 'network net = zoo("equality-relu")\nalign at : m -> net {\n  u @ layer[1].out[0:2]\n'


@dataclass
class Case:
    """A model, and a test on it: its runs are like `base` but for `vary`."""

    model: str
    vary: tuple[str, ...]
    where: str = ""
    together: bool = False
    draw: str = "n=400, seed=3"

    @property
    def text(self) -> str:
        decl = plain.declaration(self.model)
        names = [ident.name for m in decl.members if hasattr(m, "names") for ident in m.names]
        placed = "\n".join(f"  {name} @ input[{i}:{i + 1}] via scalar()" for i, name in enumerate(names))
        like = f"like=base, vary=[{', '.join(self.vary)}]"
        where = f" where {self.where}" if self.where else ""
        draws = f"base, source ~ m({self.draw}, {like}){where}"
        if not self.together:
            draws = f"base ~ m({self.draw}) source ~ m({like}){where}"
        return f"{self.model}\n{HEAD}{placed}\n  y @ logits\n}}\ntest t on at {{ {draws} do(u <- source) report iia }}"

    def pairs(self) -> dict[tuple[tuple[Any, ...], tuple[Any, ...]], Fraction]:
        """Every pair of inputs with its probability, from the words alone."""
        decl = plain.declaration(self.model)
        each = list(plain.inputs(decl))
        every = {i: plain.run(decl, row, {}) for i, (row, _) in enumerate(each)}
        expr = plain.condition(self.where) if self.where else None
        found: dict[tuple[int, int], Fraction] = {}
        for (i, (a, p)), (j, (b, q)) in itertools.product(enumerate(each), repeat=2):
            if any((a[name] != b[name]) != (name in self.vary) for name in a):
                continue
            flat = {f"base.{k}": v for k, v in every[i].items()} | {f"source.{k}": v for k, v in every[j].items()}
            if expr is None or plain.value(expr, flat):
                found[i, j] = p * q
        if not self.together:  # the base is drawn as ever, its source among its partners
            whole = sum(p for _, p in each)
            for i, (_, p) in enumerate(each):
                own = sum(q for (k, _), q in found.items() if k == i)
                found |= {(k, j): q / own * p / whole for (k, j), q in found.items() if k == i}
        total = sum(found.values())
        keys = [tuple(row.values()) for row, _ in each]
        return {(keys[i], keys[j]): q / total for (i, j), q in found.items()}

    @property
    def possible(self) -> bool:
        decl, pairs = plain.declaration(self.model), self.pairs()
        bases = {base for base, _ in pairs}
        return bool(pairs) and (self.together or len(bases) == len(list(plain.inputs(decl))))


def checked(case: Case) -> tuple[Any, Design, Drawn]:
    found = cd.check(cd.parse(case.text))
    assert found.plan is not None, render_all(found.diagnostics)
    test = found.plan.tests[0]
    return found.ceilings["t"], test.design, found.plan.draw_of(test)


def rows(design: Design, drawn: Drawn) -> list[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    model = design.models["base"]
    sides = [
        zip(*(model.decode(name, drawn.values[role][name]) for name in model.exogenous), strict=True)
        for role in ("base", "source")
    ]
    return list(zip(*sides, strict=True))


def expected_ceilings(case: Case) -> dict[str, Fraction]:
    decl = plain.declaration(case.model)
    names = [ident.name for m in decl.members if hasattr(m, "names") for ident in m.names]
    score = dict.fromkeys(("noop", "source"), Fraction(0))
    seen: dict[str, dict[Any, dict[Any, Fraction]]] = {"output_only": {}, "base_only": {}, "source_only": {}}
    for (a, b), p in case.pairs().items():
        base, source = (plain.run(decl, dict(zip(names, side, strict=True)), {}) for side in (a, b))
        label = plain.run(decl, dict(zip(names, a, strict=True)), {"u": source["u"]})["y"]
        score["noop"] += p * (label == base["y"])
        score["source"] += p * (label == source["y"])
        for rule, shown in (("output_only", (base["y"], source["y"])), ("base_only", a), ("source_only", b)):
            labels = seen[rule].setdefault(shown, {})
            labels[label] = labels.get(label, Fraction(0)) + p
    return score | {rule: sum(max(labels.values()) for labels in of.values()) for rule, of in seen.items()}


def random_case(seed: int) -> Case:
    random = Random(seed)
    lines = [f"  a ~ 0..{random.randint(1, 3)}", f"  b ~ 0..{random.randint(1, 2)}"]
    lines[1] += random.choice(["", " where a >= b", " where a + b < 4"])
    lines.append("  c ~ " + random.choice(["{a, b, 5}", "{a, b}", "0..2", "{a, 1, 2}"]))
    lines.append("  d ~ bool")
    lines.append("  u := " + random.choice(["if c == a then 1 else 0", "(a + c) mod 3", "if d then a else c"]))
    lines.append(
        "  output y := " + random.choice(["u > b", "(if d then u else 0 * u + a) == 1", "(u * c + b) mod 2 == 0"])
    )
    vary = tuple(random.sample(["a", "b", "c", "d"], random.randint(1, 3)))
    where = random.choice(["", "", "base.u != source.u", "source.y != base.y", "source.u + base.b < 4"])
    return Case("causal m {\n" + "\n".join(lines) + "\n}", vary, where, random.random() < 0.5)


MANY, FEW = 60, 30


@cache
def cases(possible: bool) -> list[Case]:
    """So many that have pairs, or that have none: they are found when a test runs, which takes seconds."""
    return [case for case, has_pairs in every_case() if has_pairs == possible][: MANY if possible else FEW]


@cache
def every_case() -> list[tuple[Case, bool]]:
    return [(case, case.possible) for case in map(random_case, range(160))]


@pytest.mark.slow
def test_there_are_cases_of_all_kinds() -> None:
    some, none = cases(True), cases(False)
    assert len(some) == MANY and len(none) == FEW
    assert {case.together for case in some} == {case.together for case in none} == {True, False}
    assert {bool(case.where) for case in some} == {True, False}


@pytest.mark.thinned(always=10, slow=20)
@pytest.mark.parametrize("number", range(MANY))
def test_pairs_and_chance_levels_are_those_of_the_design(number: int) -> None:
    case = cases(True)[number]
    ceilings, design, drawn = checked(case)
    pairs = case.pairs()
    found = rows(design, drawn)
    assert set(found) <= set(pairs)
    expected = expected_ceilings(case)
    for name, value in expected.items():
        assert ceilings[name].exact and ceilings[name].value == float(value), name
    cover = cover_of(design, drawn)
    if set(found) == set(pairs):  # then weights are exact, too
        assert cover.weights is not None and cover.group is not None
        weights = once(cover.weights, cover.group)
        for pair, p in pairs.items():
            own = sum(w for w, row in zip(weights, found, strict=True) if row == pair)
            assert own / weights.sum() == pytest.approx(float(p), abs=1e-12)


@pytest.mark.parametrize("number", range(FEW))
@pytest.mark.thinned(always=10)
def test_where_a_row_can_have_no_partner_it_is_said(number: int) -> None:
    case = cases(False)[number]
    found = cd.check(cd.parse(case.text))
    errors = [fault for fault in found.diagnostics if fault.code.startswith("E")]
    if case.together or not case.pairs():
        assert [fault.code for fault in errors] == ["E350"]
    else:  # some inputs have none; whether one of them was drawn is chance, and 400 rows are many
        assert [fault.code for fault in errors] == ["E350"] and "for some rows" in errors[0].title


def test_partners_are_drawn_in_proportion_to_what_the_model_gives_them() -> None:
    """`c` is drawn from a set of one, two or three values, so the partners of one base are not alike."""
    case = Case("causal m {\n a ~ 0..2\n c ~ {a, 1, 2}\n u := a\n output y := u > c\n}", ("a",), "", True, "n=60000")
    _, design, drawn = checked(case)
    found = rows(design, drawn)
    for pair, p in case.pairs().items():
        share = sum(row == pair for row in found) / len(found)
        assert share == pytest.approx(float(p), abs=4 * (float(p) / len(found)) ** 0.5)


@pytest.mark.slow
def test_the_same_given_a_base_that_is_drawn_already() -> None:
    case = Case(
        "causal m {\n a ~ 0..3\n c ~ {a, 1, 2}\n u := a\n output y := u > c\n}", ("a", "c"), "", False, "n=60000"
    )
    _, design, drawn = checked(case)
    found = rows(design, drawn)
    for pair, p in case.pairs().items():
        share = sum(row == pair for row in found) / len(found)
        assert share == pytest.approx(float(p), abs=4 * (float(p) / len(found)) ** 0.5)


WIDE = """
causal m {{
  a, b, c, d, e, f ~ 0..49
  x, z ~ real(-1, 1)
  u := a == b
  output y := u == (c == d)
}}
network net = zoo("equality-relu")
align at : m -> net {{
  a @ input[0:1] via scalar()  b @ input[1:2] via scalar()  c @ input[2:3] via scalar()
  d @ input[3:4] via scalar()  e @ input[4:5] via scalar()  f @ input[5:6] via scalar()
  x @ input[6:7] via scalar()  z @ input[7:8] via scalar()
  u @ layer[1].out[0:2]
  y @ logits
}}
test t on at {{ {draws} do(u <- source) report iia }}
"""


@pytest.mark.thinned(always=2, values=True, slow=2)
@pytest.mark.parametrize(
    ("draws", "vary"),
    [
        ("base ~ m(n=300) source ~ m(like=base, vary=[a])", ("a",)),
        ("base ~ m(n=300) source ~ m(like=base, vary=[a, b, c, d])", ("a", "b", "c", "d")),
        ("base ~ m(n=300) source ~ m(like=base, vary=[x])", ("x",)),
        (
            "base ~ m(n=300) source ~ m(like=base, vary=[a, x]) where source.x > base.x and source.u != base.u",
            ("a", "x"),
        ),
        ("base, source ~ m(n=300, like=base, vary=[b]) where base.u != source.u", ("b",)),
        ("base, source ~ m(n=300, like=base, vary=[z, c], balance=[u, source.y])", ("z", "c")),
    ],
)
def test_pairs_of_billions_of_inputs_and_of_real_numbers(draws: str, vary: tuple[str, ...]) -> None:
    if "source.x > base.x and source.u != base.u" in draws:  # a base of equal a and b is one in fifty
        draws = draws.replace("base ~ m(n=300)", "base ~ m(n=300) where base.a == base.b and base.x < 0")
    found = cd.check(cd.parse(WIDE.format(draws=draws)))
    assert found.plan is not None, render_all(found.diagnostics)
    test = found.plan.tests[0]
    drawn = found.plan.draw_of(test)
    for name in test.design.models["base"].exogenous:
        differs = drawn.values["base"][name] != drawn.values["source"][name]
        assert differs.all() if name in vary else not differs.any(), name
    assert drawn.n == 300


def test_every_pair_of_a_finite_model_each_once() -> None:
    model = "causal m {\n a ~ 0..2\n b ~ 0..1 where a >= b\n u := a\n output y := u > b\n}"
    for together in (True, False):
        case = Case(model, ("a",), "", together, "exhaustive=true")
        ceilings, design, drawn = checked(case)
        found = rows(design, drawn)
        assert drawn.exhaustive and len(found) == len(set(found))
        pairs = {k for k, _ in Case(model, ("a",), "", True).pairs().items()}
        assert set(found) == pairs
        assert ceilings["noop"].exact


def test_a_where_of_alike_runs_is_told_as_what_it_lets_through_of_them() -> None:
    model = "causal m {\n a ~ 0..3\n b ~ 0..3\n u := a\n output y := u > b\n}"
    case = Case(model, ("a",), "source.a > base.a", True)
    _, design, _ = checked(case)
    (scope,) = scope_of(design)
    assert scope.low <= 0.5 <= scope.high and not scope.exact
    assert scope_of(checked(Case(model, ("a",)))[1]) == ()


def test_what_a_run_is_like_says_how_many_rows_and_which_part() -> None:
    model = "causal m {\n a ~ 0..9\n b ~ 0..9\n u := a\n output y := u > b\n}"
    case = Case(model, ("a",), "", False, "n=77, seed=5, split=test")
    _, design, drawn = checked(case)
    assert drawn.n == 77
    assert [(s.n, s.seed, s.split) for s in design.statements] == [(77, 5, "test")] * 2


def test_pairs_of_one_part_share_what_tells_the_part() -> None:
    """Both runs of a pair are in one part, and no input is in two: what they share decides."""
    model = "causal m {\n a ~ 0..9\n b ~ 0..9\n u := a\n output y := u > b\n}"
    shown: dict[str, set[Any]] = {}
    for split in ("fit", "validation", "test"):
        _, design, drawn = checked(Case(model, ("a",), "", False, f"n=500, split={split}"))
        found = rows(design, drawn)
        assert all(a[1] == b[1] for a, b in found)
        shown[split] = {side[1] for row in found for side in row}
    assert sorted(map(len, shown.values())) == [2, 2, 6]
    assert set.union(*shown.values()) == set(range(10))


def test_rows_are_the_same_whatever_else_is_drawn() -> None:
    model = "causal m {\n a ~ 0..9\n b ~ 0..9\n u := a\n output y := u > b\n}"
    few, many = (checked(Case(model, ("a",), "", False, f"n={n}"))[2] for n in (50, 200))
    for name in ("a", "b"):
        assert (few.values["source"][name] == many.values["source"][name][:50]).all()
    assert not np.array_equal(few.values["source"]["a"], few.values["base"]["a"])


@pytest.mark.parametrize("where", ["", "source.u != base.a", "source.b + base.b < 9 or source.a < 4"])
def test_partners_listed_by_kind_of_row_are_those_listed_row_by_row(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = "causal m { a, b ~ 0..5  c ~ 0..3  u := a + c  output y := (u + b) mod 3 > 0 }"
    by_kind, used = minimal.Partners.by_kind, list[bool]()

    def seen(self: minimal.Partners, n: int, random: np.ndarray, step: int) -> Any:
        found = by_kind(self, n, random, step)
        used.append(found is not None)
        return found

    monkeypatch.setattr(minimal.Partners, "by_kind", seen)
    monkeypatch.setattr(minimal, "BLOCK", 2**12)  # many blocks
    drawn = []
    for most in (minimal.KINDS, 0):
        monkeypatch.setattr(minimal, "KINDS", most)
        values = checked(Case(model, ("a", "c"), where, draw="n=3000, seed=5"))[2].values
        drawn.append({role: {name: codes.tolist() for name, codes in values[role].items()} for role in values})
    half = len(used) // 2
    assert used == [True] * half + [False] * half and half
    assert drawn[0] == drawn[1]
