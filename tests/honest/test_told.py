"""Fits that never moved, and sentences about one output of several."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import causal_dsl as cd
from tests.honest.test_known_truths import HERE, MODEL, PAIRS, codes, run
from tests.thinning import spread


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize("via", spread(["rotation(dim=1, ", "boundless(", "mask("], 1))
def test_a_fit_that_no_gradient_moves_is_named(via: str, tmp_path: Path) -> None:
    found = codes(tmp_path, "rounded", f"p @ layer[0].out[0:2] via {via}controls=none, epochs=2)")
    assert "is zero in every step" in found["unmoved_fit"], found


def test_a_fit_that_moves_is_not(tmp_path: Path) -> None:
    found = codes(tmp_path, "plain", "p @ layer[0].out[0:2] via rotation(dim=1, controls=none, epochs=2)")
    assert "fitted" in found and "unmoved_fit" not in found, found


@pytest.mark.slow
def test_two_functions_of_one_file_share_no_fit(tmp_path: Path) -> None:
    """They make networks of the same weights and answers, which differ inside."""
    places = "p @ layer[0].out[0:2] via rotation(dim=1, controls=none, epochs=3)"
    assert "unmoved_fit" not in codes(tmp_path, "plain", places)
    assert "unmoved_fit" in codes(tmp_path, "rounded", places)


@pytest.mark.slow
def test_a_kept_fit_knows_that_it_never_moved(tmp_path: Path) -> None:
    places = "p @ layer[0].out[0:2] via rotation(dim=1, controls=none, epochs=2)"
    first, second = (codes(tmp_path, "rounded", places) for _ in range(2))
    assert first["unmoved_fit"] == second["unmoved_fit"]


def test_what_does_not_move_of_one_output_is_said_of_its_logits(tmp_path: Path) -> None:
    shutil.copy(HERE / "networks.py", tmp_path / "networks.py")
    text = MODEL.replace("NETWORK", "two_answers").replace(
        "output out := p != q", "output first := p output second := q"
    )
    text = text.replace("out @ logits", "first @ logits[0:2]\n  second @ logits[2:4]").replace("DRAW", PAIRS)
    text = text.replace("PLACES", "p @ layer[0].out[0]").replace("DO", "do(p <- source)")
    (tmp_path / "claim.causal").write_text(text)
    cell = cd.run(cd.load(tmp_path / "claim.causal"), cd.Options(trust=True))["claim"].cell()
    told = next(one.text for one in cell.findings if one.code == "never_moved")
    assert told.startswith("`second`: ") and "no compared logit changed" in told


def result_of(folder: Path, network: str, places: str, do: str, more: str = "", draw: str = PAIRS) -> cd.CellResult:
    shutil.copy(HERE / "networks.py", folder / "networks.py")
    text = MODEL.replace("NETWORK", network).replace("PLACES", places).replace("DRAW", draw).replace("DO", do)
    (folder / "claim.causal").write_text(
        text.replace("  p := x > y", "  p := x > y\n  lost := x > y").replace(
            "  report accuracy", more or "  report accuracy"
        )
    )
    return cd.run(cd.load(folder / "claim.causal"), cd.Options(trust=True))["claim"].cell()


@pytest.mark.slow
def test_a_place_that_grades_what_the_variable_does_not_is_said_to_hold_more(tmp_path: Path) -> None:
    cell = result_of(tmp_path, "graded", "p @ layer[0].out[0]", "do(p <- source)")
    told = next(one for one in cell.findings if one.code == "holds_more")
    assert told.severity == "info" and "takes 7 vectors" in told.text and "2 values of `p`" in told.text
    assert not [
        one
        for one in result_of(tmp_path, "plain", "p @ layer[0].out[0]", "do(p <- source)").findings
        if one.code == "holds_more"
    ]


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize(
    ("expect", "severity"), [("iia <= 60%", "info"), ("iia >= 60%", "alarm"), ("iia_star < 50%", "info")]
)
@pytest.mark.slow
def test_what_refutes_a_claim_is_no_alarm_where_the_claim_is_meant_to_fail(
    expect: str, severity: str, tmp_path: Path
) -> None:
    cell = result_of(tmp_path, "hidden_by_idle", "p @ layer[0].out[0]", "do(p <- source)", f"  expect {expect}")
    told = next(one for one in cell.findings if one.code == "unmapped_moves")
    assert told.severity == severity
    assert cell.verdict is not None and cell.verdict.code == "inconclusive"


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize(("expect", "severity"), [("iia <= 60%", "info"), ("iia >= 60%", "alarm")])
@pytest.mark.parametrize("draw", [PAIRS, PAIRS.replace(")", ", controls=none)")])
def test_so_it_is_of_a_place_that_nothing_reads(expect: str, severity: str, draw: str, tmp_path: Path) -> None:
    cell = result_of(tmp_path, "plain", "p @ layer[0].out[2]", "do(p <- source)", f"  expect {expect}", draw)
    assert next(one for one in cell.findings if one.code == "never_moved").severity == severity


@pytest.mark.slow
def test_a_variable_that_leads_nowhere_and_moves_the_answer_is_contradicted(tmp_path: Path) -> None:
    cell = result_of(tmp_path, "plain", "lost @ layer[0].out[0]", "do(lost <- source)")
    assert cell.verdict is not None and cell.verdict.code == "contradicted", cell.verdict
    assert "stays right in every pair" in cell.verdict.text
    still = result_of(tmp_path, "plain", "lost @ layer[0].out[2]", "do(lost <- source)")
    assert still.verdict is not None and still.verdict.code == "vacuous"


@pytest.mark.parametrize(
    ("network", "place", "code", "told", "verdict"),
    [
        ("hidden_by_idle", "layer[0].out[0]", "unmapped_moves", "`out` moves by more than", "inconclusive"),
        ("read_in_pieces", "layer[0].out[0:2]", "input_copy", "not yet computed there", "supported"),
    ],
)
def test_a_number_is_no_answer_and_moves(
    network: str, place: str, code: str, told: str, verdict: str, tmp_path: Path
) -> None:
    shutil.copy(HERE / "networks.py", tmp_path / "networks.py")
    text = MODEL.replace("NETWORK", network).replace("PLACES", f"p @ {place}").replace("DRAW", PAIRS)
    text = text.replace("output out := p != q", "output out : real(-2, 2) := if p != q then 1.0 else -1.0")
    text = text.replace("out @ logits", "out @ logit(1) - logit(0)").replace("report accuracy", "report r2")
    found = run(tmp_path, text.replace("DO", "do(p <- source)"))
    assert verdict in found and told in found[code], found


HOT = """
import torch
from torch import nn
class Stage(nn.Module):
    def __init__(self, formula):
        super().__init__()
        self.formula = formula
    def forward(self, x):
        return self.formula(x)
class Hot(nn.Module):
    def __init__(self):
        super().__init__()
        self.in_features, self.one = 2, nn.Parameter(torch.ones(1))
        self.layers = nn.ModuleList([Stage(lambda x: torch.cat([x[:, :1], torch.eye(4)[x[:, 1].long()]], 1))])
        self.head = Stage(lambda h: -(((h[:, 0] + h[:, 1:].argmax(1)) % 4)[:, None] - torch.arange(4)) ** 2)
    def forward(self, x):
        return self.head(self.layers[0](x * self.one))
"""
SUM = """
causal sum {
  a, k ~ 0..3
  m := a
  output y : 0..3 := (m + k) mod 4
}
network net = torch("hot.py:Hot")
align at : sum -> net {
  a @ input[0:1] via scalar()
  k @ input[1:2] via scalar()
  m @ layer[0].out[0]
  y @ logits
}
test claim on at {
  base, source ~ sum(exhaustive=true)
  do(m <- source)
  report iia
}
"""


def test_numbers_from_inputs_of_their_own_are_told_with_what_these_differ_in(tmp_path: Path) -> None:
    """The four numbers hold `k` alone: no input that differs only in `a` could move the answer by them."""
    (tmp_path / "hot.py").write_text(HOT)
    (tmp_path / "claim.causal").write_text(SUM)
    cell = cd.run(cd.load(tmp_path / "claim.causal"), cd.Options(trust=True))["claim"].cell()
    (told,) = (one.text for one in cell.findings if one.code == "unjudged_moves")
    assert "from an input of its own" in told and "these inputs differ in `a` and `k`." in told, told
    (rest,) = (one.to_json() for one in cell.unclaimed if one.why == "through")
    assert rest["varied"] == ["a"]
    assert {tuple(one["varied"]) for one in rest["taken"] if one.get("mixed")} == {("a", "k")}
    assert not any("varied" in one for one in rest["taken"] if not one.get("mixed"))
