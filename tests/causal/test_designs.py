"""Draws: reproducible, distributed as the spec says, refused where they cannot be."""

from __future__ import annotations

import time
from collections import Counter

import numpy as np
import pytest

from causal_dsl.base.counter import bits, key, normals, unit
from causal_dsl.causal.designs import Design, Drawn, DrawStatement
from causal_dsl.causal.draw import draw, implicit_source
from causal_dsl.diagnostics import NOWHERE, Diagnostics, render_all
from tests.causal import causal_models as plain

EQUALITY = """
causal equality {
  a, b, c, d ~ 0..3
  left := a == b
  right := c == d
  output same := left == right
}
"""
IOI = """
domain Name = {"Mary", "John", "Tom", "Anna"}
causal ioi {
  first, second ~ Name where first != second
  subject ~ {first, second}
  duplicate := if subject == first then 1 else 2
  output answer := if duplicate == 1 then second else first
}
"""
HUGE = """
causal huge {
  x, y ~ 0..999999999999
  r ~ real(-1, 1)
  z := (x + y) mod 100
  output low := z < 10
}
"""


def drawn(design: Design) -> Drawn:
    diagnostics = Diagnostics()
    found = draw(design, diagnostics)
    assert found is not None, render_all(diagnostics)
    return found


def refused(design: Design) -> str:
    diagnostics = Diagnostics()
    assert draw(design, diagnostics) is None
    (fault,) = diagnostics.errors
    return f"{fault.code} {fault.title} {fault.label}"


def test_splitmix64() -> None:
    """The reference sequence of splitmix64 from seed 0 (Vigna's splitmix64.c)."""
    golden, mask = 0x9E3779B97F4A7C15, 2**64 - 1

    def step(state: int) -> int:
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return z ^ (z >> 31)

    assert step(golden) == 0xE220A8397B1DCDAF
    rows, attempts = np.array([0, 5, 10**6]), np.array([0, 3, 2**40])
    found = bits(np.uint64(12345), rows, attempts)
    expected = [
        step((step((row * golden + 12345) & mask) + (a + 1) * golden) & mask)
        for row, a in zip(rows.tolist(), attempts.tolist(), strict=True)
    ]
    assert found.tolist() == expected


def test_seeds_are_forever() -> None:
    """These numbers may never change: published results depend on them."""
    assert int(key(0, "base", "a")) == GOLDEN["key"]
    small = drawn(plain.design(plain.model(IOI), n=8, seed=3, where="base.duplicate != source.duplicate"))
    assert {
        role: [small.values[role][v].tolist() for v in ("first", "second", "subject")] for role in ("base", "source")
    } == GOLDEN["listed"]
    large = drawn(plain.design(plain.model(HUGE), n=3, seed=1, where="base.low and source.z == 7"))
    assert {role: large.values[role]["x"].tolist() for role in ("base", "source")} == GOLDEN["huge"]
    assert large.values["base"]["r"].tolist() == GOLDEN["real"]


GOLDEN: dict[str, object] = {
    "key": 3605976963609613983,
    "listed": {
        "base": [[0, 2, 2, 2, 0, 0, 2, 1], [3, 3, 0, 1, 1, 3, 0, 0], [0, 3, 2, 1, 0, 3, 2, 1]],
        "source": [[0, 0, 1, 0, 0, 3, 3, 2], [2, 2, 3, 1, 3, 0, 2, 1], [2, 0, 3, 0, 3, 3, 2, 1]],
    },
    "huge": {"base": [984564791471, 673674446244, 493665451627], "source": [402739480428, 105352219344, 716034825132]},
    "real": [-0.2522568741286626, 0.32549131808283693, -0.2727148630397531],
}


def test_normals() -> None:
    found = normals(0, (200, 100))
    assert abs(found.mean()) < 0.02 and abs(found.std() - 1) < 0.02 and abs((found**4).mean() - 3) < 0.15
    assert (normals(0, (200, 100)) == found).all() and (normals(1, (200, 100)) != found).all()
    assert abs(np.corrcoef(found[:, 0], found[:, 1])[0, 1]) < 0.25


def test_same_seed_same_rows_other_seed_other_rows() -> None:
    model = plain.model(IOI)
    first, again = (drawn(plain.design(model, n=200, seed=5)) for _ in range(2))
    other = drawn(plain.design(plain.model(IOI), n=200, seed=6))
    for role in ("base", "source"):
        for name in model.variables:
            assert (first.values[role][name] == again.values[role][name]).all()
    assert any((first.values["base"][n] != other.values["base"][n]).any() for n in model.variables)
    assert (first.values["base"]["first"] != first.values["source"]["first"]).any()


def chi_square(counts: Counter, expected: dict, n: int) -> float:
    assert set(counts) <= set(expected)
    return sum((counts[k] - n * p) ** 2 / (n * p) for k, p in expected.items())


@pytest.mark.parametrize(
    "where", ["", "base.subject != source.subject", "base.a == 1 and source.b == 2 or base.subject == 3"]
)
def test_distribution_of_dependent_draws(where: str) -> None:
    """Sets of one or two values, under conditions: the probabilities of plain enumeration, in both ways of drawing."""
    text = "causal m { a, b ~ 0..3 where a + b != 6  subject ~ {a, b, 3}  output same := a == subject }"
    decl, model = plain.declaration(text), plain.model(text)
    expected: dict = {}
    for runs, p in plain.rows(decl, ("base", "source"), where):
        outcome = tuple(runs[role][v] for role in ("base", "source") for v in ("a", "subject"))
        expected[outcome] = expected.get(outcome, 0) + float(p)
    n = 40_000
    for listed in (True, False):
        model = plain.model(text)
        if not listed:
            model.supports = dict.fromkeys((400_000, 2_000_000))  # as if there were too many inputs to list
        found = drawn(plain.design(model, n=n, where=where)).values
        counts = Counter(
            zip(*(found[role][v].tolist() for role in ("base", "source") for v in ("a", "subject")), strict=True)
        )
        freedom = len(expected) - 1
        assert chi_square(counts, expected, n) < freedom + 5 * (2 * freedom) ** 0.5


def test_reals_are_uniform() -> None:
    found = drawn(plain.design(plain.model(HUGE), n=20_000)).values["base"]
    assert found["r"].min() >= -1 and found["r"].max() <= 1
    assert np.abs(np.histogram(found["r"], 20, (-1, 1))[0] / 1000 - 1).max() < 0.2
    assert found["x"].min() >= 0 and found["x"].max() < 10**12 and abs(found["x"].mean() / 5e11 - 1) < 0.02


def test_every_variable_is_there_and_agrees_with_the_model() -> None:
    for text in (IOI, HUGE):
        model = plain.model(text)
        found = drawn(
            plain.design(model, n=500, where="base.%s != source.%s" % (("z",) * 2 if text is HUGE else ("answer",) * 2))
        )
        for role in ("base", "source"):
            again = model.evaluate({name: found.values[role][name] for name in model.exogenous})
            assert all((again[name] == found.values[role][name]).all() for name in model.variables)


def test_ids() -> None:
    model = plain.model(IOI)
    found = drawn(plain.design(model, n=300, templates=("", "")))
    settings = {
        role: list(zip(*(found.values[role][v].tolist() for v in (*model.exogenous, "template")), strict=True))
        for role in ("base", "source")
    }
    pairs = [
        (s, i) for role in ("base", "source") for s, i in zip(settings[role], found.ids[role].tolist(), strict=True)
    ]
    assert len(set(pairs)) == len({s for s, _ in pairs}) == len({i for _, i in pairs})


def test_balance() -> None:
    model = plain.model(EQUALITY)
    both = tuple((role, v) for role in ("base", "source") for v in ("left", "right"))
    found = drawn(plain.design(model, n=1000, balance=both)).values
    counts = Counter(zip(*(found[role][v].tolist() for role, v in both), strict=True))
    assert len(counts) == 16 and set(counts.values()) == {62, 63}
    rare = drawn(plain.design(plain.model(HUGE), "base", n=500, balance=(("base", "low"),))).values["base"]
    assert rare["low"].sum() == 250
    prefix = drawn(plain.design(model, n=1000, balance=(("base", "left"),))).values["base"]["left"]
    assert abs(int(prefix[:100].sum()) - 50) <= 1 and 100 < int(prefix[::2].sum()) < 400
    assert refused(plain.design(model, n=10, balance=both)).startswith("E333 10 rows cannot hold 16")
    assert refused(plain.design(plain.model(HUGE), n=10, balance=(("base", "r"),))).startswith("E333")


def test_balance_of_what_can_be_reached_under_the_condition() -> None:
    found = drawn(
        plain.design(
            plain.model(EQUALITY),
            n=90,
            balance=(("base", "left"), ("source", "left")),
            where="base.left or source.left",
        )
    ).values
    counts = Counter(zip(found["base"]["left"].tolist(), found["source"]["left"].tolist(), strict=True))
    assert counts == {(1, 0): 30, (0, 1): 30, (1, 1): 30}


def test_exhaustive() -> None:
    found = drawn(plain.design(plain.model(EQUALITY), exhaustive=True, where="base.left != source.left"))
    rows = list(zip(*(found.values[role][v].tolist() for role in ("base", "source") for v in "abcd"), strict=True))
    assert found.exhaustive and found.n == len(rows) == len(set(rows)) == 2 * 64 * 192
    assert drawn(plain.design(plain.model(IOI), "base", exhaustive=True)).n == 4 * 3 * 2
    assert drawn(plain.design(plain.model(IOI), "base", exhaustive=True, templates=("", 'first == "Mary"'))).n == 24 + 6


def test_exhaustive_over_too_much_says_how_much() -> None:
    assert "infinitely many values" in refused(plain.design(plain.model(HUGE), exhaustive=True))
    assert "1.0e+24" in refused(
        plain.design(plain.model("causal m { x, y ~ 0..999999999999  output z := x == y }"), exhaustive=True)
    )
    assert "100,000,000" in refused(
        plain.design(plain.model("causal m { x ~ 0..9999  output z := x }"), exhaustive=True)
    )
    both = plain.design(plain.model(EQUALITY), exhaustive=True).statements[0]
    assert refused(Design((both, DrawStatement(("other",), both.model, 5, 0, (), False, None, NOWHERE)))).startswith(
        "E331"
    )


def test_templates() -> None:
    model = plain.model(IOI)
    found = drawn(
        plain.design(model, n=4000, templates=("", 'first == "Mary"', 'first == "John" or first == "Mary"'))
    ).values["base"]
    first = np.array(model.decode("first", found["first"]))
    shares = {
        name: np.bincount(found["template"][first == name], minlength=3) / (first == name).sum()
        for name in ("Mary", "John", "Tom")
    }
    assert np.abs(shares["Mary"] - 1 / 3).max() < 0.05 and np.abs(shares["John"] - [0.5, 0, 0.5]).max() < 0.05
    assert shares["Tom"].tolist() == [1, 0, 0]
    only = drawn(
        plain.design(model, n=100, templates=("", ""), where="base.template == 1 and source.template == 0")
    ).values
    assert set(only["base"]["template"]) == {1} and set(only["source"]["template"]) == {0}
    assert "E334 no prompt fits" in refused(plain.design(model, n=10, templates=('first == "Mary"',)))
    assert "E334 there are no prompts" in refused(plain.design(model, n=10, where="base.template == 1"))


@pytest.mark.slow
def test_statements_one_after_the_other() -> None:
    model = plain.model(EQUALITY)
    base = plain.design(model, "base", n=3000).statements[0]
    where = plain.predicate("source.a == base.a and source.left != base.left", {"base": model, "source": model})
    found = drawn(Design((base, DrawStatement(("source",), model, 3000, 0, (), False, where, NOWHERE)))).values
    assert (found["base"]["a"] == found["source"]["a"]).all() and (
        found["base"]["left"] != found["source"]["left"]
    ).all()
    # the base is drawn as if there were no source: left in a quarter of the rows
    assert abs(found["base"]["left"].mean() - 0.25) < 0.03
    alone = drawn(Design((base,))).values["base"]
    assert all((alone[name] == found["base"][name]).all() for name in model.variables)
    never = plain.predicate("source.a == base.a + 2", {"base": model, "source": model})
    assert "E330" in refused(Design((base, DrawStatement(("source",), model, 3000, 0, (), False, never, NOWHERE))))


@pytest.mark.slow
def test_where_that_never_holds() -> None:
    assert "on none of the 65,536 pairs" in refused(
        plain.design(plain.model(EQUALITY), where="base.a == 3 and base.b == 3 and not base.left")
    )
    message = refused(plain.design(plain.model(HUGE), n=100, where="base.x + base.y == source.x"))
    assert message.startswith("E330 nothing was found that satisfies this `where` it held on 0 of ")
    message = refused(
        plain.design(
            plain.model("causal m { x ~ 0..9999999  output y := x }"),
            n=10_000,
            where="base.x == source.x + 1 or source.x < 10",
        )
    )
    assert message.startswith("E330 this `where` almost never holds it held on ")


def test_rare_conditions_are_warned_of() -> None:
    diagnostics = Diagnostics()
    found = draw(
        plain.design(
            plain.model(EQUALITY), n=64, where="base.a + base.b + base.c + base.d + source.a + source.b + source.c == 0"
        ),
        diagnostics,
    )
    assert (
        found is not None
        and [d.code for d in diagnostics] == ["W330"]
        and "4 of 65,536" in next(iter(diagnostics)).label
    )


def test_absurd_numbers_of_rows() -> None:
    model = plain.model(EQUALITY)
    assert refused(plain.design(model, n=10**12)).startswith("E332 1,000,000,000,000 rows are too many")
    assert refused(plain.design(model, n=0)).startswith("E332")
    assert refused(plain.design(model, n=None)).startswith("E332 how many rows")


def test_implicit_source() -> None:
    model = plain.model(EQUALITY)
    base = plain.design(model, "base", n=200).statements[0]
    diagnostics = Diagnostics()
    source = implicit_source(model, "left", True, base, "left = true", NOWHERE, diagnostics)
    assert source is not None and not len(diagnostics)
    found = drawn(Design((base, source)))
    assert found.values["left = true"]["left"].all() and not found.values["base"]["left"].all()
    assert len({tuple(row) for row in zip(*(found.values["left = true"][v] for v in "abcd"), strict=True)}) > 40
    never = plain.model("causal m { x ~ 0..3  y : 0..9 := x  output z := y }")
    assert (
        implicit_source(never, "y", 7, plain.design(never, "base").statements[0], "y = 7", NOWHERE, diagnostics) is None
    )
    assert [d.code for d in diagnostics] == ["E330"]


@pytest.mark.slow
def test_a_condition_that_holds_for_one_row_in_a_hundred_is_quick() -> None:
    model = plain.model(HUGE)
    start = time.process_time()
    found = drawn(plain.design(model, n=100_000, where="base.z == 7")).values["base"]
    assert time.process_time() - start < 5  # about one second on an idle core
    assert set(found["z"].tolist()) == {7} and len(set(found["x"].tolist())) > 99_900


def test_units() -> None:
    found = unit(bits(key("test"), np.arange(100_000)))
    assert found.min() >= 0 and found.max() < 1 and abs(found.mean() - 0.5) < 0.005


def test_lists_kept_between_draws_belong_to_their_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "causal m {{ a, b, c, d ~ 0..3  left := a == b  right := {right}  output same := left == right }}"
    models = [plain.model(text.format(right=right)) for right in ("c == d", "c < d", "c == 1")]
    balance = tuple((role, name) for role in ("base", "source") for name in ("left", "right"))
    designs = [
        plain.design(model, n=300, balance=chosen, seed=seed)
        for seed in (0, 1)
        for model in models
        for chosen in (balance, balance[:1], balance[::-1])
    ]
    together = [drawn(design).values for design in designs]
    for design, found in zip(designs, together, strict=True):
        monkeypatch.setattr("causal_dsl.causal.row_candidates.SHARED", 0)  # nothing is kept
        alone = drawn(design).values
        for role, columns in alone.items():
            for name, codes in columns.items():
                assert (found[role][name] == codes).all()
