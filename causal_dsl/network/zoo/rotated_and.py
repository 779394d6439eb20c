"""``zoo("rotated-and")``: a conjunction whose two truth values share two units, rotated by 20 degrees.

After Geiger, Wu, Potts, Icard and Goodman 2024: what single units hold is not a variable of the causal model, though a
rotation of the two together is exactly that. a and b are digits, each one-hot, the input is ``a[0:10] b[10:20]``. Write
``p = (a < 5)``, ``q = (b < 5)`` as numbers 0 or 1, c and s for the cosine and sine of 20 degrees, ``r`` for the ReLU.

**Layer 0** [2 units, no ReLU]: ``h0 = c p - s q``, ``h1 = s p + c q``.

**Layer 1** [1 unit]: ``r((c - s) h0 + (c + s) h1 - 1)``, which is ``r(p + q - 1)``: p and q.

**Logits** [2], in the order false, true: ``(1/8, r(p + q - 1))``.

Where p is swapped as what it is, the coordinate along (c, s), any pair of values becomes another of the four that there
are, and the answer follows exactly. Swapping h0 alone mixes both values of both inputs: with p from s and q from b the
sum is ``.562 p_s - .204 q_s + .438 p_b + 1.204 q_b``, which is above 9/8 also for some pairs with ``p_s = 0``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

DIGITS, ANGLE = 10, math.radians(20)


class RotatedAnd(nn.Module):
    """Floats [batch, 20] to logits [batch, 2] (false, true); ``layers[0]`` has the two units, ``layers[1]`` one."""

    def __init__(self) -> None:
        super().__init__()
        self.in_features = 2 * DIGITS
        cosine, sine = math.cos(ANGLE), math.sin(ANGLE)
        below = (torch.arange(DIGITS) < DIGITS // 2).double()
        turned = torch.cat(
            [
                torch.outer(torch.tensor([cosine, sine]).double(), below),
                torch.outer(torch.tensor([-sine, cosine]).double(), below),
            ],
            1,
        )
        back = torch.tensor([[cosine - sine, cosine + sine]])
        self.layers = nn.ModuleList(
            [_linear(turned, torch.zeros(2)), nn.Sequential(_linear(back, torch.tensor([-1.0])), nn.ReLU())]
        )
        self.logits = _linear(torch.tensor([[0.0], [1.0]]), torch.tensor([1 / 8, 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.logits(x)


def build() -> nn.Module:
    """The network, in float64."""
    return RotatedAnd()


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    made = nn.Linear(weight.shape[1], weight.shape[0], dtype=torch.float64)
    with torch.no_grad():
        made.weight.copy_(weight)
        made.bias.copy_(bias)
    return made
