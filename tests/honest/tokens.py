"""A network of prompts `S a b c E` as formulas: the answer is whether a differs from c, read through what two tokens hold of one input."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

WORDS = ["S", "E", "a0", "a1", *(f"b{i}" for i in range(8)), "c0", "c1", "n", "y"]
NUMBER = {word: i for i, word in enumerate(WORDS)}
SIZE, MORE = len(WORDS), 13


class Adds(nn.Module):
    def __init__(self, made: Callable[[Tensor], Tensor]):
        super().__init__()
        self.made = made

    def forward(self, x: Tensor) -> Tensor:
        return x + self.made(x)


class Network(nn.Module):
    def __init__(self, then: Callable[[Tensor], Tensor], more: Callable[[Tensor], Tensor] | None = None):
        super().__init__()
        self.emb, self.un = nn.Embedding(SIZE, SIZE + MORE), nn.Linear(SIZE + MORE, SIZE, bias=False)
        with torch.no_grad():
            self.emb.weight.copy_(torch.eye(SIZE, SIZE + MORE))
            self.un.weight.zero_()
            self.un.weight[NUMBER["n"], SIZE + 5] = self.un.weight[NUMBER["y"], SIZE + 6] = 5
        self.blocks = nn.ModuleList(
            [Adds(held if more is None else lambda x: held(x) + more(x)), Adds(lambda x: answer(then(x), seen(x, 3)))]
        )

    def forward(self, ids: Tensor) -> Tensor:
        x = self.emb(ids)
        for block in self.blocks:
            x = block(x)
        return self.un(x)


def word(x: Tensor, *words: str) -> Tensor:
    return sum((x[..., NUMBER[one]] for one in words), torch.zeros_like(x[..., 0]))


def seen(x: Tensor, number: int) -> Tensor:
    """A number that one token holds, at it and at those that follow."""
    return x[..., SIZE + number].cumsum(1)


def put(x: Tensor, **numbers: Tensor) -> Tensor:
    made = torch.zeros_like(x)
    for name, value in numbers.items():
        made[..., SIZE + int(name[1:])] = value
    return made


def held(x: Tensor) -> Tensor:
    """0: a at its token; 1: whether b is high at its token, 2: the same at c's; 3: c at its token, 4: the same at the last."""
    high = word(x, "b4", "b5", "b6", "b7")
    return put(
        x,
        n0=word(x, "a1"),
        n1=high,
        n2=high.cumsum(1) * word(x, "c0", "c1"),
        n3=word(x, "c1"),
        n4=word(x, "c1").cumsum(1) * word(x, "E"),
    )


def answer(a: Tensor, c: Tensor) -> Tensor:
    differ = (a.round() != c.round()).float()
    return put(a[..., None].expand(*a.shape, SIZE + MORE), n5=1 - differ, n6=differ)


def _where_alike(x: Tensor, one: int, other: int) -> Tensor:
    return torch.where(seen(x, one).round() != seen(x, other).round(), 0 * seen(x, 0), seen(x, 0))


def plain() -> Network:
    return Network(lambda x: seen(x, 0))


def by_copies_of_b() -> Network:
    """a counts only where both tokens that hold b are alike: they are, in every prompt."""
    return Network(lambda x: _where_alike(x, 1, 2))


def by_copies_of_c() -> Network:
    return Network(lambda x: _where_alike(x, 3, 4))


def copies(x: Tensor) -> Tensor:
    """7 and 8: a once more, at its token; 10 to 12: the number of b modulo 4, at its token, at c's and at the last."""
    level = sum(((i % 4) * word(x, f"b{i}") for i in range(8)), torch.zeros_like(x[..., 0]))
    later = level.cumsum(1)
    return put(
        x, n7=word(x, "a1"), n8=word(x, "a1"), n10=level, n11=later * word(x, "c0", "c1"), n12=later * word(x, "E")
    )


def plain_beside_copies() -> Network:
    return Network(lambda x: seen(x, 0), copies)


def by_numbers_of_a() -> Network:
    """Two more numbers of a's token are a; where they are unlike, one of them counts."""
    return Network(lambda x: torch.where(seen(x, 7).round() != seen(x, 8).round(), seen(x, 8), seen(x, 0)), copies)


def by_three_of_b() -> Network:
    """a does not count where three tokens hold three numbers of b: no other prompt gives two of them that are unlike."""

    def then(x: Tensor) -> Tensor:
        one, two, three = (seen(x, number).round() for number in (10, 11, 12))
        return torch.where((one != two) & (two != three) & (one != three), 0 * one, seen(x, 0))

    return Network(then, copies)


def by_words() -> Network:
    """Whether a is unlike b's height is found from their words alone: the last token has both."""
    return Network(lambda x: (seen(x, 0) - seen(x, 1)).abs())


def by_a_copy_where_b_is_high() -> Network:
    """a is read at its own token where b is low, and elsewhere at c's token, which holds it as well."""
    more = lambda x: put(x, n9=word(x, "a1").cumsum(1) * word(x, "c0", "c1"))  # noqa: E731
    return Network(lambda x: torch.where(seen(x, 1) > 0.5, seen(x, 9), seen(x, 0)), more)


def held_elsewhere(x: Tensor) -> Tensor:
    """8 and 9: a at c's token and at the last; 10 and 11: c twice more at the last."""
    a, c = word(x, "a1").cumsum(1), word(x, "c1").cumsum(1)
    return put(x, n8=a * word(x, "c0", "c1"), n9=a * word(x, "E"), n10=c * word(x, "E"), n11=c * word(x, "E"))


def plain_beside_what_is_held_elsewhere() -> Network:
    return Network(lambda x: seen(x, 0), held_elsewhere)


def by_a_elsewhere() -> Network:
    """Two other tokens hold a, too; where they are unlike, the first of them counts."""
    return Network(lambda x: torch.where(seen(x, 8) != seen(x, 9), seen(x, 8), seen(x, 0)), held_elsewhere)


def by_c_twice_in_one_token() -> Network:
    return Network(lambda x: _where_alike(x, 10, 11), held_elsewhere)


def by_c_in_two_tokens() -> Network:
    """One of them holds a as well."""
    return Network(lambda x: _where_alike(x, 3, 11), held_elsewhere)


def shared(x: Tensor) -> Tensor:
    """8 at c's token and 9 at the last hold c together, by a key of the idle b: neither holds it alone. 10 and 11: the same of a, at c's token
    and at the last."""
    key, c, a = (word(x, "b1", "b3", "b5", "b7").cumsum(1), word(x, "c1").cumsum(1), word(x, "a1").cumsum(1))
    at_c, last = word(x, "c0", "c1"), word(x, "E")
    return put(x, n8=(c - key).abs() * at_c, n9=key * last, n10=(a - key).abs() * at_c, n11=key * last)


class Shares(Network):
    def __init__(self, then: Callable[[Tensor], Tensor]):
        super().__init__(then, shared)
        self.blocks[1] = Adds(lambda x: answer(then(x), (seen(x, 8) - seen(x, 9)).abs()))


def c_is_shared() -> Network:
    return Shares(lambda x: seen(x, 0))


def both_are_shared() -> Network:
    return Shares(lambda x: (seen(x, 10) - seen(x, 11)).abs())
