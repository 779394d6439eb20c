"""Which numbers of a layer are taken together from other inputs, beside what features have there."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Literal

from causal_dsl.base.counter import Stream
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.planning.probe_rows import LEAST
from causal_dsl.planning.unclaimed import ALL, FEW
from causal_dsl.planning.unit_sets import random_parts

#: Of many units, how many random halves and how many quarters are taken.
_HALVES, _QUARTERS = 8, 8
#: The rows that a set of tokens' numbers needs, for each two numbers to be tried.
_ENOUGH = 4 * LEAST


@dataclass(frozen=True)
class NumbersTaken:
    """Numbers of a layer that are taken from other inputs: each of the ``parts`` from an input of its own. ``each``: what a part is, where there are
    several."""

    parts: tuple[tuple[int, ...], ...]
    each: Literal["number", "token", ""] = ""

    @property
    def columns(self) -> tuple[int, ...]:
        """All of the numbers."""
        return tuple(sorted(column for part in self.parts for column in part))

    @property
    def mixed(self) -> bool:
        return len(self.parts) > 1


def ways_to_take(free: Sequence[int], wide: int, rows: int, costly: bool, stream: Stream) -> list[NumbersTaken]:
    """All of the numbers ``free`` of a layer together, and sets of them, as far as there are ``rows``. ``wide``: of tokens the width of their
    vectors, side by side; 0 where there is one vector. ``costly``: tokens are taken as they are, not number by number."""
    if not wide:
        return _of_numbers(tuple(free), rows, stream)
    of = dict[int, list[int]]()
    for column in free:
        of.setdefault(column // wide, []).append(column)
    tokens = tuple(tuple(columns) for columns in of.values())
    if costly:
        return _of_costly_tokens(tokens, stream)
    ways = [_together(tokens)]
    if len(tokens) > 1:
        if len(tokens) <= ALL:
            ways += [_together(some) for size in range(1, len(tokens)) for some in combinations(tokens, size)]
        else:
            ways += [_together(_some(tokens, one)) for one in random_parts(range(len(tokens)), 2, _HALVES, stream)]
            ways += [_together(some) for size in (1, 2) for some in combinations(tokens, size)]
        ways += _mixed(tokens, stream)
    left = rows - len(ways) * _ENOUGH
    return list(dict.fromkeys([*ways, *_of_numbers(tuple(free), left, stream, _ENOUGH)]))


def _of_costly_tokens(tokens: Sequence[tuple[int, ...]], stream: Stream) -> list[NumbersTaken]:
    """The same of tokens whose runs cost: the first sets are those that show most."""
    ways = [_together(tokens)]
    if len(tokens) > 1:
        mixed = _mixed(tokens, stream)
        ways += [*mixed[:3], *(_together([one]) for one in tokens), *mixed[3:]]
    return list(dict.fromkeys(ways))


def _mixed(tokens: Sequence[tuple[int, ...]], stream: Stream) -> list[NumbersTaken]:
    """All tokens and halves of them, each from an input of its own."""
    halves = random_parts(range(len(tokens)), 2, _HALVES, stream)
    return [
        NumbersTaken(tuple(tokens), "token"),
        *(NumbersTaken(_some(tokens, one), "token") for one in halves if len(one) > 1),
    ]


def _of_numbers(free: tuple[int, ...], rows: int, stream: Stream, least: int = LEAST) -> list[NumbersTaken]:
    """All numbers, and sets of them: all there are of few; of more, random halves and quarters, each, and each two if rows suffice. The larger
    ones also with an input of its own for each number."""
    if len(free) <= ALL:
        sets = [free, *(some for size in range(1, len(free)) for some in combinations(free, size))]
        large = [one for one in sets if len(one) > 1]
    else:
        halves, quarters = random_parts(free, 2, _HALVES, stream), random_parts(free, 4, _QUARTERS, stream)
        large = [one for one in dict.fromkeys([free, *halves, *quarters]) if len(one) > 1]
        sets = [free, *halves, *quarters, *((unit,) for unit in free[:FEW])]
        pairs = list(combinations(free, 2))
        if (2 * len(sets) + len(pairs)) * least <= rows:
            sets += pairs
    ways = [_together([one]) for one in dict.fromkeys(sets)]
    if len(free) > 1:
        ways += [NumbersTaken(tuple((unit,) for unit in one), "number") for one in large]
    return ways


def _some(tokens: Sequence[tuple[int, ...]], numbers: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    return tuple(tokens[number] for number in numbers)


def _together(parts: Sequence[tuple[int, ...]]) -> NumbersTaken:
    """The parts, taken from one input."""
    return NumbersTaken((tuple(sorted(column for part in parts for column in part)),))


__all__ = ["NumbersTaken", "ways_to_take"]
