"""Units that are taken from inputs of their own, beside what others have at the places; numbers of tokens; and what features leave."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import causal_dsl as cd
from tests.honest import backups
from tests.honest.test_by_function import DRAWS, HERE, PLACED_W, is_named, run
from tests.honest.tokens import SIZE, WORDS
from tests.thinning import spread

W_AT_1 = (PLACED_W[0], PLACED_W[1].replace("WHERE", "1"))
COMPARED = {
    "in both places": ("by_j_in_both_places", *W_AT_1),
    "in both places, one of them claimed": ("by_j_in_both_places", PLACED_W[0], ""),
    "in its place": ("by_j_in_its_place", PLACED_W[0], ""),
    "in its place and round the layer": ("by_j_in_its_place_and_around", PLACED_W[0], ""),
}


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize("case", spread(COMPARED, 2))
def test_units_that_are_compared_with_what_else_a_place_holds_are_named(case: str, tmp_path: Path) -> None:
    found = run(tmp_path, *COMPARED[case], draw=DRAWS[1])
    assert is_named(found), found
    told = found["unmapped_moves"].text
    assert "from an input with the same value of it" in told and "beside layer[0].out[" in told, told
    if case == "in both places":
        cell = cd.run(cd.load(tmp_path / "claim.causal"), cd.Options(trust=True))["claim"].cell()
        both = [one for one in cell.findings if "place of each of `s` and `q`" in one.text and one.code == "holds_more"]
        assert [one.severity for one in both] == ["info"], cell.findings


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize(
    ("network", "placed"),
    spread([("j_in_both_places", W_AT_1[1]), ("j_in_both_places", ""), ("j_in_its_place", "")], 2),
)
def test_what_else_a_place_holds_and_nothing_reads_is_no_fault(network: str, placed: str, tmp_path: Path) -> None:
    found = run(tmp_path, network, PLACED_W[0], placed, draw=DRAWS[1])
    assert {"exact", "supported"} & set(found) and "unmapped_moves" not in found, found


def test_a_part_that_moves_more_than_errors_of_its_own_explain_is_named(tmp_path: Path) -> None:
    variables, placed = PLACED_W[0], PLACED_W[1].replace("WHERE", "3")
    found = run(tmp_path, "by_j_and_wrong", variables, placed)
    assert is_named(found), found
    found = run(tmp_path, "wrong", variables, placed)
    assert {"partly", "supported"} & set(found) and "unmapped_moves" not in found, found


@pytest.mark.parametrize("seed", spread(range(6), 3))
@pytest.mark.thinned(always=1)
def test_errors_that_mixtures_make_as_often_are_no_alarm(seed: int, tmp_path: Path) -> None:
    variables, placed = PLACED_W[0], PLACED_W[1].replace("WHERE", "1")
    found = run(tmp_path, "wrong_where_copies_meet", variables, placed, draw=f"n=256, seed={seed}")
    assert not [one for one in found.values() if one.code == "unmapped_moves" and one.severity == "alarm"], found
    assert {"supported", "partly"} & set(found)


@pytest.mark.parametrize("seed", spread(range(4), 2))
def test_answers_that_are_close_to_others_are_no_alarm(seed: int, tmp_path: Path) -> None:
    """The network errs in one input of 72. With the rest of another input it errs in more than twice as many, and never clearly."""
    variables, placed = PLACED_W[0], PLACED_W[1].replace("WHERE", "3")
    draw = f"n=333, seed={seed}"
    found = run(tmp_path, "close", variables, placed, draw=draw)
    assert {"supported", "partly"} & set(found) and not [f for f in found.values() if f.severity == "alarm"], found
    assert "unmapped_moves" in found, found
    found = run(tmp_path, "close_and_stepping", variables, placed, draw=draw)
    assert is_named(found), found
    assert "layer[0].out[" in found["unmapped_moves"].text, found


def test_a_code_that_nothing_reads_is_no_code_of_the_place(tmp_path: Path) -> None:
    """Unit 0 has the variable, which the codes of both units hide where all distances are taken."""
    run(tmp_path, "beside_an_unread_code", PLACED_W[0])
    claim = tmp_path / "claim.causal"
    claim.write_text(claim.read_text().replace("s @ layer[0].out[0]", "s @ layer[0].out[0:2]"))
    cell = cd.run(cd.load(claim), cd.Options(trust=True))["claim"].cell()
    assert "idle_place" in {one.code for one in cell.findings}, cell.findings
    assert not [one.code for one in cell.findings if one.severity == "alarm"], cell.findings


FEATURES = """
causal numbers {
  a, j, w ~ 0..3
  p := a > 1
  output y := p != (w > 1)
}
network net = torch("backups.py:NETWORK")
align at : numbers -> net {
  a @ input[0:4] via onehot()
  j @ input[4:8] via onehot()
  w @ input[8:12] via onehot()
  p @ layer[0].out via FEATURE
  y @ logits
}
test claim on at {
  base, source ~ numbers(n=256, seed=0)
  do(p <- source)
  report iia
}
"""


@pytest.mark.parametrize(
    ("feature", "severity"),
    spread([('subspace("p.safetensors")', "alarm"), ("rotation(dim=1, n=256, epochs=20, rate=0.02)", "info")], 2),
)
def test_what_a_feature_leaves_is_taken_from_other_inputs(feature: str, severity: str, tmp_path: Path) -> None:
    shutil.copy(HERE / "backups.py", tmp_path / "backups.py")
    save_file({"directions": torch.eye(8)[:1].contiguous()}, tmp_path / "p.safetensors")

    def found(network: str) -> dict[str, cd.Finding]:
        (tmp_path / "claim.causal").write_text(FEATURES.replace("NETWORK", network).replace("FEATURE", feature))
        test = cd.run(cd.load(tmp_path / "claim.causal"), cd.Options(trust=True))["claim"]
        return {one.code: one for one in (*test.findings, *test.cell().findings)}

    told = found("compared_in_weights")["unmapped_moves"]
    assert told.severity == severity and "stays as it is. The inputs differ only in `j`" in told.text, told
    assert ("The feature was fitted" in told.text) == (severity == "info")
    plain = found("plain_in_weights")
    assert {"exact", "supported"} & set(plain) and not {"unmapped_moves", "unjudged_moves"} & set(plain), plain
    assert "by coordinates" in plain["not_tried"].text


@pytest.mark.parametrize("network", ["in_directions_compared", "in_directions"])
def test_copies_in_other_directions_than_a_given_one_are_told(network: str, tmp_path: Path) -> None:
    save_file({"d": backups.turn()[:, :1].T.float().contiguous()}, tmp_path / "s.safetensors")
    run(tmp_path, network)
    claim = tmp_path / "claim.causal"
    claim.write_text(claim.read_text().replace("s @ layer[0].out[0]", 's @ layer[0].out via subspace("s.safetensors")'))
    test = cd.run(cd.load(claim), cd.Options(trust=True))["claim"]
    found = {one.code: one for one in (*test.findings, *test.cell().findings)}
    assert "supported" in found and not [one for one in found.values() if one.severity == "alarm"], found
    told = "No other value of `s` changes the answer" in getattr(found.get("unjudged_moves"), "text", "")
    assert told == (network == "in_directions_compared"), found
    assert "by coordinates" in found["not_tried"].text


@pytest.mark.parametrize(("network", "read"), [("by_a_trace", True), ("beside_a_trace", False)])
def test_a_trace_of_a_code_is_told_where_it_counts(network: str, read: bool, tmp_path: Path) -> None:
    found = run(tmp_path, network, PLACED_W[0], PLACED_W[1].replace("WHERE", "1"))
    assert "supported" in found and not [one for one in found.values() if one.severity == "alarm"], found
    told = found.get("holds_more")
    assert ("replaced by its mean over the inputs with the same value of `s`" in getattr(told, "text", "")) == read, (
        found
    )


PROMPTS = """
causal words {
  a ~ {"a0", "a1"}
  b ~ {"b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7"}
  c ~ {"c0", "c1"}
  m := a == "a1"
  k := c == "c1"
  output y : {"n", "y"} := if m != k then "y" else "n"
}
network net = torch("tokens.py:NETWORK", vocabulary=[WORDS], layers="blocks", embed="emb", unembed="un")
align at : words -> net {
  prompt "S {a} {b} {c} E"
  m @ layer[0].resid_post[PLACE]
  k @ layer[0].resid_post[c]
  y @ next_token
}
test claim on at {
  base, source ~ words(exhaustive=true)
  do(m <- source)
  report iia
}
"""


def of_prompts(folder: Path, network: str, place: str, text: str = PROMPTS) -> dict[str, cd.Finding]:
    shutil.copy(HERE / "tokens.py", folder / "tokens.py")
    for name, by in {"NETWORK": network, "WORDS": ", ".join(f'"{w}"' for w in WORDS), "PLACE": place}.items():
        text = text.replace(name, by)
    (folder / "claim.causal").write_text(text)
    test = cd.run(cd.load(folder / "claim.causal"), cd.Options(trust=True))["claim"]
    return {one.code: one for one in (*test.cells[0].findings, *test.findings)}


NUMBER = f"a, {SIZE}:{SIZE + 1}"


@pytest.mark.parametrize(
    ("network", "place", "told"),
    spread(
        [
            ("by_numbers_of_a", NUMBER, f"resid_post[1, {SIZE + 8}] is taken"),
            ("by_three_of_b", "a", "is taken from an input of its own"),
        ],
        2,
    ),
)
def test_tokens_and_their_numbers_are_taken_from_inputs_of_their_own(
    network: str, place: str, told: str, tmp_path: Path
) -> None:
    found = of_prompts(tmp_path, network, place)
    assert is_named(found) and told in found["unmapped_moves"].text, found
    found = of_prompts(tmp_path, "plain_beside_copies", place)
    assert "exact" in found and not [one for one in found.values() if one.severity == "alarm"], found
    assert "not_tried" not in found or "taken all together" not in found["not_tried"].text


def test_words_beside_each_other_are_no_variable_that_compares_them(tmp_path: Path) -> None:
    text = (
        PROMPTS.replace('m := a == "a1"', 'm := (a == "a1") != (b in {"b4", "b5", "b6", "b7"})')
        .replace("m @ layer[0].resid_post[PLACE]", "m @ layer[0].resid_post[a], layer[0].resid_post[b]")
        .replace("  k @ layer[0].resid_post[c]\n", "")
    )
    found = of_prompts(tmp_path, "by_words", "", text)
    assert found["input_copy"].severity == "alarm" and "not yet computed" in found["input_copy"].text, found
