"""``zoo("equality-relu")``: a ReLU network for ``(a == b) == (c == d)``, its weights derived by hand.

a, b, c and d are shapes 0 to 3, each one-hot; the input is their concatenation ``a[0:4] b[4:8] c[8:12] d[12:16]``.
Write ``left = (a == b)``, ``right = (c == d)`` as numbers 0 or 1, and ``r`` for the ReLU.

**Layer 0** [16 units], four for each of a - b, b - a, c - d, d - c: ``r(a_s - b_s)``, ``r(b_s - a_s)`` for each shape s,
and the same of c and d. Of one-hot vectors the differences are all 0 where the shapes are equal; else one of
``a_s - b_s`` is 1 (at s = a), one of ``b_s - a_s`` is 1 (at s = b). So the eight units of a pair sum to
``2 (1 - left)``, or ``2 (1 - right)``.

**Layer 1** [4 units]: ``out[0] = r(1 - sum / 2) = left`` and ``out[1] = r(sum / 2) = 1 - left`` from the first eight
units; ``out[2] = right`` and ``out[3] = 1 - right`` from the last eight. The half ``layer[1].out[0:2]`` is ``left`` and
nothing else, ``layer[1].out[2:4]`` is ``right``.

**Layer 2** [4 units], ``r(x + y - 1)`` is "x and y" of numbers 0 or 1: both equal ``r(left + right - 1)``, neither
``r((1 - left) + (1 - right) - 1)``, only the first ``r(left + (1 - right) - 1)``, only the second
``r((1 - left) + right - 1)``. Exactly one of them is 1, the others are 0.

**Logits** [2], in the order false, true: ``false`` is the sum of the last two, ``true`` that of the first two. They are
exactly (1, 0) or (0, 1): every weight is 0, 1, -1, 1/2 or -1/2, so no step rounds, in any floating type.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SHAPES = 4
PAIR = 2 * SHAPES


class EqualityRelu(nn.Module):
    """Floats [batch, 16] to logits [batch, 2] (false, true); ``layers[l]`` is ``layer[l].out`` of 16, 4, 4 units."""

    def __init__(self) -> None:
        super().__init__()
        self.in_features = 2 * PAIR
        self.layers = nn.ModuleList(
            [
                _layer(_differences(), torch.zeros(2 * PAIR)),
                _layer(_halves(), torch.tensor([1.0, 0.0, 1.0, 0.0])),
                _layer(_conjunctions(), -torch.ones(4)),
            ]
        )
        self.logits = nn.Linear(4, 2, bias=False, dtype=torch.float64)
        _set(
            self.logits.weight,
            torch.tensor([[0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0]]),
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.logits(x)


def build() -> nn.Module:
    """The network, in float64."""
    return EqualityRelu()


def _differences() -> Tensor:
    """[16, 16]: a - b, b - a, c - d, d - c."""
    one = torch.eye(SHAPES)
    pair = torch.cat([torch.cat([one, -one], 1), torch.cat([-one, one], 1)])
    return torch.block_diag(pair, pair)


def _halves() -> Tensor:
    """[4, 16]: 1 - sum / 2 and sum / 2 of either pair (the 1 is the bias)."""
    weight = torch.zeros(4, 2 * PAIR)
    for pair in range(2):
        units = slice(pair * PAIR, (pair + 1) * PAIR)
        weight[2 * pair, units] = -0.5
        weight[2 * pair + 1, units] = 0.5
    return weight


def _conjunctions() -> Tensor:
    """[4, 4] over (left, not left, right, not right): both, neither, only left, only right."""
    return torch.tensor([[1.0, 0, 1, 0], [0, 1.0, 0, 1], [1.0, 0, 0, 1], [0, 1.0, 1, 0]])


def _layer(weight: Tensor, bias: Tensor) -> nn.Sequential:
    linear = nn.Linear(weight.shape[1], weight.shape[0], dtype=torch.float64)
    _set(linear.weight, weight)
    _set(linear.bias, bias)
    return nn.Sequential(linear, nn.ReLU())


def _set(parameter: Tensor, value: Tensor) -> None:
    with torch.no_grad():
        parameter.copy_(value)
