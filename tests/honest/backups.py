"""Networks as formulas: s := a == b in unit 0, and beside it what the answer needs (w), what steps in for s, or both.

`j` is an input that decides nothing, or little; where two units that hold it are unlike, s is taken to be true.
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
    """``layer`` from the inputs a, b, j, w to a vector, ``answer`` from that to the number of the class [n]."""

    def __init__(self, layer: Columns, answer: Columns, classes: int = 2, then: Columns | None = None):
        super().__init__()
        self.in_features = 4
        self.scale = nn.Parameter(torch.ones(1, dtype=torch.float64))
        self.layers = nn.ModuleList([Formula(layer), *([] if then is None else [Formula(then)])])
        self.head = Formula(lambda h: -((answer(h)[:, None] - torch.arange(classes)) ** 2))

    def forward(self, x: Tensor) -> Tensor:
        x = x.double() * self.scale
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


def units(*columns: Tensor) -> Tensor:
    return torch.stack([column.double() for column in columns], 1)


def s(x: Tensor) -> Tensor:
    return (x[:, 0] == x[:, 1]).double()


def differ(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs()


def stepped(h: Tensor, one: int = 1, other: int = 2) -> Tensor:
    """s of unit 0; true where two units are unlike."""
    return torch.maximum(h[:, 0], (h[:, one] != h[:, other]).double())


# ── what steps in shows in no natural run ───────────────────────────────────────────────────────


def by_j() -> Network:
    return Network(lambda x: units(s(x), x[:, 2], x[:, 2], x[:, 3]), lambda h: differ(stepped(h), h[:, 3]))


def by_j_twice() -> Network:
    """The same, handed on by another layer."""
    one = by_j()
    return Network(one.layers[0].formula, lambda h: differ(stepped(h), h[:, 3]), then=lambda h: 1.0 * h)


def by_parity() -> Network:
    """Copies of j mod 2; w + (j >= 2) is needed, modulo 3."""
    return Network(
        lambda x: units(s(x), x[:, 2] % 2, x[:, 2] % 2, x[:, 3], x[:, 2] >= 2),
        lambda h: (stepped(h) + h[:, 3] + h[:, 4]) % 3,
        3,
    )


def by_w() -> Network:
    """Copies of w, of which one is read."""
    return Network(lambda x: units(s(x), x[:, 3], x[:, 3], x[:, 3]), lambda h: stepped(h) * h[:, 3])


def by_copies_of_w() -> Network:
    """Two copies of w, which have to be alike, and a third that is read."""
    return Network(lambda x: units(s(x), x[:, 3], x[:, 3], x[:, 3]), lambda h: differ(stepped(h), h[:, 3]))


def by_copies_beside_pieces() -> Network:
    """The same, where w is read from two units together."""
    return Network(
        lambda x: units(s(x), x[:, 3], x[:, 3], differ(x[:, 3], x[:, 2] % 2), x[:, 2] % 2),
        lambda h: differ(stepped(h), differ(h[:, 3], h[:, 4])),
    )


def by_what_is_read() -> Network:
    """Two copies of w, which have to be alike, and one of them is read."""
    return Network(lambda x: units(s(x), x[:, 3], x[:, 3]), lambda h: differ(stepped(h), h[:, 1]))


def by_j_and_thrice_w() -> Network:
    return Network(
        lambda x: units(s(x), x[:, 2], x[:, 2], x[:, 3], x[:, 3], x[:, 3]),
        lambda h: differ(stepped(h), (h[:, 3:].sum(1) > 1.5).double()),
    )


def by_many_of_j() -> Network:
    """Twelve copies of j, which have to be alike."""
    return Network(
        lambda x: torch.cat([units(s(x)), x[:, 2:3].expand(-1, 12), x[:, 3:]], 1),
        lambda h: differ(torch.maximum(h[:, 0], (h[:, 1:13].amax(1) > h[:, 1:13].amin(1)).double()), h[:, 13]),
    )


def by_three_of_j() -> Network:
    """Three copies of j, of which each has to be unlike the others: one other input never has that."""
    unlike = lambda h: (h[:, 1] != h[:, 2]) & (h[:, 2] != h[:, 3]) & (h[:, 1] != h[:, 3])  # noqa: E731
    return Network(
        lambda x: torch.cat([units(s(x)), x[:, 2:3].expand(-1, 3), x[:, 3:]], 1),
        lambda h: differ(torch.maximum(h[:, 0], unlike(h).double()), h[:, 4]),
    )


def by_three_of_j_one_claimed() -> Network:
    """The same, and the third copy is beside w, in the number that is said to hold it."""
    third = lambda h: torch.div(h[:, 3], 2, rounding_mode="floor")  # noqa: E731
    unlike = lambda h: (h[:, 1] != h[:, 2]) & (h[:, 2] != third(h)) & (h[:, 1] != third(h))  # noqa: E731
    return Network(
        lambda x: torch.cat([units(s(x)), x[:, 2:3].expand(-1, 2), x[:, 3:] + 2 * x[:, 2:3]], 1),
        lambda h: differ(torch.maximum(h[:, 0], unlike(h).double()), torch.remainder(h[:, 3], 2)),
    )


class Around(Network):
    """A network that also reads its input past the layer, as the last columns."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.double() * self.scale
        return self.head(torch.cat([self.layers[0](x), x], 1))


def by_three_of_j_one_around() -> Network:
    """Two copies of j in the layer. The third goes past it, as w does."""
    unlike = lambda h: (h[:, 1] != h[:, 2]) & (h[:, 2] != h[:, 5]) & (h[:, 1] != h[:, 5])  # noqa: E731
    return Around(
        lambda x: torch.cat([units(s(x)), x[:, 2:3].expand(-1, 2)], 1),
        lambda h: differ(torch.maximum(h[:, 0], unlike(h).double()), h[:, 6]),
    )


def around_unread() -> Network:
    """The same two copies, which nothing reads."""
    return Around(lambda x: torch.cat([units(s(x)), x[:, 2:3].expand(-1, 2)], 1), lambda h: differ(h[:, 0], h[:, 6]))


def by_three_of_nine() -> Network:
    """The same of nine copies, three of which count."""
    unlike = lambda h: (h[:, 2] != h[:, 5]) & (h[:, 5] != h[:, 8]) & (h[:, 2] != h[:, 8])  # noqa: E731
    return Network(
        lambda x: torch.cat([units(s(x)), x[:, 2:3].expand(-1, 9), x[:, 3:]], 1),
        lambda h: differ(torch.maximum(h[:, 0], unlike(h).double()), h[:, 10]),
    )


# ── nothing steps in, and w is held in pieces ───────────────────────────────────────────────────


def by_vote() -> Network:
    """Three copies of w, of which the most count."""
    return Network(
        lambda x: units(s(x), x[:, 3], x[:, 3], x[:, 3]), lambda h: differ(h[:, 0], (h[:, 1:].sum(1) > 1.5).double())
    )


def by_larger_of_w() -> Network:
    """Two copies of w, of which the larger counts."""
    return Network(lambda x: units(s(x), x[:, 3], x[:, 3]), lambda h: differ(h[:, 0], h[:, 1:].amax(1)))


def plain() -> Network:
    return Network(lambda x: units(s(x), x[:, 3], x[:, 2], x[:, 2]), lambda h: differ(h[:, 0], h[:, 1]))


def less_a() -> Network:
    """w is half of u1 - u2; unit 3 is w as well, and unread."""
    return Network(
        lambda x: units(s(x), x[:, 0] + 2 * x[:, 3], x[:, 0], x[:, 3]),
        lambda h: differ(h[:, 0], (h[:, 1] - h[:, 2]) / 2),
    )


def masked_by_j() -> Network:
    """w is where u1 and u2 differ; unit 3 is w as well, and unread."""
    return Network(
        lambda x: units(s(x), differ(x[:, 3], x[:, 2] % 2), x[:, 2] % 2, x[:, 3]),
        lambda h: differ(h[:, 0], differ(h[:, 1], h[:, 2])),
    )


def two_codes() -> Network:
    """w is read from half of u1 - u2 and from unit 3, whichever is larger."""
    return Network(
        lambda x: units(s(x), x[:, 0] + 2 * x[:, 3], x[:, 0], x[:, 3]),
        lambda h: differ(h[:, 0], torch.maximum((h[:, 1] - h[:, 2]) / 2, h[:, 3]).clamp(0, 1)),
    )


def turned() -> Network:
    """Three inputs and their squares, turned."""
    turn = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64))[0]
    some = [0, 1, 3]
    return Network(
        lambda x: torch.cat([units(s(x)), torch.cat([x[:, some], x[:, some] ** 2], 1) @ turn], 1),
        lambda h: differ(h[:, 0], (h[:, 1:] @ turn.T)[:, 2]),
    )


def counted() -> Network:
    """a + 2 s, modulo 4, with s := a > 1."""
    return Network(lambda x: units(x[:, 0] > 1.5, x[:, 0]), lambda h: (2 * h[:, 0] + h[:, 1]) % 4, 4)


# ── a place holds j as well, and j's copies are compared ────────────────────────────────────────


def _j(number: Tensor) -> Tensor:
    return torch.div(number, 2, rounding_mode="floor")


def _unlike(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return ((a != b) & (b != c) & (a != c)).double()


def by_j_in_both_places() -> Network:
    """s and w stand beside j in units 0 and 1, and unit 2 is j: it counts where the three are unlike."""
    return Network(
        lambda x: units(s(x) + 2 * x[:, 2], x[:, 3] + 2 * x[:, 2], x[:, 2]),
        lambda h: differ(torch.maximum(h[:, 0] % 2, _unlike(_j(h[:, 0]), _j(h[:, 1]), h[:, 2])), h[:, 1] % 2),
    )


def by_j_in_its_place() -> Network:
    """s stands beside j in unit 0, and units 2 and 3 are j."""
    return Network(
        lambda x: units(s(x) + 2 * x[:, 2], x[:, 3], x[:, 2], x[:, 2]),
        lambda h: differ(torch.maximum(h[:, 0] % 2, _unlike(_j(h[:, 0]), h[:, 2], h[:, 3])), h[:, 1]),
    )


def by_j_in_its_place_and_around() -> Network:
    """s stands beside j in unit 0, unit 1 is j, and the third copy goes past the layer."""
    return Around(
        lambda x: units(s(x) + 2 * x[:, 2], x[:, 2]),
        lambda h: differ(torch.maximum(h[:, 0] % 2, _unlike(_j(h[:, 0]), h[:, 1], h[:, 4])), h[:, 5]),
    )


def j_in_both_places() -> Network:
    """The same layer as :func:`by_j_in_both_places`, in which nothing reads j."""
    return Network(by_j_in_both_places().layers[0].formula, lambda h: differ(h[:, 0] % 2, h[:, 1] % 2))


def j_in_its_place() -> Network:
    """j stands beside s, and of three copies of w the most count: to mix these moves the answer, whatever stands in unit 0."""
    return Network(
        lambda x: units(s(x) + 2 * x[:, 2], x[:, 3], x[:, 3], x[:, 3], x[:, 2]),
        lambda h: differ(h[:, 0] % 2, (h[:, 1:4].sum(1) > 1.5).double()),
    )


# ── errors ──────────────────────────────────────────────────────────────────────────────────────


def _wrong(x: Tensor) -> Tensor:
    """One in twelve, whatever else."""
    return (x @ x.new_tensor([1, 5, 7, 11]) % 12 == 3).double()


def by_j_and_wrong() -> Network:
    """Wrong in some inputs, and elsewhere where two copies of j are two apart: more often than it is wrong, and not twice as often."""
    return Network(
        lambda x: units(s(x), x[:, 2], x[:, 2], x[:, 3], _wrong(x)),
        lambda h: differ(differ(torch.maximum(h[:, 0], (h[:, 1] - h[:, 2] >= 2).double()), h[:, 3]), h[:, 4]),
    )


def wrong() -> Network:
    return Network(by_j_and_wrong().layers[0].formula, lambda h: differ(differ(h[:, 0], h[:, 3]), h[:, 4]))


def wrong_where_copies_meet() -> Network:
    """Wrong in one of the 3 x 3 x 4 values of a, b and j, whose copies stand beside s and w."""
    return Network(
        lambda x: units(s(x), x[:, 3], x[:, 0], x[:, 1], x[:, 2]),
        lambda h: differ(differ(h[:, 0], h[:, 1]), ((h[:, 2] == 1) & (h[:, 3] == 2) & (h[:, 4] == 1)).double()),
    )


def close(stepping: bool = False) -> Network:
    """s is weak where a is 1 and j is 3, and a little of everything decides there: rightly in 5 of 6 inputs. ``stepping``: two copies of j that
    are three apart decide as well, and clearly."""

    def layer(x: Tensor) -> Tensor:
        weak = ((x[:, 0] == 1) & (x[:, 2] == 3)).double()
        sign = (2 * s(x) - 1) * (2 * x[:, 3] - 1)
        little = torch.where(weak > 0, sign, 1 - 2 * ((x[:, 0] + x[:, 1] + x[:, 2]) % 2))
        little = torch.where((weak > 0) & (x[:, 1] == 2) & (x[:, 3] == 1), -little, little)
        return units((2 * s(x) - 1) * (1 - 0.95 * weak), little / 10, x[:, 2], x[:, 3], x[:, 2])

    def answer(h: Tensor) -> Tensor:
        sign = h[:, 0] * (2 * h[:, 3] - 1) + h[:, 1]
        return 0.5 - torch.where(stepping & ((h[:, 2] - h[:, 4]) >= 3), -sign, sign) / 2

    return Network(layer, answer)


def close_and_stepping() -> Network:
    return close(True)


# ── a code of the inputs beside the variable ────────────────────────────────────────────────────


def beside_an_unread_code() -> Network:
    """s is read from unit 0, in which a code of a and b is too small to count; unit 1 is a code of them, and nothing reads it."""
    code = torch.tensor([0.3, 0.9, 0.1, 0.7, 0.2, 0.8, 0.5, 0.0, 0.6], dtype=torch.float64)
    number = lambda x: (x[:, 0] * 3 + x[:, 1]).long()  # noqa: E731
    return Network(
        lambda x: units(4 * s(x) + code[number(x)], code.flip(0)[number(x)] * 3, x[:, 3]),
        lambda h: differ((h[:, 0] > 2.5).double(), h[:, 2]),
    )


# ── in real weights, for features ───────────────────────────────────────────────────────────────


class Weights(nn.Module):
    """y is whether s is unlike w, of inputs that are numbers: s is a of 0..3 above 1. Two copies of whether j is above 1 are compared
    (``compared``), and four more numbers are mixtures of all inputs that nothing reads."""

    def __init__(self, compared: bool):
        super().__init__()
        self.in_features = 12
        layer, middle, out = nn.Linear(12, 8, bias=False), nn.Linear(8, 4), nn.Linear(4, 2)
        high = torch.tensor([0.0, 0.0, 1.0, 1.0])
        with torch.no_grad():
            layer.weight.zero_()
            for unit, start in enumerate((0, 4, 4, 8)):
                layer.weight[unit, start : start + 4] = high
            layer.weight[4:] = 0.6 * torch.randn(4, 12, generator=torch.Generator().manual_seed(2))
            for linear in (middle, out):
                linear.weight.zero_()
                linear.bias.zero_()
            for unit, (one, other) in enumerate(((0, 3), (3, 0), (1, 2), (2, 1))):
                middle.weight[unit, one], middle.weight[unit, other] = 1.0, -1.0
            out.weight[1] = torch.tensor([1.0, 1.0, 2.0 * compared, 2.0 * compared])
            out.bias[0] = 0.5
        self.layers, self.middle, self.out = nn.ModuleList([layer]), middle, out

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.out(torch.relu(self.middle(x)))


def compared_in_weights() -> Weights:
    return Weights(True)


def plain_in_weights() -> Weights:
    return Weights(False)


# ── copies in directions that are no coordinates ────────────────────────────────────────────────


def turn() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))[0]


def in_directions(compared: bool = False) -> Network:
    """s, w three times, j and a along six directions; ``compared``: where two of the copies of w are unlike, s does not count."""
    by = turn()

    def answer(h: Tensor) -> Tensor:
        own = h @ by
        off = compared & (own[:, 2].round() != own[:, 3].round())
        return differ(torch.where(off, 0 * own[:, 0], own[:, 0]), own[:, 1])

    return Network(lambda x: units(s(x), x[:, 3], x[:, 3], x[:, 3], x[:, 2] / 3, x[:, 0] / 2) @ by.T, answer)


def in_directions_compared() -> Network:
    return in_directions(True)


# ── traces ──────────────────────────────────────────────────────────────────────────────────────


def _code(x: Tensor) -> Tensor:
    return 3 * x[:, 0] + x[:, 1]


def by_a_trace() -> Network:
    """Unit 0 is s and a hundredth of a code of a and b, from which the answer is computed."""

    def answer(h: Tensor) -> Tensor:
        code = (100 * (h[:, 0] - (h[:, 0] > 0.5).double())).round()
        return differ((torch.div(code, 3, rounding_mode="floor") == code % 3).double(), h[:, 1])

    return Network(lambda x: units(s(x) + _code(x) / 100, x[:, 3], x[:, 2]), answer)


def beside_a_trace() -> Network:
    return Network(by_a_trace().layers[0].formula, lambda h: differ((h[:, 0] > 0.5).double(), h[:, 1]))
