"""Networks that are written down, each with one thing wrong with it: `answer` is whether two of four units agree.

Every one takes four numbers 0 or 1; layer 0 holds what is said, the logits are those of false and true.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Stage(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Written(nn.Module):
    def __init__(self, first: Callable[[Tensor], Tensor], last: Callable[[Tensor], Tensor]):
        super().__init__()
        self.in_features = 4
        self.none = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.layers = nn.ModuleList([Stage(first)])
        self.head = Stage(last)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers[0](x.double() + 0 * self.none))


def columns(*parts: Tensor) -> Tensor:
    return torch.stack([part.double() for part in parts], dim=1)


def first(x: Tensor) -> Tensor:
    """Whether x0 = x1, whether x2 = x3, a constant 5, and a copy of the first."""
    one, two = x[:, 0] == x[:, 1], x[:, 2] == x[:, 3]
    return columns(one, two, 5 + 0 * x[:, 0], one)


def same(h: Tensor) -> Tensor:
    return (h[:, 0] - h[:, 1]).abs() < 0.5


def right() -> nn.Module:
    return Written(first, lambda h: columns(~same(h), same(h)))


def undecided() -> nn.Module:
    """Says true where it is true, and both where it is false."""
    return Written(first, lambda h: columns(torch.ones(len(h)), same(h)))


def third_class_where_changed() -> nn.Module:
    """Another class than the two is the largest where the first unit was changed; of the two the right one is."""

    def last(h: Tensor) -> Tensor:
        return torch.cat([columns(~same(h), same(h)), columns(9 * (h[:, 0] != h[:, 3]))], 1)

    return Written(first, last)


def one_answer() -> nn.Module:
    return Written(first, lambda h: columns(0 * h[:, 0], 1 + 0 * h[:, 0]))


def infinite() -> nn.Module:
    """No number where the first unit was changed."""
    return Written(first, lambda h: columns(~same(h), torch.where(h[:, 0] == h[:, 3], same(h).double(), torch.inf)))


def third_class() -> nn.Module:
    return Written(first, lambda h: columns(~same(h), same(h), 9 + 0 * h[:, 0]))


def leans() -> nn.Module:
    """Needs the constant; takes no notice of it as long as it is there."""
    return Written(first, lambda h: columns(~same(h) | (h[:, 2] < 1), same(h) & (h[:, 2] >= 1)))


def drifts() -> nn.Module:
    """The logits move with the constant, and never the answer; up for half of the inputs, down for the others."""

    def last(h: Tensor) -> Tensor:
        shift = (h[:, 2] - 5) * (2 * h[:, 0] - 1)
        return columns(10.0 * ~same(h), 10.0 * same(h) + 0.1 * shift)

    return Written(first, last)


def steps_in() -> nn.Module:
    """The fourth unit does nothing as long as the first is 0 or 1 as it says; where that is set to 0 it steps in."""

    def last(h: Tensor) -> Tensor:
        one = torch.maximum(h[:, 0], torch.where(h[:, 0] == 0, h[:, 3], 0 * h[:, 3]))
        said = (one - h[:, 1]).abs() < 0.5
        return columns(~said, said)

    return Written(first, last)


def unheeding() -> nn.Module:
    """Half of the inputs are answered wrongly."""
    return Written(first, lambda h: columns(1 - h[:, 0], h[:, 0]))
