"""Every site, every kind of value, from the same and from every other site, in the same, an earlier and a later layer.

The sites are those of the package's table, the kinds of values those of its vocabulary, with their own examples: what is
added there is in here. What must come out is worked out by hand (``byhand``).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from causal_dsl.program.components import COMPONENTS, missing
from causal_dsl.vocabulary.network_facts import Facts
from causal_dsl.vocabulary.values import VALUES
from tests.engine.byhand import ByHand

HEAD = 8
SHARED = ("k", "v", "k_rot")
DRAW = "base, source ~ m(n=2, seed=4)"
#: Attention weights go between prompts of one length.
DRAW_ALIKE = DRAW + " where base.template == source.template and base.template == 1"


@dataclass(frozen=True)
class Spot:
    """A site at a token: ``at`` counts from the prompt's first, or is -1."""

    component: str
    layer: int | None
    at: int
    head: int | None = None

    def __str__(self) -> str:
        layer = "" if self.layer is None else f"layer[{self.layer}]."
        head = "" if self.head is None else f"head[{self.head}]."
        return f"{layer}{head}{self.component}[{'last' if self.at == -1 else self.at}]"


@dataclass(eq=False)
class Rows:
    """The pairs of a draw, as token ids, on a model."""

    hand: ByHand
    base: list[tuple[int, ...]]
    source: list[tuple[int, ...]]
    read: list[int]
    vectors: dict[str, Tensor] = field(default_factory=dict)

    def whole(self, ids: tuple[int, ...], spot: Spot) -> Tensor:
        """All heads of a site, or its vector; weights [heads, keys]."""
        return self.hand.vector(ids, spot.component, spot.layer)[spot.at]

    def of(self, ids: tuple[int, ...], spot: Spot) -> Tensor:
        """The vector at a spot."""
        found = self.whole(ids, spot)
        if spot.component == "pattern":
            return (found if spot.head is None else found[spot.head]).flatten()
        return found if spot.head is None else found.view(-1, HEAD)[spot.head]

    def mean(self, role: str, spot: Spot) -> Tensor:
        return torch.stack([self.of(ids, spot) for ids in getattr(self, role)]).mean(0)

    def after(self, row: int, spot: Spot, new: Tensor) -> Tensor:
        """The logits that are read once ``new`` is at a spot of the base."""
        ids = self.base[row]
        whole = self.whole(ids, spot).clone()
        if spot.component == "pattern":
            (whole if spot.head is None else whole[spot.head]).view(-1)[:] = new
        elif spot.head is None:
            whole = new
        else:
            whole.view(-1, HEAD)[spot.head] = new
        at = len(ids) - 1 if spot.at == -1 else spot.at
        return self.hand.patched(ids, spot.component, spot.layer, at, whole)[self.read[row]]


#: From the pairs and a row to what is written there.
Worth = Callable[[Rows, int, Spot], Tensor]


@dataclass(frozen=True, eq=False)
class Case:
    """One write: ``target`` and what it is given, as text and by hand. ``add``: it is added."""

    target: Spot
    text: str
    worth: Worth
    add: bool = False

    @property
    def action(self) -> str:
        return f"{self.target} {self.text}"

    @property
    def draw(self) -> str:
        return DRAW_ALIKE if self.target.component == "pattern" else DRAW

    def expected(self, rows: Rows, row: int) -> Tensor:
        new = self.worth(rows, row, self.target)
        if self.add:
            new = rows.of(rows.base[row], self.target) + new
        return rows.after(row, self.target, new)


@dataclass(frozen=True, eq=False)
class At:
    """A row of the pairs at a spot: what the examples of the package's values are worked out from (``Hand``)."""

    rows: Rows
    row: int
    spot: Spot

    def of(self, role: str) -> Tensor:
        return self.rows.of(getattr(self.rows, role)[self.row], self.spot)

    @property
    def current(self) -> Tensor:
        return self.of("base")

    def mean(self, role: str) -> Tensor:
        return self.rows.mean(role, self.spot)

    def noise(self, seed: int) -> Tensor:
        return torch.tensor([normal(seed, "noise", self.row << 32, i) for i in range(self.current.numel())])

    def file(self) -> Tensor:
        return self.rows.vectors[f"w{self.current.numel()}"]


_WORD = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15


def _mixed(x: int) -> int:
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & _WORD
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & _WORD
    return x ^ x >> 31


def normal(seed: int, name: str, row: int, number: int) -> float:
    """A normal number as docs/running.md defines it, worked out with the whole numbers and the logarithm of Python."""
    units = []
    for side in ("radius", "angle"):
        digest = hashlib.blake2b("\x1f".join((str(seed), name, side)).encode(), digest_size=8).digest()
        state = _mixed((row * _GOLDEN + int.from_bytes(digest, "little")) & _WORD)
        units.append((_mixed((state + (number + 1) * _GOLDEN) & _WORD) >> 11) / 2**53)
    return math.sqrt(-2 * math.log(1 - units[0])) * math.cos(2 * math.pi * units[1])


def _source(rows: Rows, row: int, spot: Spot) -> Tensor:
    return At(rows, row, spot).of("source")


def _worth(by_hand: Callable[[At], Tensor]) -> Worth:
    return lambda rows, row, spot: by_hand(At(rows, row, spot))


#: The kinds of values that the package has, those of other packages as well: all must be worked out by hand.
KINDS = tuple(VALUES.values())


def spots(facts: Facts, layers: int) -> list[Spot]:
    """A spot at every site that a network has, in every layer, at the second token and at the last one in turn."""
    found = []
    for name, about in COMPONENTS.items():
        if "language" not in about.kinds or missing(name, facts) is not None or name in ("module", "logits"):
            continue  # modules are at other places in every family, and the logits are where it is read
        for layer in range(layers) if about.layer else [None]:
            for at in (1, -1):
                found.append(Spot(name, layer, at))
                if about.heads:
                    found.append(Spot(name, layer, at, 1))
    return found


def cases(facts: Facts, layers: int, widths: Callable[[Spot], int | None]) -> Iterator[Case]:
    """The whole matrix of one network: written in a layer in the middle, and at the answer's token of the last one."""
    every = spots(facts, layers)
    middle = layers // 2
    targets = [s for s in every if s.layer in (None, middle) or (s.layer == layers - 1 and s.at == -1)]
    for number, target in enumerate(targets):
        whole = target.head is not None or not COMPONENTS[target.component].heads
        for kind in KINDS:
            for form, example in enumerate(kind.examples):
                if example.unequal and target.component == "pattern":
                    continue  # as wide as the prompt
                written, worth = example.text.replace("WIDTH", str(widths(target))), _worth(example.by_hand)
                yield Case(target, written, worth)
                if form == number % len(kind.examples) and not example.current:
                    yield Case(target, f"+= {written.partition(' ')[2]}", worth, add=True)
        for other in every:
            same_kind = (other.component == "pattern") == (target.component == "pattern")
            if target.layer not in (None, middle) and other.layer != target.layer:
                continue
            if not same_kind or widths(other) != widths(target) or other.at != target.at or not whole:
                continue
            if target.component == "pattern" and (other.head is None) != (target.head is None):
                continue
            if (number + every.index(other)) % 2 and (other.component, other.layer) != (target.component, target.layer):
                continue  # of the two tokens one
            elsewhere = _from(other)
            yield Case(target, f"<- source.{other}", elsewhere)
            if (number + every.index(other)) % 6 == 0:  # sums of what lies here and there
                yield Case(
                    target,
                    f"+= source.{other} - 0.5 * source",
                    lambda rows, row, spot, take=elsewhere: take(rows, row, spot) - 0.5 * _source(rows, row, spot),
                    add=True,
                )


def _from(other: Spot) -> Worth:
    return lambda rows, row, spot: rows.of(rows.source[row], other)


__all__ = ["HEAD", "KINDS", "Case", "Rows", "Spot", "cases", "spots"]
