"""Small worlds that tests fit features in: a network of known geometry, and specs about it."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import nn

from causal_dsl import api
from causal_dsl.api import Options, Spec
from causal_dsl.score.spec_results import Results

FACTORY = '''
import math
import torch
from torch import nn


class Rotated(nn.Module):
    """Two digits, each below five or not, as two numbers that are turned by 20 degrees; then their AND."""

    def __init__(self, dtype):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(20, 2), nn.Linear(2, 2), nn.Linear(2, 2)]).to(dtype)
        turn = math.radians(20)
        with torch.no_grad():
            first = torch.zeros(2, 20)
            first[0, :5] = first[1, 10:15] = 2
            self.layers[0].weight.copy_(first)
            self.layers[0].bias.fill_(-1)
            turned = torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
            self.layers[1].weight.copy_(turned)
            self.layers[1].bias.zero_()
            both = torch.ones(2) @ turned.T
            self.layers[2].weight.copy_(torch.stack([-both, both]))
            self.layers[2].bias.copy_(torch.tensor([1.0, -1.0]))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def build():
    return Rotated(torch.float64)


def single():
    return Rotated(torch.float32)


def blown():
    """No answer is a sum in which terms cancel: what rounding leaves of them would be told of before the loss."""
    net = Rotated(torch.float32)
    with torch.no_grad():
        net.layers[0].bias[1] = -0.5
        net.layers[2].weight.mul_(1e38)
    return net


class Stepped(Rotated):
    """The same, but the answer asks of each number, turned back, whether it is above 0."""

    def forward(self, x):
        x = self.layers[1](self.layers[0](x))
        both = ((x @ self.layers[1].weight) > 0).all(dim=1).to(x.dtype)
        return torch.stack([1 - both, both], 1)


class Kept(nn.Linear):
    """Weights that stay as they are when they are to be drawn anew."""

    def reset_parameters(self):
        pass


def kept():
    net = Rotated(torch.float64)
    for layer in net.layers:
        layer.__class__ = Kept
    return net


def stepped():
    return Stepped(torch.float64)


def toy():
    """h = (x, 0, x), read out by (0, 2, 1)."""
    net = nn.Sequential(nn.Linear(1, 3, dtype=torch.float64), nn.Linear(3, 2, dtype=torch.float64))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0], [0.0], [1.0]]))
        net[0].bias.zero_()
        net[1].weight.copy_(torch.tensor([[0.0, -2.0, -1.0], [0.0, 2.0, 1.0]]))
        net[1].bias.zero_()
    return net
'''

CONJUNCTION = """
causal conj {
  a, b ~ 0..9
  p := a < 5
  q := b < 5
  output both := p and q
}
network net = torch("nets.py:build", dtype=float64)
align dims : conj -> net {
  a @ input[0:10]  via onehot()
  b @ input[10:20] via onehot()
  p @ layer[1].out[0:1]
  q @ layer[1].out[1:2]
  both @ logits
}
"""


def write(folder: Path, text: str) -> Spec:
    """A spec in a folder, beside the networks."""
    (folder / "nets.py").write_text(FACTORY)
    path = folder / "spec.causal"
    path.write_text(text)
    return api.load(path)


def run(folder: Path, text: str, **options: object) -> Results:
    return api.run(write(folder, text), Options(trust=True, **options))  # type: ignore[arg-type]


def turned(degrees: float = 20) -> torch.Tensor:
    """The true directions of the two truths, as columns."""
    turn = math.radians(degrees)
    return torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]], dtype=torch.float64)


__all__ = ["CONJUNCTION", "nn", "run", "turned", "write"]
