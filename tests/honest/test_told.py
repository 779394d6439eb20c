"""Fits that never moved, and sentences about one output of several."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import causal_dsl as cd
from tests.honest.test_known_truths import HERE, MODEL, PAIRS, codes
from tests.thinning import spread


@pytest.mark.parametrize("via", spread(["rotation(dim=1, ", "boundless(", "mask("], 1))
def test_a_fit_that_no_gradient_moves_is_named(via: str, tmp_path: Path) -> None:
    found = codes(tmp_path, "rounded", f"p @ layer[0].out[0:2] via {via}controls=none, epochs=2)")
    assert "is zero in every step" in found["unmoved_fit"], found


def test_a_fit_that_moves_is_not(tmp_path: Path) -> None:
    found = codes(tmp_path, "plain", "p @ layer[0].out[0:2] via rotation(dim=1, controls=none, epochs=2)")
    assert "fitted" in found and "unmoved_fit" not in found, found


def test_two_functions_of_one_file_share_no_fit(tmp_path: Path) -> None:
    """They make networks of the same weights and answers, which differ inside."""
    places = "p @ layer[0].out[0:2] via rotation(dim=1, controls=none, epochs=3)"
    assert "unmoved_fit" not in codes(tmp_path, "plain", places)
    assert "unmoved_fit" in codes(tmp_path, "rounded", places)


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
