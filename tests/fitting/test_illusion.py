"""The known illusion: h = (x, 0, x) read out by (0, 2, 1). Along (1, 1, 0) everything moves, through a dead unit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.fitting.worlds import run

TOY = """
domain X = {-5.0, -4.75, -4.5, -4.25, -4.0, -3.75, -3.5, -3.25, -3.0, -2.75, -2.5, -2.25, -2.0, -1.75, -1.5, -1.25, -1.0, -0.75, -0.5, -0.25, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5, 2.75, 3.0, 3.25, 3.5, 3.75, 4.0, 4.25, 4.5, 4.75, 5.0}
causal sign {
  x ~ X
  up := x > 0
  output y := up
}
network net = torch("nets.py:toy", dtype=float64)
align on_line : sign -> net {
  x  @ input[0:1] via scalar()
  up @ layer[0].out via subspace("line.safetensors")
  y  @ logits
}
test line on on_line {
  base, source ~ sign(n=100, seed=0) where base.up != source.up
  do(up <- source)
  report iia
}
"""


def codes(folder: Path, direction: list[float]) -> dict[str, str]:
    save_file({"line": torch.tensor(direction, dtype=torch.float64)}, folder / "line.safetensors")
    cell = run(folder, TOY)["line"].cell()
    assert cell.scores["iia"].value == 1.0  # all of these move the answer perfectly
    return {finding.code: finding.text for finding in cell.findings}


def test_the_illusion_is_caught(tmp_path: Path) -> None:
    found = codes(tmp_path, [1.0, 1.0, 0.0])
    assert "illusion_risk" in found
    assert "natural" in found["illusion_risk"]
    assert "never comes near" in found["illusion_risk"]


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("direction", [[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
def test_true_directions_pass(tmp_path: Path, direction: list[float]) -> None:
    assert "illusion_risk" not in codes(tmp_path, direction)


def test_a_given_direction_is_not_said_to_be_made_from_inputs(tmp_path: Path) -> None:
    told = codes(tmp_path, [0.0, 0.0, 1.0])["fitted"]
    assert "read from a file; nothing was fitted" in told
    assert "inputs" not in told


def test_the_difference_from_a_control_is_that_of_the_pairs(tmp_path: Path) -> None:
    save_file({"line": torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)}, tmp_path / "line.safetensors")
    cell = run(tmp_path, TOY)["line"].cell()
    assert cell.learned is not None
    control = cell.learned.controls["random subspace"]
    assert control.difference.value == pytest.approx(1 - max(control.draws))
    assert control.difference.low is not None and control.difference.low <= control.difference.value
    shown = control.to_json()["difference"]
    assert shown["value"] == control.difference.value and shown["n"] == cell.scores["iia"].n
