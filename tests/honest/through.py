"""Networks of prompts `S a b c d E` as formulas, which hold whether a is b, and whether c is d, in one number or one direction of a token; beside
it stand copies, which some of them read. The answer is whether the two are alike, or whether one holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

WORDS = ["S", "0", "1", "2", "3", "4", "5", "E", "yes", "no"]
WIDTH, LEFT, COPY, ANSWER = 12, 2, 0.3, 10


def turn() -> Tensor:
    drawn = torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return torch.linalg.qr(drawn)[0].float()


class Step(nn.Module):
    def __init__(self, made: Callable[[Tensor], Tensor]):
        super().__init__()
        self.made = made

    def forward(self, x: Tensor) -> Tensor:
        return self.made(x)


class Network(nn.Module):
    """``held``: what the first block adds; ``said``: from its numbers, whether the answer is yes. ``turned``: the numbers lie along directions that
    are no coordinates."""

    def __init__(self, held: Callable[[Tensor], Tensor], said: Callable[[Tensor], Tensor], turned: bool):
        super().__init__()
        by = turn() if turned else torch.eye(WIDTH)
        self.embed, self.un = nn.Embedding(len(WORDS), WIDTH), nn.Linear(WIDTH, len(WORDS), bias=False)
        with torch.no_grad():
            self.embed.weight.zero_()
            self.embed.weight[1:7, 0] = torch.arange(6) / 5
            self.embed.weight[:, 1] = 1
            self.un.weight.zero_()
            self.un.weight[8, ANSWER] = self.un.weight[9, ANSWER + 1] = 3
        self.blocks = nn.ModuleList([Step(lambda x: held(x) @ by.T), Step(lambda x: _answer(x @ by, said))])

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x)
        return self.un(x)


def _answer(x: Tensor, said: Callable[[Tensor], Tensor]) -> Tensor:
    yes = said(x)
    return put(x, **{f"n{ANSWER}": yes, f"n{ANSWER + 1}": 1 - yes})


def put(x: Tensor, **numbers: Tensor) -> Tensor:
    made = x.clone()
    for name, value in numbers.items():
        made[..., int(name[1:])] = value
    return made


def before(x: Tensor, number: int, tokens: int) -> Tensor:
    """A number of the token that stands so many before each."""
    made = torch.zeros_like(x[..., number])
    made[:, tokens:] = x[:, : max(0, x.shape[1] - tokens), number]
    return made


def high(number: Tensor, half: float = 0.5) -> Tensor:
    return (number > half).float()


def unlike(a: Tensor, b: Tensor) -> Tensor:
    return a + b - 2 * a * b


def alike(x: Tensor) -> Tensor:
    """Whether a token is the one before it."""
    return ((x[..., 0] - before(x, 0, 1)).abs() < 0.1).float()


def elsewhere(x: Tensor) -> Tensor:
    """Number 2 of b and of d, and three copies of what b holds: 4 of c, 5 of d, 6 of E."""
    made = put(x, n2=alike(x))
    return put(made, n4=before(made, 2, 1), n5=before(made, 2, 2), n6=before(made, 2, 3))


def inside(x: Tensor) -> Tensor:
    """Three copies in the same token, small ones."""
    return put(x, n2=alike(x), n4=COPY * alike(x), n5=COPY * alike(x), n6=COPY * alike(x))


def _left(x: Tensor) -> Tensor:
    return high(before(x, LEFT, 3))


def _right(x: Tensor) -> Tensor:
    return high(before(x, LEFT, 1))


def _copies(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return high(before(x, 4, 2)), high(before(x, 5, 1)), high(x[..., 6])


def _copies_inside(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    one, two, three = (high(before(x, number, 3), COPY / 2) for number in (4, 5, 6))
    return one, two, three


#: How the copies change what is read of the left: not at all; if the first two are unlike; the first counts where it is unlike the third; if they are not all alike.
READ: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "plain": lambda left, one, two, three: left,
    "masked": lambda left, one, two, three: unlike(left, unlike(one, two)),
    "stepping": lambda left, one, two, three: torch.where(one != three, one, left),
    "by_three": lambda left, one, two, three: unlike(left, 1 - ((one == two) & (two == three)).float()),
}
#: The answer, from the left and the right.
OUTPUTS: dict[str, tuple[str, Callable[[Tensor, Tensor], Tensor]]] = {
    "same": ("left == right", lambda left, right: 1 - unlike(left, right)),
    "either": ("left or right", lambda left, right: torch.maximum(left, right)),
}


def _made(read: str, output: str, within: bool, turned: bool) -> Callable[[], Network]:
    copies = _copies_inside if within else _copies
    said = OUTPUTS[output][1]
    return lambda: Network(
        inside if within else elsewhere, lambda x: said(READ[read](_left(x), *copies(x)), _right(x)), turned
    )


def _every() -> Iterator[tuple[str, Callable[[], Network]]]:
    for read in READ:
        for output in OUTPUTS:
            for within in (False, True):
                for turned in (False, True):
                    yield name_of(read, output, within, turned), _made(read, output, within, turned)


def name_of(read: str, output: str, within: bool, turned: bool) -> str:
    return f"{read}_{output}_{'inside' if within else 'elsewhere'}{'_turned' * turned}"


globals().update(_every())


class Sum(nn.Module):
    """p = x mod 3 and q of z along two directions of six, and their sum mod 3, whatever p and q are."""

    def __init__(self) -> None:
        super().__init__()
        self.in_features = 2
        self.weight = nn.Parameter(torch.linalg.qr(turn()[:6, :6].double())[0].float())
        self.layers, self.head = nn.ModuleList([Step(self._held)]), Step(self._said)

    def _held(self, x: Tensor) -> Tensor:
        p, z = torch.remainder(x[:, 0], 3), x[:, 1]
        return torch.stack([p, 2.0 * (z > 5) + (z == 0)], 1).float() @ self.weight[:, :2].T

    def _said(self, h: Tensor) -> Tensor:
        p, q = (h @ self.weight[:, :2]).round().T
        return -((torch.remainder(p + q, 3)[:, None] - torch.arange(3)).abs())

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers[0](x))


def sum_along_directions() -> Sum:
    return Sum()
