"""Chance levels: closed forms, and plain enumeration with fractions."""

from __future__ import annotations

from typing import Any

import pytest

from causal_dsl.causal.ceilings import ceilings
from causal_dsl.causal.designs import Design
from causal_dsl.causal.draw import draw
from causal_dsl.diagnostics import Diagnostics
from tests.causal import causal_models as plain

BITS = "causal m { x, y ~ bool  both := x and y  output out := %s }"
EQUALITY = "causal equality { a, b, c, d ~ 0..3  left := a == b  right := c == d  output same := left == right }"
LEFT = [("left", "source")]


def values(design: Design, interventions: list[tuple[str, str]], output: str, exact: bool = True) -> dict[str, float]:
    diagnostics = Diagnostics()
    drawn = None if exact else draw(design, diagnostics)
    found = ceilings(design, interventions, output, drawn)
    assert all(ceiling.exact == exact for ceiling in found.values())
    return {name: ceiling.value for name, ceiling in found.items()}


@pytest.mark.parametrize(("gate", "noop"), [("x and y", 0.75), ("x or y", 0.75), ("x != y", 0.5), ("y", 1.0)])
def test_two_fair_bits(gate: str, noop: float) -> None:
    assert values(plain.design(plain.model(BITS % gate)), [("x", "source")], "out")["noop"] == noop


def test_hierarchical_equality_with_pairs_equal_half_the_time() -> None:
    balance = tuple((role, v) for role in ("base", "source") for v in ("left", "right"))
    found = values(plain.design(plain.model(EQUALITY), n=1024, balance=balance), LEFT, "same")
    names = ("noop", "source", "output_only", "base_only", "source_only", "informative")
    assert found == dict.fromkeys(names, 0.5)
    fair = "causal m { left, right ~ bool  output same := left == right }"
    assert values(plain.design(plain.model(fair)), LEFT, "same") == found


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("where", ["", "base.left != source.left", "base.same == source.same", "base.a == source.b"])
def test_against_plain_enumeration(where: str) -> None:
    text = EQUALITY.replace("0..3", "0..2")
    expected = plain.ceilings(plain.declaration(text), ("base", "source"), LEFT, "same", where)
    found = values(plain.design(plain.model(text), where=where), LEFT, "same")
    assert found == {name: float(value) for name, value in expected.items()}


def test_sets_of_different_sizes_weigh_as_they_are_drawn() -> None:
    text = "causal m { a, b ~ 0..2 where a + b > 0  s ~ {a, b}  t := s + a  output out := t mod 3 }"
    for name in ("s", "t", "a"):
        expected = plain.ceilings(plain.declaration(text), ("base", "source"), [(name, "source")], "out")
        found = values(plain.design(plain.model(text)), [(name, "source")], "out")
        assert found == {key: float(value) for key, value in expected.items()}


def test_two_sources() -> None:
    text = EQUALITY.replace("0..3", "0..1")
    interventions = [("left", "one"), ("right", "two")]
    expected = plain.ceilings(plain.declaration(text), ("base", "one", "two"), interventions, "same")
    found = values(plain.design(plain.model(text), "base one two"), interventions, "same")
    assert found == {name: float(value) for name, value in expected.items()}


def test_sources_of_a_later_statement() -> None:
    """Given the base, the source is drawn among those that fit it; bases keep their own distribution."""
    text = "causal m { x, y ~ 0..2  z := x * y  output out := z > 1 }"
    decl, model = plain.declaration(text), plain.model(text)
    base = plain.design(model, "base", n=64).statements[0]
    where = plain.predicate("source.z >= base.z", {"base": model, "source": model})
    source = plain.DrawStatement(("source",), model, 64, 0, (), False, where, model.span)
    noop = 0
    everything = [plain.run(decl, row, {}) for row, _ in plain.inputs(decl)]
    for row in everything:
        fits = [other for other in everything if other["z"] >= row["z"]]
        noop += plain.Fraction(sum(row["out"] == (other["z"] > 1) for other in fits), len(fits) * len(everything))
    assert values(Design((base, source)), [("z", "source")], "out")["noop"] == float(noop)


def test_exhaustive_draws_count_every_pair_once() -> None:
    text = "causal m { a, b ~ 0..2  s ~ {a, b}  output out := s > 0 }"
    decl = plain.declaration(text)
    everything = [plain.run(decl, row, {}) for row, _ in plain.inputs(decl)]
    noop = sum(b["out"] == s["out"] for b in everything for s in everything) / len(everything) ** 2
    design = plain.design(plain.model(text), exhaustive=True)
    assert values(design, [("s", "source")], "out")["noop"] == pytest.approx(noop, abs=1e-15)
    drawn = draw(design, Diagnostics())
    assert drawn is not None and ceilings(design, [("s", "source")], "out", drawn)["noop"].n == len(everything) ** 2


def test_large_domains_are_exact_where_little_matters() -> None:
    names = ", ".join(f'"name{i}"' for i in range(60))
    model = plain.model(f"""
        domain Name = {{{names}}}
        causal ioi {{
          first, second ~ Name where first != second
          subject ~ {{first, second}}
          place, thing ~ 0..999
          r ~ real(0, 1)
          duplicate := if subject == first then 1 else 2
          output answer := if duplicate == 1 then second else first
        }}""")
    found = ceilings(plain.design(model, n=64), [("duplicate", "source")], "answer", None)
    assert all(ceiling.exact for ceiling in found.values())
    assert found["noop"].value == 0.5 and found["source"].value == pytest.approx(1 / 60)


def test_sampled_where_it_cannot_be_counted() -> None:
    model = plain.model(
        "causal m { x, y ~ 0..999999999999  p := x mod 2  q := y mod 2  output out := p == 1 and q == 1 }"
    )
    design = plain.design(model, n=4000)
    assert ceilings(design, [("p", "source")], "out", None) == {}
    found = values(design, [("p", "source")], "out", exact=False)
    assert found["noop"] == pytest.approx(0.75, abs=0.03) and found["output_only"] == pytest.approx(0.8125, abs=0.03)


def test_sampled_bounds_tell_that_nothing_is_known() -> None:
    """With more answers than rows, a rule that is fitted to its own rows is perfect, and one of other rows worthless."""
    model = plain.model(
        "causal m { x ~ 0..999999999999  y ~ 0..999999  t := x mod 1000  output out := (t + y) mod 1000 }"
    )
    design = plain.design(model, n=500)
    found = ceilings(design, [("t", "source")], "out", draw(design, Diagnostics()))["output_only"]
    assert found.low < 0.05 and found.value == found.high == 1 and not found.exact


def test_real_answers() -> None:
    model = plain.model("causal m { x, y ~ {0.5, 1, 2}  output z := x * y }")
    decl = plain.declaration("causal m { x, y ~ {0.5, 1.0, 2.0}  output z := x * y }")
    expected = plain.ceilings(decl, ("base", "source"), [("x", "source")], "z")
    assert values(plain.design(model), [("x", "source")], "z") == {name: float(v) for name, v in expected.items()}


def test_templates_that_conditions_mention() -> None:
    model = plain.model("causal m { x, y ~ bool  output out := x and y }")
    design = plain.design(model, where="base.template == 1", templates=("", "x"))
    # the second prompt is only for x: half of those rows use it, so x is true in every base
    assert values(design, [("x", "source")], "out")["noop"] == 0.75
    assert values(design, [("x", "source")], "out")["informative"] == 0.25


def test_what_is_kept_of_one_design_is_not_given_for_another() -> None:
    model = plain.model("causal m { x, y, z ~ bool  p := x and y  output out := p or z }")
    changes: list[dict[str, Any]] = [
        {},
        {"where": "base.x != source.x"},
        {"where": "base.x == source.x"},
        {"exhaustive": True, "where": "source.y"},
        {"balance": (("base", "out"),)},
        {"balance": (("source", "p"),)},
        {"templates": ("", "x")},
        {"exhaustive": True, "templates": ("", "x")},
        {"exhaustive": True, "templates": ("", "z")},
        {"split": "fit"},
    ]
    for name in ("p", "x"):
        for change in changes:
            fresh = plain.model("causal m { x, y, z ~ bool  p := x and y  output out := p or z }")
            expected = ceilings(plain.design(fresh, **change), [(name, "source")], "out", None)
            for n in (16, 32):
                more = {} if "exhaustive" in change else {"n": n}
                assert ceilings(plain.design(model, **change, **more), [(name, "source")], "out", None) == expected


@pytest.mark.parametrize("where", ["", "base.x != source.x", "base.s == source.s"])
@pytest.mark.parametrize("real", [False, True])
def test_outputs_together_are_one_output_that_holds_them_all(where: str, real: bool) -> None:
    text = """causal m {
  x, y, z ~ 0..3
  r ~ DOMAIN
  output s := (x + (if r > 0.5 then y else 0)) mod 3
  output t := x == z
  output both := 2 * s + (if t then 1 else 0)
}"""
    design = plain.design(plain.model(text.replace("DOMAIN", "real(0, 1)" if real else "0..1")), n=200, where=where)
    one = values(design, [("x", "source")], "both", exact=not real)
    assert values(design, [("x", "source")], ("s", "t"), exact=not real) == one  # type: ignore[arg-type]
    assert values(design, [("x", "source")], ("both", "s"), exact=not real) == one  # type: ignore[arg-type]
