"""Rows that are built rather than found: exactly the distribution that plain enumeration gives, whatever the condition."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest

from causal_dsl.causal.construct import Construction
from causal_dsl.causal.designs import Design, Drawn, DrawStatement
from causal_dsl.causal.draw import draw
from causal_dsl.causal.row_candidates import RowCandidates
from causal_dsl.diagnostics import NOWHERE, Diagnostics, render_all
from tests.causal import causal_models as plain
from tests.thinning import some

MODEL = """
causal m {
  a, b ~ 0..2 where a + b != 4
  c ~ bool
  pick ~ {a, b, 2}
  sum := a + pick
  same := a == b
  output answer := if c then sum else b
}
"""
LETTERS = "{" + ", ".join(f'"{chr(65 + i)}"' for i in range(22)) + "}"
WIDE = f"causal wide {{ p, q, r, s, t, u ~ {LETTERS}  v := p  first := p == q  output o := v }}"
ROLES = ("base", "source")


def drawn(design: Design, warned: str = "") -> Drawn:
    diagnostics = Diagnostics()
    found = draw(design, diagnostics)
    assert found is not None and [one.code for one in diagnostics] == warned.split(), render_all(diagnostics)
    return found


def refused(design: Design) -> str:
    diagnostics = Diagnostics()
    assert draw(design, diagnostics) is None
    (fault,) = diagnostics.errors
    return f"{fault.code} {fault.title} {fault.label}"


@pytest.fixture
def never_by_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no random candidate ever met the condition, and there were too many inputs to list."""
    whole = RowCandidates.propose

    def propose(self: RowCandidates, rows: np.ndarray, attempts: np.ndarray) -> Any:
        _, proposed, complete = whole(self, rows[:0], attempts[:0])
        return np.zeros(0, np.int64), proposed, complete

    monkeypatch.setattr(RowCandidates, "propose", propose)


def unlisted(text: str) -> Any:
    model = plain.model(text)
    model.supports = dict.fromkeys((400_000, 2_000_000))
    return model


def condition(random: Random) -> str:
    """A random conjunction over two runs of MODEL."""
    names = ("a", "b", "pick", "sum")

    def number() -> str:
        return f"{random.choice(ROLES)}.{random.choice(names)}"

    def part() -> str:
        match random.randrange(8):
            case 0 | 1:
                name = random.choice((*names, "c", "same", "answer"))
                return f"base.{name} {random.choice(('==', '!='))} source.{name}"
            case 2:
                return f"{number()} {random.choice(('==', '!=', '<', '>='))} {number()}"
            case 3:
                return f"{number()} in {{0, {random.randint(1, 2)}}}"
            case 4:
                return f"{number()} == {random.randint(0, 2)}"
            case 5:
                return f"({number()} == {number()} or not {random.choice(ROLES)}.same)"
            case 6:
                return f"{number()} + {number()} <= {random.randint(1, 5)}"
        return f"{random.choice(ROLES)}.{random.choice(('c', 'same'))}"

    return " and ".join(part() for _ in range(random.randint(1, 4)))


def outcomes(values: dict[str, dict[str, np.ndarray]], names: tuple[str, ...]) -> Counter:
    columns = [values[role][name].tolist() for role in ROLES for name in names]
    return Counter(zip(*columns, strict=True))


def fits(counts: Counter, expected: dict[Any, float], n: int) -> bool:
    """Whether counts are as probable as five standard deviations of chi-square allow."""
    assert set(counts) <= set(expected), "outside of the condition"
    square = sum((counts[outcome] - n * p) ** 2 / (n * p) for outcome, p in expected.items())
    freedom = max(1, len(expected) - 1)
    return square < freedom + 5 * (2 * freedom) ** 0.5


@pytest.mark.thinned(always=7, slow=13)
@pytest.mark.parametrize("seed", range(40))
@pytest.mark.usefixtures("never_by_chance")
def test_the_distribution_is_that_of_enumeration(seed: int) -> None:
    """Everything is built (or rejected from what was built): dependent sets, derived variables, conditions of the model."""
    where, n = condition(Random(seed)), 8000
    names = ("a", "b", "c", "pick")
    expected: dict[Any, float] = {}
    decl = plain.declaration(MODEL)
    for runs, p in plain.rows(decl, ROLES, where):
        outcome = tuple(int(runs[role][v]) for role in ROLES for v in names)
        expected[outcome] = expected.get(outcome, 0) + float(p)
    if not expected:
        assert refused(plain.design(unlisted(MODEL), n=n, where=where)).startswith("E330 this `where` never holds")
        return
    found = drawn(plain.design(unlisted(MODEL), n=n, seed=seed, where=where))
    assert fits(outcomes(found.values, names), expected, n), where
    again = drawn(plain.design(unlisted(MODEL), n=n, seed=seed, where=where))
    assert all((found.values[role][name] == again.values[role][name]).all() for role in ROLES for name in names)
    decoded = unlisted(MODEL)
    for role in ROLES:
        columns = found.values[role]
        again_ = decoded.evaluate({name: columns[name] for name in decoded.exogenous})
        assert all((again_[name] == columns[name]).all() for name in decoded.variables)


@pytest.mark.thinned(always=4, slow=4)
@pytest.mark.parametrize("seed", range(12))
@pytest.mark.usefixtures("never_by_chance")
def test_balance_is_built(seed: int) -> None:
    """Each combination equally often, and within it the distribution that the draws have there."""
    where = condition(Random(seed))
    balance = (("base", "same"), ("source", "sum"))
    decl, n, names = plain.declaration(MODEL), 6000, ("a", "b", "c", "pick")
    cells: dict[Any, dict[Any, float]] = {}
    for runs, p in plain.rows(decl, ROLES, where):
        cell = cells.setdefault((runs["base"]["same"], runs["source"]["sum"]), {})
        outcome = tuple(int(runs[role][v]) for role in ROLES for v in names)
        cell[outcome] = cell.get(outcome, 0) + float(p)
    expected = {o: p / sum(cell.values()) / len(cells) for cell in cells.values() for o, p in cell.items()}
    whole = len({same for same, _ in cells}) * len({total for _, total in cells})
    warned = "W331" if whole > len(cells) else ""
    found = drawn(plain.design(unlisted(MODEL), n=n, seed=seed, where=where, balance=balance), warned)
    counts = Counter(zip(*(found.values[role][name].tolist() for role, name in balance), strict=True))
    assert len(counts) == len(cells) and max(counts.values()) - min(counts.values()) <= 1
    assert fits(outcomes(found.values, names), expected, n), where


@pytest.mark.thinned(always=2, values=True, slow=2)
@pytest.mark.parametrize("seed", range(8))
def test_given_rows_get_a_partner_of_their_own(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second statement whose condition mentions the first: row by row the distribution given that base."""
    random, n = Random(seed), 6000
    parts = random.sample(
        ("source.sum == base.sum", "source.a != base.a", "source.pick == base.a", "source.c == base.c"), 2
    )
    model, decl = unlisted(MODEL), plain.declaration(MODEL)
    base = replace(
        plain.design(model, "base", n=n, seed=seed, where="base.a == 0 and base.pick == 2").statements[0], balance=()
    )
    where = plain.predicate(" and ".join(parts), dict.fromkeys(ROLES, model))
    whole = RowCandidates.propose

    def propose(self: RowCandidates, rows: np.ndarray, attempts: np.ndarray) -> Any:
        at, proposed, complete = whole(self, rows, attempts)
        return (
            (at, proposed, complete)
            if "base" in self.statement.roles
            else (at[:0], *whole(self, rows[:0], rows[:0])[1:])
        )

    monkeypatch.setattr(RowCandidates, "propose", propose)
    found = drawn(Design((base, DrawStatement(("source",), model, n, 0, (), False, where, NOWHERE)))).values
    names = ("a", "b", "c", "pick")
    given: dict[Any, dict[Any, float]] = {}
    text = " and ".join([*parts, "base.a == 0 and base.pick == 2"])
    for runs, p in plain.rows(decl, ROLES, text):
        rows = tuple(int(runs["base"][v]) for v in names), tuple(int(runs["source"][v]) for v in names)
        given.setdefault(rows[0], {})
        given[rows[0]][rows[1]] = given[rows[0]].get(rows[1], 0) + float(p)
    bases = Counter(zip(*(found["base"][v].tolist() for v in names), strict=True))
    pairs = outcomes(found, names)
    for setting, partners in given.items():
        counts = Counter({pair[4:]: count for pair, count in pairs.items() if pair[:4] == setting})
        total = sum(partners.values())
        assert fits(counts, {s: p / total for s, p in partners.items()}, bases[setting])


MINIMAL = "base.p != source.p and " + " and ".join(f"base.{v} == source.{v}" for v in "qrstu")


@pytest.mark.slow
@pytest.mark.parametrize("split", some(["", "fit", "test"], ["fit"]))
def test_minimal_pairs(split: str) -> None:
    """Equal in five variables of 22 values, different in one: one pair in 5.4 million."""
    start = time.process_time()
    found = drawn(plain.design(plain.model(WIDE), n=2000, where=MINIMAL, split=split)).values
    assert time.process_time() - start < 10
    assert (found["base"]["p"] != found["source"]["p"]).all()
    assert all((found["base"][v] == found["source"][v]).all() for v in "qrstu")
    counts = np.bincount(found["base"]["q"], minlength=22)
    assert ((counts - 2000 / 22) ** 2 / (2000 / 22)).sum() < 21 + 5 * 42**0.5
    different = np.bincount((found["source"]["p"] - found["base"]["p"]) % 22, minlength=22)
    assert different[0] == 0 and ((different[1:] - 2000 / 21) ** 2 / (2000 / 21)).sum() < 20 + 5 * 40**0.5


def test_minimal_pairs_of_a_base_that_is_there() -> None:
    model = plain.model(WIDE)
    base = plain.design(model, "base", n=500).statements[0]
    where = plain.predicate(MINIMAL, dict.fromkeys(ROLES, model))
    found = drawn(Design((base, DrawStatement(("source",), model, 500, 0, (), False, where, NOWHERE)))).values
    assert (found["base"]["p"] != found["source"]["p"]).all()
    assert all((found["base"][v] == found["source"][v]).all() for v in "qrstu")


def test_minimal_pairs_balanced() -> None:
    """`first` holds for one base in 22, and hardly ever by chance among pairs that are alike."""
    balance = (("base", "first"), ("source", "first"))
    # both are never true: their inputs are no minimal pair then, and this is said
    found = drawn(plain.design(plain.model(WIDE), n=300, where=MINIMAL, balance=balance), "W331").values
    counts = Counter(zip(found["base"]["first"].tolist(), found["source"]["first"].tolist(), strict=True))
    assert counts == {(0, 0): 100, (0, 1): 100, (1, 0): 100}


@pytest.mark.parametrize(
    ("text", "where", "equal"),
    [
        ("causal m { x, y ~ 0..999999999999  output z := x + y }", "base.x == source.x and base.y == source.y", "xy"),
        ("causal m { x, y ~ real(0, 1)  output z := x < y }", "base.x == source.x and base.z != source.z", "x"),
        (
            "causal m { x ~ 0..999999999999  y ~ 7..2000  output z := x == y }",
            "base.z and source.z and base.x == source.x",
            "x",
        ),
        ("causal m { x, y ~ 0..999999999999  output z := x }", "base.x == 5000000000 and source.x == base.x", "x"),
    ],
)
def test_variables_of_no_end_of_values(text: str, where: str, equal: str) -> None:
    if "z := x == y" in text:
        where = where.replace("base.z and source.z", "base.x == base.y and source.x == source.y")
    found = drawn(plain.design(plain.model(text), n=400, where=where)).values
    assert all((found["base"][v] == found["source"][v]).all() for v in equal)
    if "5000000000" in where:
        assert set(found["base"]["x"].tolist()) == {5_000_000_000}
    elif "7..2000" in text:
        assert len(set(found["base"]["x"].tolist())) > 300 and 7 <= found["base"]["x"].min() < 50
        assert 1900 < found["base"]["x"].max() <= 2000
    else:
        assert len(set(found["base"]["x"].tolist())) == 400
        top = found["base"]["x"].max() / (1 if "real" in text else 10**12)
        assert 0.95 < top < 1 and found["base"]["x"].min() < 0.05 * found["base"]["x"].max()


def test_sums_along_a_chain_are_built() -> None:
    """Eight letters are too many to list, but the sum grows one at a time."""
    text = "causal m { " + ", ".join(f"d{i}" for i in range(9)) + " ~ 0..21  s1 := d0 + d1  "
    text += "  ".join(f"s{i} := s{i - 1} + d{i}" for i in range(2, 9)) + "  output o := s8 mod 2 }"
    found = drawn(plain.design(plain.model(text), n=500, where="base.s8 == 2 and source.s8 == 188")).values
    assert set(found["base"]["s8"].tolist()) == {2} and set(found["source"]["s8"].tolist()) == {188}
    rows = set(zip(*(found["base"][f"d{i}"].tolist() for i in range(9)), strict=True))
    assert len(rows) == 45, "all ways to share 2 among nine"


def test_a_condition_of_the_model_that_is_rare() -> None:
    text = f"causal m {{ p, q, r, s, t, u ~ {LETTERS} where p == q and q == r and r == s and s == t  output o := u }}"
    found = drawn(plain.design(plain.model(text), n=300)).values["base"]
    assert all((found["p"] == found[v]).all() for v in "qrst") and len(set(found["u"].tolist())) == 22


@pytest.mark.slow
def test_never_is_said_where_it_is_proved_and_not_found_elsewhere() -> None:
    model = plain.model(WIDE)
    proved = refused(plain.design(model, n=50, where="base.p == source.p and " + MINIMAL))
    assert proved == "E330 this `where` never holds no input satisfies it"
    # A sum of twelve variables is no table: nothing is known but that no draw had it.
    text = "causal m { " + ", ".join(f"d{i}" for i in range(12)) + " ~ 0..99  output o := "
    text += " + ".join(f"d{i}" for i in range(12)) + " }"
    found = refused(plain.design(plain.model(text), n=50, where="base.o == 1"))
    assert found.startswith("E330 nothing was found that satisfies this `where` it held on 0 of ")
    base = plain.design(model, "base", n=400).statements[0]
    where = plain.predicate('source.q == base.q and base.q != "A" and ' + MINIMAL, dict.fromkeys(ROLES, model))
    told = refused(Design((base, DrawStatement(("source",), model, 400, 0, (), False, where, NOWHERE))))
    column = drawn(Design((base,))).values["base"]["q"]
    assert told == f"E330 this `where` never holds for some rows {(column == 0).sum()} of 400 rows have no partner"


@pytest.mark.slow
def test_what_balance_forbids_is_not_laid_on_the_condition() -> None:
    """Each base has a source that the condition allows, and some none with the balanced value that falls to them."""
    model = plain.model("causal m { p, q ~ 0..3  output o := p == q }")
    base = plain.design(model, "base", n=400).statements[0]
    for where, code in (
        ("source.p <= base.p", "E333"),
        ("source.p <= base.p and source.q != base.p", "E333"),
        ("source.p < base.p", "E330"),
    ):
        held = plain.predicate(where, dict.fromkeys(ROLES, model))
        balance = (("source", "p"),)
        told = refused(Design((base, DrawStatement(("source",), model, 400, 1, balance, False, held, NOWHERE))))
        assert told.startswith(code)
        if code == "E333":
            assert "`balance` and `where` do not go together" in told and "of 400 rows have no partner with the" in told
        else:
            none = (drawn(Design((base,))).values["base"]["p"] == 0).sum()
            assert told == f"E330 this `where` never holds for some rows {none} of 400 rows have no partner"


def test_what_is_built_is_all_of_the_condition() -> None:
    """Nothing is left to rejection of what can be tabulated; a sum over all variables is left."""
    model = plain.model(WIDE)
    for where, exact in ((MINIMAL, True), (MINIMAL + " and (base.q == source.p or base.first)", True)):
        made = Construction(dict.fromkeys(ROLES, model), plain.predicate(where, dict.fromkeys(ROLES, model)), 0)
        assert made.exact is exact and made.useful and not made.empty


def test_prompts_of_rows_that_are_built() -> None:
    """A template is drawn for each row among those that fit it, also where the condition asks for one."""
    model = plain.model(WIDE)
    templates = ("", 'p == "A"', 'q == "B"')
    found = drawn(plain.design(model, n=3000, where=MINIMAL, templates=templates)).values["base"]
    first = found["template"][(found["p"] != 0) & (found["q"] == 1)]
    assert set(first.tolist()) == {0, 2} and 0.3 < (first == 0).mean() < 0.7
    assert set(found["template"][(found["p"] != 0) & (found["q"] != 1)].tolist()) == {0}
    asked = drawn(plain.design(model, n=60, where=MINIMAL + " and base.template == 2", templates=templates)).values
    assert set(asked["base"]["template"].tolist()) == {2} and set(asked["base"]["q"].tolist()) == {1}


def test_no_warning_where_rare_pairs_are_many() -> None:
    """Three variables of nine values are listed: one pair in 1,000 is minimal, and they are all different."""
    text = "causal m { a, b, c ~ 0..9  output o := a }"
    where = "base.b == source.b and base.c == source.c and base.a == 9 and source.a != 9"
    drawn(plain.design(plain.model(text), n=200, where=where))
    diagnostics = Diagnostics()
    found = draw(plain.design(plain.model(text), n=4000, where=where), diagnostics)
    assert found is not None
    rows = {tuple(row) for row in zip(*(found.values[r][v].tolist() for r in ROLES for v in "abc"), strict=True)}
    assert len(rows) <= 900
    told = f"is it what you mean? Of the 4,000 rows {len(rows)} are different"
    assert [(d.code, d.help) for d in diagnostics] == [("W330", told)]


@pytest.mark.parametrize(("balance", "missing"), [("base.m", "1 of 2"), ("base.k source.m", "2 of 4"), ("base.k", "")])
def test_values_that_came_up_in_no_draw_are_said(balance: str, missing: str) -> None:
    """Six equal digits are true in one input of a million, and known to be, though no draw has them."""
    digits = " and ".join(f"{name} == 0" for name in "abcdef")
    model = plain.model(f"causal m {{ a, b, c, d, e, f, g ~ 0..9  m := {digits}  k := g > 4  output y := m != k }}")
    names = tuple((role, name) for role, name in (one.split(".") for one in balance.split()))
    diagnostics = Diagnostics()
    assert draw(plain.design(model, n=64, balance=names), diagnostics) is not None
    assert [one.code for one in diagnostics] == ["W331"] * bool(missing)
    if missing:
        (told,) = diagnostics
        assert missing in told.title and ".m = true" in told.notes[0] and "none of them came up" in told.label
