"""Tokens that no variable claims, and copies that a network of prompts compares."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import causal_dsl as cd
from tests.honest.tokens import SIZE, WORDS

MODEL = """
causal words {
  a ~ {"a0", "a1"}
  b ~ {"b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7"}
  c ~ {"c0", "c1"}
  m := a == "a1"
  output y : {"n", "y"} := if m != (c == "c1") then "y" else "n"
}
network net = torch("tokens.py:NETWORK", vocabulary=[WORDS], layers="blocks", embed="emb", unembed="un")
align at SWEEP : words -> net {
  prompt "S {a} {b} {c} E"
  m @ layer[0].resid_post[PLACE]
  y @ next_token
}
test claim on at {
  base, source ~ words(DRAW) WHERE
  do(m <- source)
  report iia
}
"""
FIXED = 'where base.b == "b0" and source.b == "b0"'
SWEPT = "(p in [a, b, c])"
#: where m is said to be, how it is drawn, and what is said of the claim where b is compared
CLAIMS = {
    "whole": ("a", "", "exhaustive=true", "", "unmapped_moves"),
    "drawn": ("a", "", "n=200", "", "unmapped_moves"),
    "numbers": ("a, 16:17", "", "exhaustive=true", "", "unmapped_moves"),
    "swept": ("p", SWEPT, "n=200", "", "unmapped_moves"),
    "fixed": ("a", "", "n=200", FIXED, "only_there"),
}


def claim(folder: Path, network: str, place: str, sweep: str, draw: str, where: str, more: str = "") -> dict[str, str]:
    """The findings of the test, those of the cell at `a` first, by code; alarms as they are and the others in brackets."""
    shutil.copy(Path(__file__).with_name("tokens.py"), folder / "tokens.py")
    text = MODEL.replace("NETWORK", network).replace("WORDS", ", ".join(f'"{word}"' for word in WORDS))
    for name, by in {"PLACE": place, "SWEEP": sweep, "DRAW": draw, "WHERE": where}.items():
        text = text.replace(name, by)
    text = text.replace('c} E"', f'c}} E"{more}')
    (folder / "claim.causal").write_text(text)
    test = cd.run(cd.load(folder / "claim.causal"), cd.Options(trust=True))["claim"]
    return {
        one.code if one.severity == "alarm" else f"({one.code})": one.text
        for one in (*test.cells[0].findings, *test.findings)
    }


@pytest.mark.parametrize("name", CLAIMS)
@pytest.mark.thinned(always=1)
def test_copies_of_what_decides_nothing_are_compared(name: str, tmp_path: Path) -> None:
    *asked, said = CLAIMS[name]
    found = claim(tmp_path, "by_copies_of_b", *asked)
    assert said in found and "resid_post[2] is taken from another input" in found[said], found


@pytest.mark.parametrize("name", CLAIMS)
@pytest.mark.thinned(always=1)
def test_where_nothing_is_compared_nothing_alarms(name: str, tmp_path: Path) -> None:
    *asked, _ = CLAIMS[name]
    found = claim(tmp_path, "plain", *asked)
    assert {"(exact)", "(supported)"} & set(found) and all(code.startswith("(") for code in found), found
    told = found["(not_tried)"]
    inside = "What is unclaimed of a token was taken all together" in told
    assert not inside, found  # it was taken number by number, too; where too few pairs are left, nothing was taken
    if name == "numbers":  # of five tokens one is claimed in part
        assert "the 4 unclaimed tokens of layer[0].resid_post and the 1 token that is claimed in part" in told, found


LOW = 'where base.b in {"b0", "b1"} and source.b in {"b0", "b1"}'


@pytest.mark.parametrize(("place", "sweep"), [("a", ""), ("p", "(p in [a, c])")])
@pytest.mark.parametrize("line", ["", '\n  prompt "S S {a} {b} {c} E"'])
def test_a_claim_under_a_where_is_tried_in_other_prompts(place: str, sweep: str, line: str, tmp_path: Path) -> None:
    """Prompts of two lengths, too: the places of the test are in all of them."""
    asked = (place, sweep, "n=200", LOW)
    found = claim(tmp_path, "by_a_copy_where_b_is_high", *asked, more=line)
    assert "that do not pass the `where`" in found["only_there"], found
    found = claim(tmp_path, "plain", *asked, more=line)
    assert all(code.startswith("(") for code in found) and "(only_there)" not in found, found
    assert "do not pass the `where`" not in found.get("(not_tried)", ""), found


@pytest.mark.parametrize("name", ["whole", "drawn"])
@pytest.mark.thinned(always=1)
def test_copies_of_what_the_answer_needs_are_compared(name: str, tmp_path: Path) -> None:
    *asked, _ = CLAIMS[name]
    found = claim(tmp_path, "by_copies_of_c", *asked)
    assert "no value of `m` then changes the answer" in found["unmapped_moves"], found
    assert "(exact)" not in found and "(supported)" not in found


@pytest.mark.parametrize(("more", "idle"), [("b", True), ("c", False)])
@pytest.mark.thinned(always=1)
def test_the_tokens_of_a_small_test_are_written_in_parts(more: str, idle: bool, tmp_path: Path) -> None:
    """A fifth of the cost of 96 pairs is too little for that. Nothing reads b, and c is needed as it is."""
    found = claim(tmp_path, "plain", f"a], layer[0].resid_post[{more}", "", "n=96", "")
    assert "were not written alone" not in found.get("(not_tried)", ""), found
    assert any("idle_place" in code for code in found) == idle, found


NUMBER = f"a, {SIZE}:{SIZE + 1}"


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize("place", ["a", NUMBER])
@pytest.mark.parametrize("draw", ["exhaustive=true", "n=200"])
@pytest.mark.parametrize(
    ("network", "told"),
    [
        ("by_a_elsewhere", f"resid_post[3, {SIZE + 8}]"),
        ("by_c_twice_in_one_token", "layer[0].resid_post[4, 2"),
        ("by_c_in_two_tokens", "no value of `m` then changes the answer"),
        ("by_three_of_b", "each token of layer[0].resid_post[2 and 3 and 4] is taken from an input of its own"),
    ],
)
def test_copies_are_named_where_something_else_counts_that_is_placed_nowhere(
    network: str, told: str, draw: str, place: str, tmp_path: Path
) -> None:
    found = claim(tmp_path, network, place, "", draw, "")
    assert not {"(exact)", "(supported)"} & set(found) and told in found["unmapped_moves"], found


@pytest.mark.parametrize("place", ["a", NUMBER])
@pytest.mark.parametrize("network", ["plain_beside_what_is_held_elsewhere", "c_is_shared"])
@pytest.mark.thinned(always=1)
def test_what_two_tokens_hold_together_is_no_copy(network: str, place: str, tmp_path: Path) -> None:
    """A share of c, taken alone, is another c; and copies that nothing reads are none of the answer's."""
    for draw in ("exhaustive=true", "n=200"):
        found = claim(tmp_path, network, place, "", draw, "")
        assert {"(exact)", "(supported)"} & set(found) and all(code.startswith("(") for code in found), found
        assert ("(unjudged_moves)" in found) == (network == "c_is_shared"), found
        assert "number by number" not in found["(not_tried)"], found


def test_shares_of_a_variable_are_placed_together(tmp_path: Path) -> None:
    place = f"c, {SIZE + 10}:{SIZE + 11}], layer[0].resid_post[last, {SIZE + 11}:{SIZE + 12}"
    found = claim(tmp_path, "both_are_shared", place, "", "n=200", "")
    assert "(supported)" in found and all(code.startswith("(") for code in found), found
