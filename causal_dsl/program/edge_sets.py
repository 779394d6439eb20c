"""Sets of edges between the components of a network: each goes from what one component gives to what another one reads.

A set holds for each sender its receivers as the bits of one number (:class:`causal_dsl.vocabulary.ports.Ports`), so that the
hundred thousand edges of a network are a few hundred numbers. An edge of a key or a value that several query heads share
counts once for each of them, as in the counts of Mueller et al. (2025), so that sizes of node and edge circuits compare.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.program.nodes import EVERYWHERE, SITES, Kind, OutputNode, Size, Spot, universe
from causal_dsl.vocabulary.locations import Place, Position, Site
from causal_dsl.vocabulary.network_facts import Facts
from causal_dsl.vocabulary.ports import HEAD_PORTS, Port, Ports, Reach

#: An edge at a token: a sender, a receiver, and where (the receiver reads the stream at the token at which it is computed).
EdgeSpot = tuple[OutputNode, Port, Position | None]
#: The kinds of nodes that send along edges.
SENDERS = ("embed", "head", "mlp")


def ports_of(facts: Facts) -> Ports:
    """The receivers of a network; none where its layers are not known."""
    heads = facts.heads or 0
    return Ports(facts.layers or 0, heads, facts.kv_heads or heads, facts.parallel)


def receivers_of(node: OutputNode, ports: Ports) -> int:
    """All that read the stream when a node has been added to it."""
    return ports.after(node.layer, node.kind in ("mlp", "neuron"))


@dataclass(frozen=True)
class EdgeSet:
    """A circuit of edges. ``senders``: nodes at tokens, in order, each with its receivers; none without receivers."""

    ports: Ports
    senders: tuple[tuple[Spot, int], ...] = ()

    @staticmethod
    def make(ports: Ports, found: Iterable[tuple[Spot, int]]) -> EdgeSet:
        """The set of these edges; one at all tokens is there once."""
        masks: dict[Spot, int] = defaultdict(int)
        for spot, mask in found:
            masks[spot] |= mask
        for (node, position), mask in list(masks.items()):
            if position != EVERYWHERE:
                masks[node, position] = mask & ~masks.get((node, EVERYWHERE), 0)
        return EdgeSet(ports, tuple(sorted(((s, m) for s, m in masks.items() if m), key=_order)))

    @staticmethod
    def of(ports: Ports, edges: Iterable[EdgeSpot]) -> EdgeSet:
        """The set of single edges."""
        return EdgeSet.make(ports, (((node, at), 1 << ports.number(port)) for node, port, at in edges))

    def __bool__(self) -> bool:
        return bool(self.senders)

    def __len__(self) -> int:
        return sum(mask.bit_count() for _, mask in self.senders)

    def __iter__(self) -> Iterator[EdgeSpot]:
        return ((node, port, at) for (node, at), mask in self.senders for port in self.ports.of(mask))

    def __add__(self, other: EdgeSet) -> EdgeSet:
        return EdgeSet.make(self.ports, (*self.senders, *other.senders))

    def __sub__(self, other: EdgeSet) -> EdgeSet:
        """Without those of another set: an edge at all tokens without some is the edge at the others."""
        away: dict[OutputNode, list[tuple[Position | None, int]]] = defaultdict(list)
        for (node, position), mask in other.senders:
            away[node].append((position, mask))
        found: list[tuple[Spot, int]] = []
        for (node, position), mask in self.senders:
            parts = [(position, mask)]
            for gone, taken in away.get(node, ()):
                whole = gone in (position, None) or gone == EVERYWHERE
                parts = [
                    part
                    for at, own in parts
                    for part in ((at, own & ~taken), *(() if whole else ((_except(at, gone), own & taken),)))
                    if part[1]
                ]
            found += [((node, at), own) for at, own in parts]
        return EdgeSet.make(self.ports, found)

    def touching(self, spots: Iterable[Spot]) -> EdgeSet:
        """Those that begin at some nodes, or end at them, whatever the token."""
        nodes = {node for node, _ in spots}
        into = self.ports.mask(port for node in nodes for port in ports_at(node, self.ports))
        return EdgeSet(
            self.ports,
            tuple((s, own) for s, mask in self.senders if (own := mask if s[0] in nodes else mask & into)),
        )

    def at(self, positions: Sequence[Position] | None) -> EdgeSet:
        """With those at all tokens at some of them; None: as they are."""
        if not positions:
            return self
        spread = (
            ((node, one), mask)
            for (node, at), mask in self.senders
            for one in (positions if at == EVERYWHERE else (at,))
        )
        return EdgeSet.make(self.ports, spread)

    @property
    def nodes(self) -> tuple[OutputNode, ...]:
        """The nodes at their ends, but for the logits."""
        ends = {node for (node, _), _ in self.senders}
        every = 0
        for _, mask in self.senders:
            every |= mask
        for port in self.ports.of(every):
            ends |= set(nodes_at(port, self.ports))
        return tuple(sorted(ends))

    @property
    def weight(self) -> int:
        """How many edges there are, each once, whatever its tokens; of a shared key or value one for each query head."""
        masks: dict[OutputNode, int] = defaultdict(int)
        for (node, _), mask in self.senders:
            masks[node] |= mask
        shared = shared_ports(self.ports)
        return sum(mask.bit_count() + (self.ports.shared - 1) * (mask & shared).bit_count() for mask in masks.values())

    def __str__(self) -> str:
        return "; ".join(
            edge_name(node, port) + ("" if at in (None, EVERYWHERE) else f" [{at}]") for node, port, at in self
        )


def _order(item: tuple[Spot, int]) -> tuple[OutputNode, str]:
    return item[0][0], str(item[0][1])


def _except(at: Position | None, gone: Position | None) -> Position | None:
    """A position without another; one that is neither all tokens nor all but some has none in common with it."""
    if at is None or gone is None or at.kind not in ("all", "except"):
        return at
    parts = at.parts if at.kind == "except" else ()
    return Position("except", parts=tuple(dict.fromkeys((*parts, gone))))


@lru_cache(maxsize=64)
def shared_ports(ports: Ports) -> int:
    """All keys and values."""
    return ports.mask(
        Port(kind, layer, head)
        for layer in range(ports.layers)
        for kind in ("k", "v")
        for head in range(ports.kv_heads)
    )


def edge_name(node: OutputNode, port: Port) -> str:
    """An edge as files and reports name it."""
    return f"{node} -> {port}"


def every_edge(facts: Facts, kinds: Iterable[str], positions: Sequence[Position] | None = None) -> EdgeSet | None:
    """All edges of a network whose senders are of some kinds; None where its components are not known."""
    nodes = universe(facts, kinds)
    if nodes is None or facts.traits.no_edges is not None:
        return None
    ports = ports_of(facts)
    found = (((node, EVERYWHERE), receivers_of(node, ports)) for node in nodes)
    return EdgeSet.make(ports, found).at(positions)


def among(spots: Iterable[Spot], ports: Ports) -> EdgeSet:
    """All edges among some nodes, and from them to the logits: of a node at a token those at that token."""
    every = list(spots)
    into = ports.mask(port for node, _ in every for port in ports_at(node, ports)) | ports.mask([Port("logits")])
    return EdgeSet.make(ports, ((spot, receivers_of(spot[0], ports) & into) for spot in every))


def nodes_at(port: Port, ports: Ports) -> tuple[OutputNode, ...]:
    """The nodes that read by a port: of a key or a value all heads that share it."""
    if port.kind == "logits":
        return ()
    if port.kind == "mlp":
        return (OutputNode("mlp", port.layer),)
    if port.kind == "q":
        return (OutputNode("head", port.layer, port.head),)
    first = port.head * ports.shared
    return tuple(OutputNode("head", port.layer, first + turn) for turn in range(ports.shared))


def ports_at(node: OutputNode, ports: Ports, port: str = "") -> tuple[Port, ...]:
    """The ports by which a component reads, or that of them which ``port`` names. Query heads that share a key have one port for it."""
    if node.kind in ("mlp", "neuron"):
        return () if port else (Port("mlp", node.layer),)
    if node.kind != "head":
        return ()
    own: tuple[Port, ...] = (
        Port("q", node.layer, node.index),
        Port("k", node.layer, node.index // ports.shared),
        Port("v", node.layer, node.index // ports.shared),
    )
    return tuple(one for one in own if not port or one.kind == port)


def ports_of_place(place: Place, ports: Ports) -> tuple[Port, ...]:
    """The ports of a site: one port of heads, all of a head, an MLP, or the read-out."""
    site, layer = place.site, place.site.layer
    if site.component == "logits":
        return (Port("logits"),)
    if layer is None or site.dims is not None:
        return ()
    if site.component in HEAD_PORTS:
        return tuple(Port(site.component, layer, head) for head in site.heads)
    if site.component == "z":
        every = site.heads or range(ports.heads)
        return tuple(port for head in every for port in ports_at(OutputNode("head", layer, head), ports))
    return (Port("mlp", layer),) if site.component in ("mlp_in", "mlp_out") else ()


def size_of_edges(edges: EdgeSet, facts: Facts) -> Size:
    """The size of a circuit of edges: the nodes at their ends, and the edges. Each sender is whole, so each edge weighs one."""
    every = every_edge(facts, SENDERS)
    nodes = universe(facts, SENDERS) or ()
    return Size(len(edges.nodes), edges.weight, float(edges.weight), len(nodes), 0 if every is None else every.weight)


def written_along(edges: EdgeSet, whole: bool) -> tuple[tuple[Place, ...], tuple[Reach, ...]]:
    """Where the senders of edges are written, and what each reaches: the heads of a layer at a token as one place; ``whole``:
    with those that send nothing, so that all circuits take their values from the same places."""
    grouped: dict[tuple[Kind, int, Position | None], list[tuple[int, int]]] = defaultdict(list)
    for (node, position), mask in edges.senders:
        grouped[node.kind, node.layer, position].append((node.index, mask))
    places, reached = [], []
    for (kind, layer, position), parts in grouped.items():
        site = Site(SITES[kind], layer if layer >= 0 else None)
        if kind == "head":
            masks = dict(parts)
            heads = tuple(range(edges.ports.heads)) if whole else tuple(sorted(masks))
            places.append(Place(replace(site, heads=heads), position))
            reached.append(Reach(edges.ports, tuple(masks.get(head, 0) for head in heads)))
            continue
        alike: dict[int, list[int]] = defaultdict(list)
        for index, mask in parts:
            alike[mask].append(index)
        for mask, units in alike.items():
            own = replace(site, dims=tuple(sorted(units))) if kind == "neuron" else site
            places.append(Place(own, position))
            reached.append(Reach(edges.ports, (mask,)))
    return tuple(places), tuple(reached)


__all__ = [
    "SENDERS",
    "EdgeSet",
    "EdgeSpot",
    "among",
    "edge_name",
    "every_edge",
    "nodes_at",
    "ports_at",
    "ports_of",
    "ports_of_place",
    "receivers_of",
    "shared_ports",
    "size_of_edges",
    "written_along",
]
