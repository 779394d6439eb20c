"""Draws of whole specs: parts by the values of a variable, with the features that are fitted on them, and paired texts of a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import causal_dsl as cd
from causal_dsl.diagnostics import render_all

MODEL = """
table Continent = {0: 0, 1: 0, 2: 0, 3: 1, 4: 1, 5: 1, 6: 2, 7: 2, 8: 3, 9: 3}
causal facts {
  city, other ~ 0..9
  asked ~ 0..3

  continent := Continent[city]
  large := city > 4
  output right := large == (asked > 1)
}
network net = zoo("equality-relu")
align at : facts -> net {
  city  @ input[0:1] via scalar()
  asked @ input[1:2] via scalar()
  other @ input[2:3] via scalar()
  large @ layer[1].out via rotation(dim=1, n=64)
  right @ logits
}
"""
PLAIN = MODEL.replace("layer[1].out via rotation(dim=1, n=64)", "layer[1].out[0:2]")


def drawn(checked: Any, name: str) -> set[Any]:
    """All values of a variable that are drawn, in whatever role, of tests and of what features are fitted on."""
    assert checked.plan is not None, render_all(checked.diagnostics)
    found = set()
    for test in checked.plan.tests:
        if not test.control[0]:
            found |= _values(test, checked.plan.draw_of(test), name)
    return found


def _values(test: Any, rows: Any, name: str) -> set[Any]:
    model = test.design.models["base"]
    return {value for columns in rows.values.values() for value in model.decode(name, columns[name])}


def fitted(checked: Any, name: str) -> dict[str, set[Any]]:
    assert checked.fits is not None
    found: dict[str, set[Any]] = {"fit": set(), "validation": set()}
    for test in checked.fits.plan.tests:
        (part,) = {statement.split for statement in test.design.statements}
        found[part] |= _values(test, checked.fits.plan.draw_of(test), name)
    return found


@pytest.mark.parametrize("by", ["city", "continent"])
def test_no_value_is_in_two_parts(by: str) -> None:
    parts = {}
    for split in ("fit", "validation", "test"):
        text = f"{PLAIN}test t on at {{ base, source ~ facts(n=600, split={split}, by={by}) do(large <- source) report iia }}"
        parts[split] = drawn(cd.check(cd.parse(text)), by)
    assert set.union(*parts.values()) == set(range(10 if by == "city" else 4))
    assert sum(map(len, parts.values())) == len(set.union(*parts.values()))
    if by == "city":
        assert sorted(map(len, parts.values())) == [2, 2, 6]


def test_a_feature_is_fitted_on_other_cities_than_it_is_judged_on() -> None:
    text = f"{MODEL}test t on at {{ base, source ~ facts(n=300, by=city) do(large <- source) report iia }}"
    checked = cd.check(cd.parse(text))
    tested, parts = drawn(checked, "city"), fitted(checked, "city")
    assert len(tested) == 2 and len(parts["fit"]) == 6 and len(parts["validation"]) == 2
    assert not tested & parts["fit"] and not tested & parts["validation"] and not parts["fit"] & parts["validation"]


def test_without_by_a_city_may_be_on_both_sides() -> None:
    text = f"{MODEL}test t on at {{ base, source ~ facts(n=300) do(large <- source) report iia }}"
    checked = cd.check(cd.parse(text))
    assert drawn(checked, "city") & fitted(checked, "city")["fit"]


def test_a_declared_fit_is_split_by_the_same() -> None:
    body = "do(large <- source)"
    text = (
        f"{MODEL}fit f on at {{ base, source ~ facts(n=64, by=city) {body} }}\n"
        f"test t on at {{ base, source ~ facts(n=300, split=test, by=city) {body} report iia }}"
    )
    checked = cd.check(cd.parse(text))
    assert not drawn(checked, "city") & fitted(checked, "city")["fit"]
    for old, new in ((", by=city) do", ") do"), ("split=test, by=city", "split=test, by=other")):
        wrong = cd.check(cd.parse(text.replace(old, new, 1)))
        assert [fault.code for fault in wrong.errors] == ["E352"], render_all(wrong.diagnostics)


def test_tests_that_share_a_feature_are_split_by_one_thing() -> None:
    body = "do(large <- source) report iia }\n"
    plain, city = "base, source ~ facts(n=64)", "base, source ~ facts(n=64, by=city)"
    pair = "base ~ facts(n=64) source ~ facts(like=base, vary=[city, asked])"
    for first, second in ((plain, city), (city, plain), (plain, pair)):
        found = cd.check(cd.parse(f"{MODEL}test t on at {{ {first} {body} test s on at {{ {second} {body}"))
        assert [fault.code for fault in found.errors] == ["E352"], render_all(found.diagnostics)
    same = pair.replace("n=64", "n=64, by=other")
    other = plain.replace("n=64", "n=64, by=other")
    found = cd.check(cd.parse(f"{MODEL}test t on at {{ {same} {body} test s on at {{ {other} {body}"))
    assert not found.errors, render_all(found.diagnostics)
    assert not drawn(found, "other") & fitted(found, "other")["fit"]


def test_a_feature_is_fitted_on_minimal_pairs_of_other_inputs() -> None:
    """Both runs of a pair are in one part: what they share decides."""
    text = (
        f"{MODEL}test t on at {{ base ~ facts(n=200) source ~ facts(like=base, vary=[city, asked]) "
        "do(large <- source) report iia }"
    )
    checked = cd.check(cd.parse(text))
    tested, parts = drawn(checked, "other"), fitted(checked, "other")
    assert tested and not tested & (parts["fit"] | parts["validation"])


PAIRS = [
    ("ring ring star moon", "ring star star moon", "false", "true"),
    ("heart heart moon moon", "heart heart moon star", "true", "false"),
    ("star moon moon moon", "star star moon moon", "false", "true"),
    ("cross cross arrow arrow", "cross cross arrow circle", "true", "false"),
]
TEXTS = """
table Pairs = csv("pairs.csv", key=row)

causal pairs {
  row  ~ Pairs
  side ~ {"clean", "corrupt"}

  text := if side == "clean" then Pairs[row].clean else Pairs[row].corrupt
  output said := if side == "clean" then Pairs[row].answer else Pairs[row].wrong
}

network net = zoo("equality-gpt2")

align texts : pairs -> net {
  prompt "{text} ="

  side @ layer[2].resid_post[last]
  said @ next_token(among=bool)
}

test solves on texts {
  base ~ pairs(exhaustive=true)
  report accuracy
}

test restores on texts {
  base   ~ pairs(n=40) where base.side == "corrupt"
  source ~ pairs(like=base, vary=[side])
  do(side <- source)
  report iia
}

test every on texts {
  base, source ~ pairs(like=base, vary=[side], exhaustive=true)
  do(side <- source)
  report iia
}
"""


@pytest.mark.slow
def test_paired_texts_of_a_table(tmp_path: Path) -> None:
    lines = ["clean,corrupt,answer,wrong", *(",".join(pair) for pair in PAIRS)]
    (tmp_path / "pairs.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "s.causal").write_text(TEXTS)
    spec = cd.load(tmp_path / "s.causal")
    checked = cd.check(spec)
    assert checked.plan is not None, render_all(checked.diagnostics)
    for test in checked.plan.tests:
        if test.name not in ("restores", "every"):
            continue
        rows = checked.plan.draw_of(test).values
        model = test.design.models["base"]
        texts = [
            list(zip(*(model.decode(n, rows[role][n]) for n in ("row", "side", "text", "said")), strict=True))
            for role in rows
        ]
        for base, source in zip(*texts, strict=True):
            clean, corrupt, answer, wrong = PAIRS[base[0]]
            both = {("clean", clean, answer == "true"), ("corrupt", corrupt, wrong == "true")}
            assert base[0] == source[0] and {base[1:], source[1:]} == both
            assert test.name == "every" or base[1] == "corrupt"
        assert len(texts[0]) == {"restores": 40, "every": 8}[test.name]
    results = cd.run(spec)
    scores = {test.name: test for test in results.specs[0].tests}
    assert scores["solves"].cells[0].scores["accuracy"].value == 1.0
    # after the last layer, at the last token, the whole answer is that of the other text
    assert scores["restores"].cells[0].scores["iia"].value == 1.0
