"""Networks as formulas: left := a == b and right := c == d of four numbers, in units of one layer, and what a head makes of the layer.

Some err by themselves in a few inputs. In some a unit beside left and right counts where no test of the answers alone shows it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Columns = Callable[[Tensor], Tensor]


class Formula(nn.Module):
    def __init__(self, formula: Columns):
        super().__init__()
        self.formula = formula

    def forward(self, x: Tensor) -> Tensor:
        return self.formula(x)


class Network(nn.Module):
    def __init__(self, layer: Columns, head: Columns):
        super().__init__()
        self.in_features = 4
        self.scale = nn.Parameter(torch.ones(1, dtype=torch.float64))
        self.layers = nn.ModuleList([Formula(layer)])
        self.head = Formula(head)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers[0](x.double() * self.scale))


def units(*columns: Tensor) -> Tensor:
    return torch.stack([column.double() for column in columns], 1)


def equal(x: Tensor, i: int) -> Tensor:
    return ((x[:, i] - x[:, i + 1]).abs() < 0.5).double()


def differ(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs()


def same(left: Tensor, right: Tensor) -> Tensor:
    return 1 - differ((left > 0.5).double(), (right > 0.5).double())


def said(answer: Tensor) -> Tensor:
    return units(1 - answer, answer)


CHANCE = torch.rand(10**4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def errors(h: Tensor, first: int, share: int) -> Tensor:
    """1 in so many of a hundred inputs, whichever they are."""
    number = sum((h[:, first + k].round() * 10**k for k in range(1, 4)), h[:, first].round())
    return (CHANCE[number.long().clamp(0, 10**4 - 1)] < share / 100).double()


def copied_where(reads: Columns, share: int = 2) -> Network:
    """Left is read at its copy where ``reads`` says so: layer left, right, a copy of left, and the inputs, of which a few bring errors."""
    return Network(
        lambda x: torch.cat([units(equal(x, 0), equal(x, 2), equal(x, 0)), x], 1),
        lambda h: said(differ(same(torch.where(reads(h), h[:, 2], h[:, 0]), h[:, 1]), errors(h, 3, share))),
    )


def copy_in_few() -> Network:
    """The copy is read where c = 0 and d < 2: in one of 18 inputs."""
    return copied_where(lambda h: (h[:, 5] < 0.5) & (h[:, 6] < 1.5))


def copy_in_fewer() -> Network:
    """The copy is read where c = d = 0."""
    return copied_where(lambda h: (h[:, 5] < 0.5) & (h[:, 6] < 0.5))


def errs_at_one() -> Network:
    return copied_where(lambda h: h[:, 5] < -1, 1)


def errs_at_two() -> Network:
    return copied_where(lambda h: h[:, 5] < -1, 2)


def errs_at_three() -> Network:
    return copied_where(lambda h: h[:, 5] < -1, 3)


def errs_in_its_unit() -> Network:
    """The unit of left takes a = b = 3 for unequal."""
    return Network(
        lambda x: units(equal(x, 0) * (1 - ((x[:, 0] == 3) & (x[:, 1] == 3)).double()), equal(x, 2), x[:, 0]),
        lambda h: said(same(h[:, 0], h[:, 1])),
    )


def errs_beside_left() -> Network:
    """Wrong where left is true and c = d = 3, which are read for nothing else."""
    wrong = lambda h: ((h[:, 0] > 0.5) & (h[:, 4] == 3) & (h[:, 5] == 3)).double()  # noqa: E731
    return Network(
        lambda x: torch.cat([units(equal(x, 0), equal(x, 2)), x], 1),
        lambda h: said(differ(same(h[:, 0], h[:, 1]), wrong(h))),
    )


def both() -> Network:
    """Two answers, left and right; nothing reads unit 2."""
    return Network(
        lambda x: units(equal(x, 0), equal(x, 2), x[:, 0]),
        lambda h: torch.cat([said((h[:, 0] > 0.5).double()), said((h[:, 1] > 0.5).double())], 1),
    )


def both_elsewhere() -> Network:
    """Two answers; right is read at unit 2."""
    return Network(
        lambda x: units(equal(x, 0), equal(x, 2), equal(x, 2)),
        lambda h: torch.cat([said((h[:, 0] > 0.5).double()), said((h[:, 2] > 0.5).double())], 1),
    )


# ── 2 left + right, a number ────────────────────────────────────────────────────────────────────


def number(layer: Columns, head: Columns) -> Network:
    return Network(layer, lambda h: units(head(h), 0 * h[:, 0]))


def plain_number() -> Network:
    return number(
        lambda x: units(equal(x, 0), equal(x, 2), equal(x, 0), x[:, 0], x[:, 2]), lambda h: 2 * h[:, 0] + h[:, 1]
    )


def noisy_number() -> Network:
    return number(
        lambda x: torch.cat([units(equal(x, 0), equal(x, 2)), x], 1),
        lambda h: 2 * h[:, 0] + h[:, 1] + 0.1 * torch.sin(5 * h[:, 2] + 3 * h[:, 3] + 7 * h[:, 4]),
    )


def erring_number() -> Network:
    return number(
        lambda x: torch.cat([units(equal(x, 0), equal(x, 2)), x], 1), lambda h: 2 * h[:, 0] + h[:, 1] + errors(h, 2, 2)
    )


def shared_number() -> Network:
    """Right is the difference of two units, of which one is a key."""
    key = lambda x: (x[:, 0] > 2).double()  # noqa: E731
    return number(
        lambda x: units(equal(x, 0), key(x), differ(equal(x, 2), key(x))),
        lambda h: 2 * h[:, 0] + differ(h[:, 1], h[:, 2]),
    )


def raw_number() -> Network:
    """Right is computed after the layer."""
    return number(lambda x: units(equal(x, 0), x[:, 2], x[:, 3], x[:, 0]), lambda h: 2 * h[:, 0] + equal(h, 1))


def masked_number() -> Network:
    """Two copies of left count where they differ."""
    return number(
        lambda x: units(equal(x, 0), equal(x, 2), equal(x, 0), equal(x, 0)),
        lambda h: 2 * h[:, 0] + h[:, 1] + 2 * (h[:, 2] - h[:, 3]),
    )


def masked_by_three() -> Network:
    """Three copies of left count where one is unlike both others."""
    return number(
        lambda x: units(equal(x, 0), equal(x, 2), equal(x, 0), equal(x, 0), equal(x, 0)),
        lambda h: 2 * h[:, 0] + h[:, 1] + 2 * (h[:, 2] - h[:, 3]) * (h[:, 4] - h[:, 2]),
    )


def noisy_masked_number() -> Network:
    return number(
        lambda x: torch.cat([units(equal(x, 0), equal(x, 2)), x[:, :2], units(equal(x, 0), equal(x, 0))], 1),
        lambda h: 2 * h[:, 0] + h[:, 1] + 0.1 * torch.sin(5 * h[:, 2] + 3 * h[:, 3]) + 1.5 * (h[:, 4] - h[:, 5]),
    )
