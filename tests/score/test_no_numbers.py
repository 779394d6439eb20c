"""A network whose vectors are no numbers: a finding, whatever else is looked at in them."""

from __future__ import annotations

from pathlib import Path

import causal_dsl as cd

MODULE = """
import torch


class Root(torch.nn.Module):
    def forward(self, x):
        return torch.sqrt(-1 - x.abs())


def build() -> torch.nn.Module:
    torch.manual_seed(0)
    first = torch.nn.Sequential(torch.nn.Linear(8, 6), Root())
    net = torch.nn.Module()
    net.layers, net.head, net.in_features = torch.nn.ModuleList([first]), torch.nn.Linear(6, 2), 8
    net.forward = lambda x: net.head(net.layers[0](x))
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
