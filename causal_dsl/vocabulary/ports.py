"""Where an edge of a circuit ends: what a component reads. All receivers of a network are numbered, and a set of them is a number
whose bits they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

#: What a head reads, as an edge names it.
HEAD_PORTS: tuple[Literal["q"], Literal["k"], Literal["v"]] = ("q", "k", "v")


@dataclass(frozen=True, order=True)
class Port:
    """A port of a head: its query, key or value (of keys and values: a head that query heads share), the input of an MLP, or
    what the read-out does."""

    kind: Literal["q", "k", "v", "mlp", "logits"]
    layer: int = -1
    head: int = -1

    def __str__(self) -> str:
        if self.kind == "logits":
            return "logits"
        return (
            f"layer[{self.layer}].mlp_in"
            if self.kind == "mlp"
            else f"layer[{self.layer}].head[{self.head}].{self.kind}"
        )


@dataclass(frozen=True)
class Ports:
    """All receivers of a network, numbered layer by layer: the queries, keys and values of its heads, its MLP; last, the logits.
    ``parallel``: the MLP of a layer reads the same stream as its heads."""

    layers: int
    heads: int
    kv_heads: int
    parallel: bool = False

    @property
    def per_layer(self) -> int:
        """How many there are in a layer."""
        return self.heads + 2 * self.kv_heads + 1

    def __len__(self) -> int:
        return self.layers * self.per_layer + 1

    @property
    def all(self) -> int:
        """The set of all of them."""
        return (1 << len(self)) - 1

    @property
    def shared(self) -> int:
        """How many query heads share a key."""
        return max(1, self.heads // max(1, self.kv_heads))

    def has(self, port: Port) -> bool:
        """Whether the network has such a receiver."""
        heads = {"q": self.heads, "k": self.kv_heads, "v": self.kv_heads}.get(port.kind, 0)
        return port.kind == "logits" or (port.layer < self.layers and port.head < max(heads, 0))

    def number(self, port: Port) -> int:
        """The number of a receiver."""
        if port.kind == "logits":
            return len(self) - 1
        inside = {"q": 0, "k": self.heads, "v": self.heads + self.kv_heads, "mlp": self.per_layer - 1}[port.kind]
        return port.layer * self.per_layer + inside + max(0, port.head)

    def port(self, number: int) -> Port:
        """The receiver of a number."""
        if number == len(self) - 1:
            return Port("logits")
        layer, inside = divmod(number, self.per_layer)
        if inside < self.heads:
            return Port("q", layer, inside)
        if inside == self.per_layer - 1:
            return Port("mlp", layer)
        turn, head = divmod(inside - self.heads, self.kv_heads)
        return Port("k" if turn == 0 else "v", layer, head)

    def mask(self, ports: Iterable[Port]) -> int:
        """The set of some receivers."""
        found = 0
        for port in ports:
            found |= 1 << self.number(port)
        return found

    def of(self, mask: int) -> Iterator[Port]:
        """The receivers of a set, in their order."""
        return iter(_members(self, mask))

    def after(self, layer: int, mlp: bool) -> int:
        """The receivers of what is added to the stream in a layer: by its MLP, or by its heads; of layer -1 by the embedding."""
        first = (layer + 1) * self.per_layer
        if layer >= 0 and not mlp and not self.parallel:
            first -= 1
        return self.all >> first << first

    def layer(self, layer: int) -> int:
        """The receivers in a layer."""
        return ((1 << self.per_layer) - 1) << (layer * self.per_layer)


@dataclass(frozen=True)
class Reach:
    """The receivers that what is written at a place reaches: a set of ``ports`` for each head of the place, or one for the whole
    place."""

    ports: Ports
    masks: tuple[int, ...]

    @property
    def any(self) -> int:
        """All receivers that some of it reaches."""
        found = 0
        for mask in self.masks:
            found |= mask
        return found

    def __str__(self) -> str:
        every = self.any
        if every.bit_count() > 6:
            return f"{every.bit_count()} receivers"
        return ", ".join(map(str, self.ports.of(every)))


@lru_cache(maxsize=256)
def _members(ports: Ports, mask: int) -> tuple[Port, ...]:
    """The receivers of a set, in their order: most senders have a set in common with others."""
    found = []
    while mask:
        lowest = mask & -mask
        found.append(ports.port(lowest.bit_length() - 1))
        mask ^= lowest
    return tuple(found)


__all__ = ["HEAD_PORTS", "Port", "Ports", "Reach"]
