"""A true hypothesis in draws as a first-time user writes them: a variable that is rarely true is rarely drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

import causal_dsl as cd
from tests.thinning import spread

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.in_features = 4
        self.layers = nn.ModuleList([Halves(), nn.Identity()])
        self.head = Same()

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.head(x)

class Halves(nn.Module):
    \"\"\"left, right, and copies of the input that nothing reads.\"\"\"
    out_features = 6

    def forward(self, x):
        halves = torch.stack([x[:, 0] == x[:, 1], x[:, 2] == x[:, 3]], 1)
        return torch.cat([halves.to(x.dtype), x], 1)

class Same(nn.Module):
    def forward(self, h):
        same = ((h[:, 0] > 0.5) == (h[:, 1] > 0.5)).to(h.dtype)
        return torch.stack([1 - same, same], 1)

def build():
    return Net()
"""
SPEC = """
domain S = 0..LAST
causal m {
  a, b, c, d ~ S

  left := a == b
  right := c == d
  output same := left == right
}
network net = torch("net.py:build")
align at : m -> net {
  a @ input[0:1] via scalar()
  b @ input[1:2] via scalar()
  c @ input[2:3] via scalar()
  d @ input[3:4] via scalar()

  left @ layer[0].out[0]
  RIGHT
  same @ logits
}
test claim on at {
  base, source ~ m(n=512, seed=SEED)
  do(left <- source)
  report iia
}
"""


@pytest.mark.parametrize(
    ("last", "seed", "right"),
    spread([(last, seed, right) for last in (5, 9, 19) for seed in (11, 13) for right in ("placed", "not placed")], 4),
)
def test_a_rare_value_makes_no_alarm_of_a_truth(last: int, seed: int, right: str, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    text = SPEC.replace("LAST", str(last)).replace("SEED", str(seed))
    (tmp_path / "v.causal").write_text(text.replace("RIGHT", "right @ layer[0].out[1]" if right == "placed" else ""))
    cell = cd.run(cd.load(tmp_path / "v.causal"), cd.Options(trust=True))["claim"].cell()
    alarms = [one for one in cell.findings if one.severity == "alarm"]
    assert not alarms and cell.verdict is not None and cell.verdict.code in ("supported", "exact"), alarms
