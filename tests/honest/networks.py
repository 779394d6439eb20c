"""Networks as formulas, for hypotheses of which it is known whether they are true: `layer[0].out` is the vector that each says.

Inputs x, y, z of 0..3 and e of 0..1. Claimed: p := x > y, q := z > 1, and the answer p != q. What is asked is where they are,
and what else counts.
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
    """``layer`` from the inputs [n, 4] to a vector, ``answer`` from that to the probability of true [n]."""

    def __init__(self, layer: Columns, answer: Columns, inputs: int = 4, then: Columns | None = None):
        super().__init__()
        self.in_features = inputs
        self.scale = nn.Parameter(torch.ones(1, dtype=torch.float64))
        self.layers = nn.ModuleList([Formula(layer), *([] if then is None else [Formula(then)])])
        self.head = Formula(lambda h: torch.stack([1 - answer(h), answer(h)], 1))

    def forward(self, x: Tensor) -> Tensor:
        x = x.double() * self.scale
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


def p(x: Tensor) -> Tensor:
    return (x[:, 0] > x[:, 1]).double()


def q(x: Tensor) -> Tensor:
    return (x[:, 2] > 1.5).double()


def differ(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs()


def units(*columns: Tensor) -> Tensor:
    return torch.stack(columns, 1)


# ── where they are said to be, and nothing else counts ──────────────────────────────────────────


def plain() -> Network:
    return Network(lambda x: units(p(x), q(x), x[:, 3], 0 * x[:, 3]), lambda h: differ(h[:, 0], h[:, 1]))


def negated() -> Network:
    return Network(lambda x: units(1 - p(x), 3 * q(x), x[:, 3]), lambda h: differ(1 - h[:, 0], h[:, 1] / 3))


def total(x: Tensor) -> Tensor:
    """A variable of four values, of which the answer needs only whether it is 2 or more."""
    return (x[:, 0] + x[:, 1]) % 4


def high_bit_read() -> Network:
    """Two bits of the total, a sum of the low one with an input, an input and a constant: only the high one is read."""
    low = lambda x: total(x) % 2  # noqa: E731
    return Network(
        lambda x: units((total(x) >= 2).double(), low(x), low(x) + 0.1 * x[:, 3], x[:, 2], 0 * x[:, 3], q(x)),
        lambda h: differ(h[:, 0], h[:, 5]),
    )


def one_unit_a_value() -> Network:
    return Network(
        lambda x: units(*[(total(x) == value).double() for value in range(4)], q(x)),
        lambda h: differ(h[:, 2] + h[:, 3], h[:, 4]),
    )


def units_of_a_ladder() -> Network:
    return Network(
        lambda x: units(*[(total(x) >= value).double() for value in (1, 2, 3)], q(x)),
        lambda h: differ(h[:, 1], h[:, 3]),
    )


def inputs_beside_unread() -> Network:
    """The inputs of p are compared after the layer; p itself is there, and nothing reads it."""
    return Network(
        lambda x: units(x[:, 0], x[:, 1], p(x), q(x)), lambda h: differ((h[:, 0] > h[:, 1]).double(), h[:, 3])
    )


def on_two_units() -> Network:
    """p is u0 - u1, beside z, which cancels."""
    return Network(
        lambda x: units(p(x) + x[:, 2], x[:, 2], q(x)), lambda h: differ((h[:, 0] - h[:, 1] > 0.5).double(), h[:, 2])
    )


def twice() -> Network:
    """p in two units, of which the larger is read."""
    return Network(lambda x: units(p(x), p(x), q(x)), lambda h: differ(torch.maximum(h[:, 0], h[:, 1]), h[:, 2]))


def rest_twice() -> Network:
    return Network(lambda x: units(p(x), q(x), q(x)), lambda h: differ(h[:, 0], torch.maximum(h[:, 1], h[:, 2])))


def raw_beside() -> Network:
    """q is not computed at this layer: its input is carried on."""
    return Network(
        lambda x: units(p(x), x[:, 0], x[:, 2], x[:, 3]), lambda h: differ(h[:, 0], (h[:, 2] > 1.5).double())
    )


def sometimes_wrong() -> Network:
    """Wrong on 1 input in 32, by a unit that no variable has."""
    wrong = lambda x: ((x[:, 0] == 1) & (x[:, 1] == 3) & (x[:, 2] > 1.5)).double()  # noqa: E731
    return Network(lambda x: units(p(x), q(x), wrong(x)), lambda h: differ(differ(h[:, 0], h[:, 1]), h[:, 2]))


def read_in_pieces() -> Network:
    """The layer holds x and y themselves, scaled; p is computed after it."""
    return Network(
        lambda x: units(2 * x[:, 0] + 1, -x[:, 1], q(x)),
        lambda h: differ(((h[:, 0] - 1) / 2 > -h[:, 1]).double(), h[:, 2]),
    )


# ── what else counts shows in no natural run ────────────────────────────────────────────────────


def hidden_by_idle() -> Network:
    """Two copies of e, whose difference turns the answer."""
    return Network(
        lambda x: units(p(x), q(x), x[:, 3], x[:, 3]),
        lambda h: differ(differ(h[:, 0], h[:, 1]), differ(h[:, 2], h[:, 3])),
    )


def hidden_by_copies() -> Network:
    """Two more copies of p, whose difference turns the answer."""
    return Network(
        lambda x: units(p(x), p(x), p(x), q(x)), lambda h: differ(differ(h[:, 0], h[:, 3]), differ(h[:, 1], h[:, 2]))
    )


def tabled() -> Network:
    """A random vector for each input, in which p is looked up."""
    table = torch.rand(128, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    number = lambda x: (x @ torch.tensor([1.0, 4, 16, 64], dtype=torch.float64)).round().long().clamp(0, 127)  # noqa: E731
    return Network(
        lambda x: torch.cat([table[number(x)], units(q(x))], 1),
        lambda h: differ(_first_is_more(torch.cdist(h[:, :3], table).argmin(1)), h[:, 3]),
    )


def _first_is_more(number: Tensor) -> Tensor:
    return (number % 4 > number // 4 % 4).double()


def hidden_among_many() -> Network:
    """Twelve copies of e, which turn the answer where they are not alike."""
    return Network(
        lambda x: torch.cat([units(p(x), q(x)), x[:, 3:].expand(-1, 12)], 1),
        lambda h: differ(differ(h[:, 0], h[:, 1]), (h[:, 2:].amax(1) > h[:, 2:].amin(1)).double()),
    )


def constant_needed() -> Network:
    """Unit 2 is always 5; below 2 the answer breaks."""
    return Network(
        lambda x: units(p(x), q(x), 5 + 0 * x[:, 3]), lambda h: torch.where(h[:, 2] > 2, differ(h[:, 0], h[:, 1]), 0.0)
    )


def stepped_in() -> Network:
    """p as 1 or 2; where it is neither, another unit is read."""
    return Network(
        lambda x: units(1 + p(x), q(x), 1 + p(x)),
        lambda h: differ(torch.where(h[:, 0] > 0.5, h[:, 0], h[:, 2]) - 1, h[:, 1]),
    )


def at_odd_values() -> Network:
    """q in unit 0 as 0 or 1; where it is neither, another unit is read."""
    return Network(
        lambda x: units(q(x), p(x), q(x)),
        lambda h: differ(torch.where((h[:, 0] == 0) | (h[:, 0] == 1), h[:, 0], h[:, 2]), h[:, 1]),
    )


def capped() -> Network:
    """p in unit 0 as 0, 3 or 5, of which no more than 2 is read."""
    return Network(lambda x: units(p(x) * (3 + 2 * x[:, 3]), q(x)), lambda h: differ(h[:, 0].clamp(max=2) / 2, h[:, 1]))


def small_number() -> Network:
    """One input v of 0..8 and r of 0..2: the unit holds v, and v div 3 is computed after it."""
    return Network(
        lambda x: units(x[:, 0], x[:, 1]),
        lambda h: differ((torch.div(h[:, 0], 3, rounding_mode="floor") > h[:, 1]).double(), 0 * h[:, 1]),
        2,
    )


def packed() -> Network:
    """One unit holds x and y as the digits of a number; p is computed after it."""
    return Network(
        lambda x: units(4 * x[:, 0] + x[:, 1], q(x)),
        lambda h: differ(
            (torch.div(h[:, 0], 4, rounding_mode="floor") > torch.remainder(h[:, 0], 4)).double(), h[:, 1]
        ),
    )


def turned() -> Network:
    """Two units hold the sum and the difference of x and y; p is computed after them."""
    return Network(
        lambda x: units(x[:, 0] + x[:, 1], 3 - x[:, 0] + x[:, 1], q(x)),
        lambda h: differ((h[:, 1] < 3).double(), h[:, 2]) + 0 * h[:, 0],
    )


def two_agree() -> Network:
    """Copies of e: the answer turns where two of them agree and the other two agree, and these differ from those."""
    alike = lambda a, b: 1 - differ(a, b)  # noqa: E731
    return Network(
        lambda x: torch.cat([units(p(x), q(x)), x[:, 3:].expand(-1, 4)], 1),
        lambda h: differ(
            differ(h[:, 0], h[:, 1]),
            alike(h[:, 2], h[:, 3]) * alike(h[:, 4], h[:, 5]) * differ(h[:, 2], h[:, 4]),
        ),
    )


def two_of_eight() -> Network:
    """Eight copies of e: the answer turns where the third and the seventh are unlike all others."""

    def turns(h: Tensor) -> Tensor:
        rest = h[:, [2, 3, 5, 6, 7, 9]]
        same = (rest.amax(1) == rest.amin(1)).double()
        return same * (1 - differ(h[:, 4], h[:, 8])) * differ(h[:, 4], h[:, 2])

    return Network(
        lambda x: torch.cat([units(p(x), q(x)), x[:, 3:].expand(-1, 8)], 1),
        lambda h: differ(differ(h[:, 0], h[:, 1]), turns(h)),
    )


def linear_sum() -> Network:
    """x + y is a linear map and stands in unit 0, x beside it."""
    return Network(lambda x: units(x[:, 0] + x[:, 1], x[:, 0], q(x)), lambda h: differ((h[:, 0] > 3).double(), h[:, 2]))


# ── rare, and together only ─────────────────────────────────────────────────────────────────────


def rarely_hidden() -> Network:
    """Two copies of x: where they differ, z is 3 and p is false, the answer turns."""
    return Network(
        lambda x: units(p(x), q(x), x[:, 0], x[:, 0], x[:, 2]),
        lambda h: differ(
            differ(h[:, 0], h[:, 1]), (h[:, 2] != h[:, 3]).double() * (h[:, 4] > 2.5).double() * (1 - h[:, 0])
        ),
    )


def hidden_at_one_value() -> Network:
    """Two copies of e: where they differ and p is true, the answer turns."""
    return Network(
        lambda x: units(p(x), q(x), x[:, 3], x[:, 3]),
        lambda h: differ(differ(h[:, 0], h[:, 1]), differ(h[:, 2], h[:, 3]) * h[:, 0]),
    )


def lumped() -> Network:
    """One unit holds both p and q, and the other nothing."""
    return Network(
        lambda x: units(p(x) + 2 * q(x), 0 * x[:, 0], x[:, 3]),
        lambda h: differ(
            differ(torch.remainder(h[:, 0], 2), torch.div(h[:, 0], 2, rounding_mode="floor")), (h[:, 2] > 0.5).double()
        ),
    )


def three() -> Network:
    """p, q and e, each in a unit."""
    return Network(
        lambda x: units(p(x), q(x), x[:, 3]),
        lambda h: differ(differ(h[:, 0], h[:, 1]), h[:, 2]),
    )


_ORDER = torch.tensor([5, 12, 1, 8, 15, 0, 10, 3, 6, 13, 2, 11, 4, 9, 14, 7])


def numbered() -> Network:
    """One unit holds the number of (x, y) in a list; p is looked up after it."""

    def answer(h: Tensor) -> Tensor:
        at = torch.argsort(_ORDER)[h[:, 0].round().long().clamp(0, 15)]
        return differ((at // 4 > at % 4).double(), h[:, 1])

    return Network(lambda x: units(_ORDER[(4 * x[:, 0] + x[:, 1]).long().clamp(0, 15)].double(), q(x)), answer)


def pairs_one_hot() -> Network:
    """A unit for each of the 16 settings of x and y."""

    def answer(h: Tensor) -> Tensor:
        at = h[:, :16].argmax(1)
        return differ((at // 4 > at % 4).double(), h[:, 16])

    def layer(x: Tensor) -> Tensor:
        at = (4 * x[:, 0] + x[:, 1]).long().clamp(0, 15)
        return torch.cat([nn.functional.one_hot(at, 16).double(), units(q(x))], 1)

    return Network(layer, answer)


def angle() -> Network:
    """p as the sine and the cosine of a fifth of a turn."""
    return Network(
        lambda x: units(torch.cos(p(x) * 1.2566), torch.sin(p(x) * 1.2566), q(x)),
        lambda h: differ((h[:, 1] > 0.4).double(), h[:, 2]),
    )


# ── where a place is written otherwise, or holds many values ────────────────────────────────────


def plain_twice() -> Network:
    return Network(
        lambda x: units(p(x), q(x), x[:, 3]),
        lambda h: differ(h[:, 0] / 2, h[:, 1]),
        then=lambda h: units(2 * h[:, 0], h[:, 1], h[:, 2]),
    )


def hidden_later() -> Network:
    """As ``hidden_by_idle``, with another layer that hands all on."""
    one = hidden_by_idle()
    return Network(one.layers[0].formula, lambda h: one.head(h)[:, 1], then=lambda h: 1.0 * h)


def any_of_many(count: int = 45) -> Network:
    """Copies of e: the answer turns where just one of them is another than the first, or all others are."""

    def turns(h: Tensor) -> Tensor:
        off = (h[:, 2:] != h[:, 2:3]).sum(1)
        return ((off == 1) | (off == count - 1)).double()

    return Network(
        lambda x: torch.cat([units(p(x), q(x)), x[:, 3:].expand(-1, count)], 1),
        lambda h: differ(differ(h[:, 0], h[:, 1]), turns(h)),
    )


def many_values() -> Network:
    """x and y of many values: two copies of y, whose difference turns the answer; z is carried on."""
    return Network(
        lambda x: units(p(x), x[:, 1], x[:, 2], x[:, 1]),
        lambda h: differ(differ(h[:, 0], (h[:, 2] > 0.5).double()), (h[:, 1] != h[:, 3]).double()),
        3,
    )


def many_values_plain() -> Network:
    return Network(lambda x: units(p(x), x[:, 1], x[:, 2]), lambda h: differ(h[:, 0], (h[:, 2] > 0.5).double()), 3)


def uneven() -> Network:
    """Numbers whose sums are rounded."""
    return Network(
        lambda x: units(p(x), q(x), 0.1 * x[:, 0] + 0.7, torch.sin(x[:, 1] + 0.3)),
        lambda h: differ(h[:, 0].round(), h[:, 1].round()),
    )


def split_in_two() -> Network:
    """Unit 2 is e, which nothing needs; but between its two values the answer breaks."""
    return Network(
        lambda x: units(p(x), q(x), x[:, 3]),
        lambda h: torch.where((h[:, 2] > 0.2) & (h[:, 2] < 0.8), 0.0, differ(h[:, 0], h[:, 1])),
    )


def halved() -> Network:
    """p in unit 0 as 0 or 4, which may be halved."""
    return Network(lambda x: units(4 * p(x), q(x)), lambda h: differ((h[:, 0] > 1).double(), h[:, 1]))


def constant_is_true() -> Network:
    """As ``constant_needed``, and where the constant is missing the answer is true."""
    return Network(
        lambda x: units(p(x), q(x), 5 + 0 * x[:, 3]), lambda h: torch.where(h[:, 2] > 2, differ(h[:, 0], h[:, 1]), 1.0)
    )


def bent_in_pieces() -> Network:
    """The layer holds x squared and the exponential of y; p is computed after it."""
    return Network(
        lambda x: units(x[:, 0] ** 2, torch.exp(x[:, 1]), q(x)),
        lambda h: differ((h[:, 0].clamp(min=0).sqrt() > h[:, 1].clamp(min=1e-9).log() + 0.5).double(), h[:, 2]),
    )


class Turned(nn.Module):
    """The inputs, one-hot in 16 numbers, turned into 24; x == y is computed after it."""

    def __init__(self) -> None:
        super().__init__()
        self.in_features = 16
        self.layers = nn.ModuleList([nn.Linear(16, 24, bias=False)])
        turn = torch.linalg.qr(torch.randn(24, 24, generator=torch.Generator().manual_seed(4)))[0]
        self.layers[0].weight.data = turn[:, :16].clone()

    def forward(self, x: Tensor) -> Tensor:
        h = self.layers[0](x) @ self.layers[0].weight
        same = lambda i, j: (h[:, 4 * i : 4 * i + 4] * h[:, 4 * j : 4 * j + 4]).sum(1)  # noqa: E731
        answer = differ(same(0, 1), same(2, 3))
        return torch.stack([1 - answer, answer], 1)


def sum_above() -> Network:
    """Of (x + y) mod 4, whether it is above 1."""
    return Network(
        lambda x: units((torch.remainder(x[:, 0] + x[:, 1], 4) > 1.5).double(), q(x)),
        lambda h: differ(h[:, 0], h[:, 1]),
    )


def jittered() -> Network:
    """Unit 0 is p, give or take .15 of a code of x and y; it is read by a threshold at .5."""
    return Network(
        lambda x: units(p(x) + 0.15 * torch.tanh(x[:, 0] - 1.3 * x[:, 1] + 0.4), q(x)),
        lambda h: differ((h[:, 0] > 0.5).double(), h[:, 1]),
    )


def smeared() -> Network:
    """Unit 0 is p plus three times the number of x and y: the two values of p lie among each other, and are told apart later."""

    def answer(h: Tensor) -> Tensor:
        number = torch.arange(16, dtype=torch.float64)
        above = (torch.div(number, 4, rounding_mode="floor") > number % 4).double()
        nearest = (h[:, :1] - (above + 3 * number)[None]).abs().argmin(1)
        return differ(above[nearest], h[:, 1])

    return Network(lambda x: units(p(x) + 3 * (4 * x[:, 0] + x[:, 1]), q(x)), answer)


def three_of_p() -> Network:
    """p and e, and p != e is the opposite of the answer."""
    return Network(lambda x: units(p(x), x[:, 3]), lambda h: 1 - differ(h[:, 0], h[:, 1]))


# ── several places, and sets of units ───────────────────────────────────────────────────────────


def plain_then_idle() -> Network:
    """As ``plain``, with a layer that hands all on, and e in unit 2 of both."""
    one = plain()
    return Network(one.layers[0].formula, lambda h: one.head(h)[:, 1], then=lambda h: 1.0 * h)


def idle_between() -> Network:
    """p, e, which nobody reads, and q."""
    return Network(lambda x: units(p(x), x[:, 3], q(x)), lambda h: differ(h[:, 0], h[:, 2]))


def unread_copy() -> Network:
    return Network(lambda x: units(p(x), p(x), q(x)), lambda h: differ(h[:, 0], h[:, 2]))


def most_of_three() -> Network:
    return Network(
        lambda x: torch.cat([p(x)[:, None].expand(-1, 3), units(q(x))], 1),
        lambda h: differ((h[:, :3].sum(1) > 1.5).double(), h[:, 3]),
    )


def most_of_five() -> Network:
    return Network(
        lambda x: torch.cat([p(x)[:, None].expand(-1, 5), units(q(x))], 1),
        lambda h: differ((h[:, :5].sum(1) > 2.5).double(), h[:, 5]),
    )


def hidden_between() -> Network:
    """Two copies of e, whose difference turns p between the layers; the second layer has none of them."""
    return Network(
        lambda x: units(p(x), q(x), x[:, 3], x[:, 3]),
        lambda h: differ(h[:, 0], h[:, 1]),
        then=lambda h: units(differ(h[:, 0], differ(h[:, 2], h[:, 3])), h[:, 1]),
    )


def _just(different: int, count: int) -> Network:
    """Copies of e: the answer turns where just so many are unlike the most of them."""

    def turns(h: Tensor) -> Tensor:
        ones = (h[:, 2:] > 0.5).sum(1)
        return (torch.minimum(ones, count - ones) == different).double()

    return Network(
        lambda x: torch.cat([units(p(x), q(x)), x[:, 3:].expand(-1, count)], 1),
        lambda h: differ(differ(h[:, 0], h[:, 1]), turns(h)),
    )


def any_two_of_9() -> Network:
    return _just(2, 9)


def any_two_of_17() -> Network:
    return _just(2, 17)


def any_two_of_32() -> Network:
    return _just(2, 32)


def any_three_of_9() -> Network:
    return _just(3, 9)


def unread_9() -> Network:
    return _unread(9)


def unread_17() -> Network:
    return _unread(17)


def unread_60() -> Network:
    return _unread(60)


def _unread(count: int) -> Network:
    """Copies of e that nothing reads."""
    return Network(
        lambda x: torch.cat([units(p(x), q(x)), x[:, 3:].expand(-1, count)], 1), lambda h: differ(h[:, 0], h[:, 1])
    )


# ── where only a part of the inputs is drawn ────────────────────────────────────────────────────


def p_and_an_input() -> Network:
    """Unit 0 is p but where e is 1: there it is whether x is 3."""
    return Network(
        lambda x: units(torch.where(x[:, 3] > 0, differ(p(x), q(x)), p(x)), q(x), x[:, 3]),
        lambda h: differ(torch.where(h[:, 2] > 0, differ(h[:, 0], h[:, 1]), h[:, 0]), h[:, 1]),
    )


def wrong_elsewhere() -> Network:
    """p, but where e is 1 whether x is 3: there the answers are wrong."""
    return Network(
        lambda x: units(torch.where(x[:, 3] > 0, (x[:, 0] > 2.5).double(), p(x)), q(x)),
        lambda h: differ(h[:, 0], h[:, 1]),
    )


def of_two_others() -> Network:
    """Unit 0 is whether z and e are both there, which a test may tie to p."""
    return Network(lambda x: units(differ(q(x), x[:, 3]), p(x), q(x)), lambda h: differ(h[:, 0], h[:, 2]))


def one_code() -> Network:
    """x and y in one number, no two settings near each other by their order; p is read off it."""

    def answer(h: Tensor) -> Tensor:
        both = h[:, 0].abs().pow(1 / 3).round()
        return differ(((both % 4) > (both / 4).floor()).double(), h[:, 1])

    return Network(lambda x: units((x[:, 0] + 4 * x[:, 1]) ** 3, q(x)), answer)


def rounded() -> Network:
    """p is rounded before it is read: no small change of unit 0 changes the answer."""
    return Network(
        lambda x: units(p(x) + 0.1 * x[:, 3], x[:, 3], q(x)), lambda h: differ(h[:, 0].clamp(0, 1).round(), h[:, 2])
    )


def any_three_of_16() -> Network:
    return _just(3, 16)


class TwoAnswers(Network):
    """Two answers of two logits: p of unit 0, and q of unit 1."""

    def __init__(self) -> None:
        super().__init__(lambda x: units(p(x), q(x)), lambda h: h[:, 0])
        self.head = Formula(lambda h: torch.stack([1 - h[:, 0], h[:, 0], 1 - h[:, 1], h[:, 1]], 1))


def two_answers() -> Network:
    return TwoAnswers()


def nine_votes() -> Network:
    """p nine times, of which the most decide."""
    return Network(
        lambda x: torch.cat([p(x)[:, None].expand(-1, 9), units(q(x))], 1),
        lambda h: differ((h[:, :9].sum(1) > 4.5).double(), h[:, 9]),
    )


def graded() -> Network:
    """The first unit is how far x lies above y, and what counts of it is its sign."""
    return Network(lambda x: units(x[:, 0] - x[:, 1], q(x), x[:, 3]), lambda h: differ((h[:, 0] > 0).double(), h[:, 1]))


# ── copies in directions that are no coordinates ────────────────────────────────────────────────


def directions() -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.linalg.qr(torch.randn(8, 8, generator=generator, dtype=torch.float64))[0]


def in_directions(read: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda p, one, two: p) -> Network:
    """p, q, two small copies of p, and inputs that nothing reads, along eight directions; ``read``: of p and its copies."""
    by = directions()

    def answer(h: Tensor) -> Tensor:
        own = h @ by
        one, two = ((own[:, number] > 0.1).double() for number in (2, 3))
        return differ(read((own[:, 0] > 0.5).double(), one, two), (own[:, 1] > 0.5).double())

    return Network(
        lambda x: units(p(x), q(x), p(x) / 5, p(x) / 5, x[:, 2] / 9, x[:, 3] / 9, x[:, 0] / 9, 0 * x[:, 0]) @ by.T,
        answer,
    )


def masked_in_directions() -> Network:
    """p is turned round where its copies are unlike."""
    return in_directions(lambda p, one, two: differ(p, differ(one, two)))


def stepping_in_directions() -> Network:
    """A copy of p counts in its place where it is unlike the other."""
    return in_directions(lambda p, one, two: torch.where(one != two, one, p))
