"""What may be taken from another input beside a test is a matter of what the causal model computes, not of its graph."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

import causal_dsl as cd
from tests.thinning import spread

HERE = Path(__file__).parent
MODEL = """
causal numbers {
  a, b ~ 0..2
  j ~ 0..3
  w ~ 0..1
  s := if a == b then 1 else 0
  VARIABLES
}
network net = torch("backups.py:NETWORK")
align at : numbers -> net {
  a @ input[0:1] via scalar()
  b @ input[1:2] via scalar()
  j @ input[2:3] via scalar()
  w @ input[3:4] via scalar()
  s @ layer[0].out[0]
  PLACED
  y @ logits
}
test claim on at {
  base, source ~ numbers(DRAW)
  DO
  report accuracy
}
"""
DRAWS = ["n=333, seed=0", "exhaustive=true"]
DO = "do(s <- source)"
PLAIN = "output y := (s == 1) != (w == 1)"


def run(
    folder: Path, network: str, variables: str = PLAIN, placed: str = "", do: str = DO, draw: str = DRAWS[0]
) -> dict[str, cd.Finding]:
    shutil.copy(HERE / "backups.py", folder / "backups.py")
    text = MODEL
    for word, by in {"NETWORK": network, "VARIABLES": variables, "PLACED": placed, "DO": do, "DRAW": draw}.items():
        text = re.sub(rf"\b{word}\b", lambda _, by=by: by, text)
    (folder / "claim.causal").write_text(text)
    test = cd.run(cd.load(folder / "claim.causal"), cd.Options(trust=True))["claim"]
    return {finding.code: finding for finding in (*test.findings, *test.cell().findings)}


def is_named(found: dict[str, cd.Finding]) -> bool:
    alarm = "unmapped_moves" in found and found["unmapped_moves"].severity == "alarm"
    return alarm and not {"exact", "supported"} & set(found)


FALSE = {
    "an input that cancels": ("by_j", "output y := (s == 1) != (w + j - j == 1)"),
    "an input times nothing": ("by_j", "z := 0 * j output y := (s == 1) != (w + z == 1)"),
    "a remainder that is nothing": ("by_j", "z := (2 * j) mod 2 output y := (s == 1) != (w == 1) and z == 0"),
    "branches that are one": ("by_j", "output y := if j == 1 then (s == 1) != (w == 1) else (s == 1) != (w == 1)"),
    "a condition that always holds": ("by_j", "output y := (s == 1) != (w == 1) and (j < 2 or j > 1)"),
    "some values are answered alike": (
        "by_parity",
        "k := if j >= 2 then 1 else 0 output y : 0..2 := (s + w + k) mod 3",
    ),
    "what is needed, where it is not": ("by_w", "output y := s == 1 and w == 1"),
    "what is needed is held three times": ("by_j_and_thrice_w", "output y := (s == 1) != (w == 1) and j < 9"),
    "many copies": ("by_many_of_j", "output y := (s == 1) != (w == 1) and j < 9"),
}


@pytest.mark.thinned(always=1, values=True, slow=5)
@pytest.mark.parametrize("case", spread(FALSE, 3))
@pytest.mark.parametrize("draw", spread(DRAWS, 2))
def test_an_edge_keeps_no_input_fixed(case: str, draw: str, tmp_path: Path) -> None:
    assert is_named(run(tmp_path, *FALSE[case], draw=draw))


COMPARED = ["by_copies_of_w", "by_copies_beside_pieces"]


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize("network", spread(COMPARED, 1))
def test_copies_of_what_the_answer_needs_are_compared(network: str, tmp_path: Path) -> None:
    """They are alike wherever the inputs of a pair need the same."""
    found = run(tmp_path, network, draw=DRAWS[1])
    assert is_named(found), found
    assert "layer[0].out[1] is taken from another input" in found["unmapped_moves"].text
    assert "what `y` needs beside `s` is there" in found["unmapped_moves"].text


@pytest.mark.parametrize("draw", spread(DRAWS, 1))
@pytest.mark.thinned(always=1)
def test_copies_of_which_one_is_read_are_told_from_copies_that_are_read_together(draw: str, tmp_path: Path) -> None:
    """Either moves the answer, and no part of the layer carries what is needed by itself."""
    found = run(tmp_path, "by_what_is_read", draw=draw)
    assert is_named(found), found
    assert "no value of `s` then changes the answer" in found["unmapped_moves"].text
    found = run(tmp_path, "by_larger_of_w", draw=draw)
    assert "unmapped_moves" not in found and {"exact", "supported"} & set(found), found
    assert "may hold a part of what `y` needs beside `s`" in found["unjudged_moves"].text


def test_where_no_part_is_known_to_carry_it_that_is_said(tmp_path: Path) -> None:
    assert "supported" in (found := run(tmp_path, "less_a")) and "It was not decided" in found["unjudged_moves"].text
    assert not {"unmapped_moves", "unjudged_moves"} & set(run(tmp_path, "by_vote", draw=DRAWS[1]))


PLACED_W = ("q := w == 1 output y := (s == 1) != q", "q @ layer[0].out[WHERE]")


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize("draw", spread(DRAWS, 1))
@pytest.mark.parametrize(
    ("network", "where"),
    spread(
        [("by_three_of_j", "4"), ("by_three_of_j_one_claimed", "3"), ("by_three_of_j", ""), ("by_three_of_nine", "10")],
        2,
    ),
)
def test_units_that_differ_in_no_one_other_input_are_named(network: str, where: str, draw: str, tmp_path: Path) -> None:
    variables, placed = PLACED_W
    found = run(tmp_path, network, variables, placed.replace("WHERE", where) if where else "", draw=draw)
    assert is_named(found), found
    assert "is taken from an input of its own" in found["unmapped_moves"].text


def test_units_that_are_compared_with_what_goes_round_the_layer_are_named(tmp_path: Path) -> None:
    found = run(tmp_path, "by_three_of_j_one_around")
    assert is_named(found), found
    assert "each number of layer[0].out[1:3] is taken from an input of its own" in found["unmapped_moves"].text
    assert "what `y` needs beside `s` is not there" in found["unmapped_moves"].text
    found = run(tmp_path, "around_unread")
    assert "supported" in found and "unmapped_moves" not in found, found


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize("network", ["turned", "masked_by_j"])
def test_what_holds_a_variable_in_pieces_may_be_mixed(network: str, tmp_path: Path) -> None:
    found = run(tmp_path, network, PLACED_W[0], "")
    assert "supported" in found and "unmapped_moves" not in found, found


CLAIMED = {
    "nothing needs it": ("k := j == 1", "k @ layer[0].out[1:3]"),
    "at two places": ("k := j == 1", "k @ layer[0].out[1], layer[0].out[2]"),
    "two that nothing needs": ("k := j == 1 k2 := j == 0", "k @ layer[0].out[1] k2 @ layer[0].out[2]"),
    "through a feature": ("k := j == 1", "k @ layer[0].out[1:3] via pca(k=1)"),
    "an edge does nothing": ("k := j * 0", "k @ layer[0].out[1:3]"),
}


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize("case", spread(CLAIMED, 3))
def test_what_is_claimed_for_an_idle_variable_is_tried(case: str, tmp_path: Path) -> None:
    variables, placed = CLAIMED[case]
    output = "output y := (s == 1) != (w == 1)" + (" and k == 0" if "edge" in case else "")
    assert is_named(run(tmp_path, "by_j", f"{variables} {output}", placed))


@pytest.mark.slow
def test_what_is_claimed_for_a_variable_that_is_not_written_is_tried(tmp_path: Path) -> None:
    variables, placed = "q := w == 1 output y := (s == 1) != q", "q @ layer[0].out[1:4]"
    assert is_named(run(tmp_path, "by_j", variables, placed))
    assert "exact" in run(tmp_path, "less_a", variables, placed, draw=DRAWS[1])


SAME = [
    "layer[0].out[1:4] <- base",
    "layer[0].out[1:4] = scale(1)",
    "layer[0].out[1:4] = clamp(-9, 9)",
    "layer[0].out[1:4] = 1 * current",
    "layer[0].out[1:4] += 0",
    "layer[0].out[1] <- base.layer[0].out[2], layer[0].out[2] <- base.layer[0].out[1]",
    "layer[0].out[1:3] <- source",
    "layer[1].out[1:4] <- base",
]


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize("beside", spread(SAME, 4, slow_step=2))
def test_what_is_written_as_it_is_does_not_end_the_control(beside: str, tmp_path: Path) -> None:
    assert is_named(run(tmp_path, "by_j_twice", do=f"do(s <- source, {beside})"))
    found = run(tmp_path, "plain", do=f"do(s <- source, {beside})") if "[1]" not in beside.split(" ")[0] else {}
    assert "unmapped_moves" not in found


def test_what_the_test_takes_away_is_its_own(tmp_path: Path) -> None:
    found = run(tmp_path, "by_j", do="do(s <- source, layer[0].out[1:3] = 0)")
    assert "unmapped_moves" not in found and "supported" in found, found


KEY = "output y := (s == 1) != (w == 1) and j < 9"


@pytest.mark.thinned(always=1, values=True, slow=5)
@pytest.mark.parametrize(
    ("network", "variables"),
    spread(
        [
            ("plain", PLAIN),
            ("plain", KEY),
            ("less_a", PLAIN),
            ("less_a", KEY),
            ("masked_by_j", PLAIN),
            ("masked_by_j", KEY),
            ("two_codes", PLAIN),
            ("turned", PLAIN),
        ],
        3,
    ),
)
@pytest.mark.parametrize("draw", spread(DRAWS, 2))
def test_units_that_tell_it_unread_raise_no_alarm(network: str, variables: str, draw: str, tmp_path: Path) -> None:
    found = run(tmp_path, network, variables, draw=draw)
    assert "unmapped_moves" not in found, found
    assert {"exact", "supported"} & set(found)


def test_where_no_two_inputs_are_answered_alike_that_is_said(tmp_path: Path) -> None:
    shutil.copy(HERE / "backups.py", tmp_path / "backups.py")
    text = """
causal count { a ~ 0..3 s := if a > 1 then 1 else 0 output y : 0..3 := (2 * s + a) mod 4 }
network net = torch("backups.py:counted")
align at : count -> net {
  a @ input[0:1] via scalar()
  s @ layer[0].out[0]
  y @ logits
}
test claim on at { base, source ~ count(n=64, seed=0) do(s <- source) report iia }
"""
    (tmp_path / "claim.causal").write_text(text)
    test = cd.run(cd.load(tmp_path / "claim.causal"), cd.Options(trust=True))["claim"]
    told = next(finding.text for finding in test.findings if finding.code == "not_tried")
    assert "hardly any two inputs of the test have the same `y`" in told
