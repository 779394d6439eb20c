"""A network whose vectors are no numbers: a finding, whatever else is looked at in them."""

from __future__ import annotations

from pathlib import Path

import causal_dsl as cd

MODULE = """
import torch

def build() -> torch.nn.Module:
    net = torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.ReLU(), torch.nn.Linear(6, 2))
    torch.nn.init.constant_(net[0].weight, float("nan"))
    return net
"""
SPEC = """
causal equality {
  a, b ~ 0..3
  most := if a > b then a else b
  output high := most >= 2
}
network net = torch("own.py:build")
align at : equality -> net {
  a    @ input[0:4] via onehot()
  b    @ input[4:8] via onehot()
  most @ layer[0].out
  high @ logits
}
test swapped on at {
  base, source ~ equality(n=16, seed=0)
  do(most <- source)
  report iia
}
"""


def test_it_is_said_and_nothing_else_of_the_place(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "spec.causal").write_text(SPEC, encoding="utf-8")
    (cell,) = cd.run(cd.load(tmp_path / "spec.causal"), cd.Options(trust=True))["swapped"].cells
    codes = {finding.code for finding in cell.findings}
    assert "non_finite" in codes and "input_copy" not in codes
