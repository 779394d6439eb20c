"""The parts of a circuit: outputs of components at tokens, and the edges between them, counted.

A node is what one component gives to the residual stream (a head, an MLP, the embedding), or one number of it (a neuron). In a
vector network it is one number of the input or of a layer's output. A latent of a dictionary at a site is a node, too, and so is what the
dictionary leaves out (:mod:`causal_dsl.program.dictionaries`). A circuit's size is told in nodes, in edges, and in edges weighted by the share of the sender's neurons that are in it (Mueller et al. 2025, MIB).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, cast, get_args

from causal_dsl.program.components import depth, missing
from causal_dsl.program.dictionaries import Dictionary, NodeParts
from causal_dsl.vocabulary.components import COMPONENTS
from causal_dsl.vocabulary.locations import Place, Position, Site
from causal_dsl.vocabulary.network_facts import Facts
from causal_dsl.vocabulary.plugins import made

Kind = Literal["embed", "head", "mlp", "neuron", "input", "unit", "latent", "feature", "error"]
#: Nodes of dictionaries: a latent, a feature whose numbers are one node, and what a dictionary leaves out.
OF_DICTIONARIES: tuple[Kind, ...] = ("latent", "feature", "error")
#: The kinds of what components give.
KINDS: tuple[Kind, ...] = tuple(kind for kind in get_args(Kind) if kind not in OF_DICTIONARIES)
#: The sites whose vectors are outputs of components, and what of them a node is.
OUTPUTS: dict[str, Kind] = {name: cast(Kind, one.node) for name, one in COMPONENTS.items() if one.node}
#: The same the other way round; `attn_out` is the outputs of all heads of a layer, and of none by itself.
SITES: dict[Kind, str] = {kind: site for site, kind in OUTPUTS.items() if site != "attn_out"}
EVERYWHERE = Position("all")


@dataclass(frozen=True, order=True)
class OutputNode:
    """An output of a component: ``index`` is the head, or the number of a neuron or a unit, or of a latent of a ``dictionary``."""

    kind: Kind
    layer: int = -1
    index: int = -1
    dictionary: Dictionary | None = None

    @property
    def group(self) -> tuple[Kind, int]:
        """Nodes that are numbers of one vector have one group."""
        return (self.kind, self.layer)

    def __str__(self) -> str:
        if self.dictionary is not None:
            name = self.dictionary.name
            return {"latent": f"{name}, latents=[{self.index}])", "error": f"{name}).error()"}.get(
                self.kind, self.dictionary.shown
            )
        match self.kind:
            case "embed":
                return "embed"
            case "head":
                return f"layer[{self.layer}].head[{self.index}]"
            case "mlp":
                return f"layer[{self.layer}].mlp_out"
            case "neuron":
                return f"layer[{self.layer}].neurons[{self.index}]"
            case "input":
                return f"input[{self.index}]"
        return f"layer[{self.layer}].out[{self.index}]"


#: By the stage of nodes (:func:`stage_of`), for each component there the share of it that is in a circuit.
Shares: TypeAlias = "dict[tuple[float, float], dict[object, float]]"
#: A node at a token; None in a vector network.
Spot = tuple[OutputNode, Position | None]


@dataclass(frozen=True)
class Size:
    """How large a circuit is: ``nodes`` of ``of_nodes``, ``edges`` of ``of_edges``, and ``weighted`` edges."""

    nodes: int
    edges: int
    weighted: float
    of_nodes: int
    of_edges: int

    @property
    def share(self) -> float:
        """The weighted edges as a share of all edges."""
        return self.weighted / self.of_edges if self.of_edges else 0.0


def nodes_of(site: Site, facts: Facts) -> tuple[OutputNode, ...] | None:
    """The nodes that a site is the output of; None where it is of no component."""
    kind = OUTPUTS.get(site.component)
    layer = -1 if site.layer is None else site.layer
    if kind is None or (site.dims is not None and kind in ("embed", "head", "mlp")):
        return None
    if kind in ("embed", "mlp"):
        return (OutputNode(kind, layer),)
    if kind == "head":
        return tuple(OutputNode("head", layer, head) for head in site.heads or range(facts.heads or 0))
    if kind == "neuron" and site.dims is None:
        return (OutputNode("mlp", layer),)
    width = facts.mlp_width if kind == "neuron" else facts.widths[layer + 1] if len(facts.widths) > layer + 1 else None
    dims = site.dims if site.dims is not None else None if width is None else tuple(range(width))
    return None if dims is None else tuple(OutputNode(kind, layer, dim) for dim in dims)


def universe(facts: Facts, kinds: Iterable[str], parts: Iterable[OutputNode] = ()) -> tuple[OutputNode, ...] | None:
    """All nodes of some kinds; an MLP of which ``parts`` has neurons is all of its neurons. None where they are not known."""
    found: tuple[OutputNode, ...] | None = made(facts.traits.universe)(facts, set(kinds), parts)
    return found


def of_layers(facts: Facts, wanted: Collection[str], parts: Iterable[OutputNode]) -> tuple[OutputNode, ...] | None:
    """All nodes of a network whose layers read each the one below: the numbers of its input and of each layer but the last."""
    found = []
    for layer, width in enumerate(facts.widths[:-1], -1):
        kind: Kind = "input" if layer < 0 else "unit"
        found += [OutputNode(kind, layer, unit) for unit in range(width)] if kind in wanted else []
    return tuple(found) if len(facts.widths) > 1 else None


def of_stream(facts: Facts, wanted: Collection[str], parts: Iterable[OutputNode]) -> tuple[OutputNode, ...] | None:
    """All nodes of a network whose layers add to a residual stream."""
    if facts.layers is None or facts.heads is None or missing("z", facts) is not None:
        return None
    split = {node.layer for node in parts if node.kind == "neuron"}
    found = [OutputNode("embed")] if "embed" in wanted else []
    for layer in range(facts.layers):
        found += [OutputNode("head", layer, head) for head in range(facts.heads)] if "head" in wanted else []
        if "mlp" in wanted and layer not in split:
            found.append(OutputNode("mlp", layer))
        elif "mlp" in wanted:
            if facts.mlp_width is None:
                return None
            found += [OutputNode("neuron", layer, unit) for unit in range(facts.mlp_width)]
    return tuple(found)


def not_known(facts: Facts, wanted: Collection[str], parts: Iterable[OutputNode]) -> tuple[OutputNode, ...]:
    """No nodes yet: they are known once the network is loaded."""
    return ()


def kinds_of(facts: Facts) -> tuple[Kind, ...]:
    """The kinds of all outputs of a network. The last layer of a vector network is what is read."""
    return cast("tuple[Kind, ...]", facts.traits.nodes)


def kinds_named(facts: Facts, parts: bool = True) -> tuple[Kind, ...]:
    """The kinds of nodes that a spec may name: of a network that nothing is known of, those of any; ``parts``: also what nodes are split into."""
    if not facts.traits.seen:
        return KINDS
    return (*kinds_of(facts), *(cast("tuple[Kind, ...]", facts.traits.parts) if parts else ()))


def refined(spots: Iterable[Spot], split: Iterable[int], facts: Facts) -> tuple[Spot, ...]:
    """The same with every MLP of the layers ``split`` as its neurons."""
    layers, found = set(split), dict[Spot, None]()
    for node, position in spots:
        whole = node.kind == "mlp" and node.layer in layers
        units = range(facts.mlp_width or 0) if whole else ()
        found |= dict.fromkeys((OutputNode("neuron", node.layer, unit), position) for unit in units)
        found |= {} if whole else {(node, position): None}
    return tuple(found)


def without(spots: Iterable[Spot], taken: Iterable[Spot]) -> tuple[Spot, ...]:
    """The spots that are not ``taken``: a node at all tokens without some is the node at the others."""
    away: dict[OutputNode, list[Position | None]] = defaultdict(list)
    for node, position in taken:
        away[node].append(position)
    found = []
    for node, position in spots:
        gone = away.get(node, [])
        if position in gone or EVERYWHERE in gone or None in gone:
            continue
        if position is not None and gone and position.kind in ("all", "except"):
            first = position.parts if position.kind == "except" else ()
            position = Position("except", parts=tuple(dict.fromkeys((*first, *(p for p in gone if p is not None)))))
        found.append((node, position))
    return tuple(found)


def together(spots: Iterable[Spot]) -> tuple[Spot, ...]:
    """Each spot once; a node that is there at all tokens is there once."""
    found = dict.fromkeys(spots)
    whole = {node for node, position in found if position == EVERYWHERE}
    return tuple(spot for spot in found if spot[0] not in whole or spot[1] == EVERYWHERE)


def places_of(spots: Sequence[Spot]) -> tuple[Place, ...]:
    """Where spots are written: the heads of a layer at a token as one place, and so the numbers of one vector."""
    return tuple(place for place, _ in written_at(spots))


def written_at(spots: Sequence[Spot], apart: bool = False) -> tuple[tuple[Place, NodeParts | None], ...]:
    """Where spots are written, and which nodes of a dictionary there (None: what stands at the place). ``apart``: each head by itself, for
    what is written of its own vector."""
    grouped: dict[tuple[Kind, int, Position | None, int], list[int]] = defaultdict(list)
    inside: dict[tuple[Dictionary, Position | None], list[OutputNode]] = defaultdict(list)
    for node, position in spots:
        if node.dictionary is not None:
            inside[node.dictionary, position].append(node)
        else:
            grouped[*node.group, position, node.index if apart and node.kind == "head" else -1].append(node.index)
    found: list[tuple[Place, NodeParts | None]] = []
    for (kind, layer, position, _), indices in grouped.items():
        site = Site(SITES[kind], layer if layer >= 0 else None)
        if kind == "head":
            site = replace(site, heads=tuple(sorted(indices)))
        elif kind in ("neuron", "input", "unit"):
            site = replace(site, dims=tuple(sorted(indices)))
        found.append((Place(site, position), None))
    for (dictionary, position), nodes in inside.items():
        latents = tuple(sorted({node.index for node in nodes if node.kind == "latent"}))
        kinds = {node.kind for node in nodes}
        whole = "feature" in kinds or len(latents) == dictionary.count
        parts = NodeParts(dictionary.whole.feature, () if whole else latents, whole, "error" in kinds)
        found.append((replace(parts.feature.place, position=position), parts))
    return tuple(found)


def of_dictionary(dictionary: Dictionary) -> tuple[OutputNode, ...]:
    """All nodes of a dictionary: its latents, and what it leaves out."""
    layer = -1 if dictionary.site.layer is None else dictionary.site.layer
    error = OutputNode("error", layer, -1, dictionary)
    if dictionary.count is None:
        return (OutputNode("feature", layer, -1, dictionary), error)
    return (*(OutputNode("latent", layer, index, dictionary) for index in range(dictionary.count)), error)


def dictionaries_of(nodes: Iterable[OutputNode]) -> tuple[Dictionary, ...]:
    """The dictionaries that some nodes are of, each once."""
    return tuple(dict.fromkeys(node.dictionary for node in nodes if node.dictionary is not None))


def size_of(spots: Iterable[Spot], facts: Facts, looked_at: Iterable[Spot] = ()) -> Size:
    """The size of a circuit of nodes. Of an edge both ends are in it; a head reads by three (q, k and v), and logits read all. Nodes of
    dictionaries count among all that are ``looked_at``."""
    nodes = {node for node, _ in spots}
    beside = {node for node, _ in looked_at}
    inside = bool(dictionaries_of((*nodes, *beside)))
    every = tuple(nodes | beside) if inside else universe(facts, kinds_of(facts), nodes) or ()
    edges, weighted = edges_among(nodes, facts)
    return Size(len(nodes), edges, weighted, len(every), edges_among(every, facts)[0])


def edges_among(nodes: Iterable[OutputNode], facts: Facts) -> tuple[int, float]:
    """The edges among components of which nodes are there, each once; and weighted by the share of the sender that is there."""
    shares: Shares = defaultdict(lambda: defaultdict(float))
    nodes = list(nodes)
    if any(node.dictionary is not None for node in nodes):
        return _edges_of_nodes(nodes, facts)
    for node in nodes:
        shares[stage_of(node)][node.index if node.kind == "head" else 0] += 1 / _parts(node, facts)
    found: tuple[int, float] = made(facts.traits.edges)(shares, facts)
    return found


def edges_of_layers(shares: Shares, facts: Facts) -> tuple[int, float]:
    """The same where each layer reads the one below it, and the logits the last."""
    count, weight, senders, sent = 0, 0.0, 0, 0.0
    before: dict[float, tuple[int, float]] = {}
    for stage in sorted(shares):
        there = shares[stage]
        senders, sent = before.get(stage[0] - 1, (0, 0.0))
        before[stage[0]] = (len(there), sum(min(1.0, share) for share in there.values()))
        if stage[0] >= 0:
            count += len(there) * senders
            weight += len(there) * sent
    senders, sent = before.get(len(facts.widths) - 3, (0, 0.0))
    return count + senders, weight + sent


def edges_of_stream(shares: Shares, facts: Facts) -> tuple[int, float]:
    """The same where a node reads all that was added to the residual stream before it."""
    count, weight, senders, sent = 0, 0.0, 0, 0.0
    before: dict[float, tuple[int, float]] = {}
    for stage in sorted(shares):
        there = shares[stage]
        if facts.parallel and stage[1] == 1:  # an MLP does not read the heads beside it
            senders, sent = before.get(stage[0], (senders, sent))
        else:
            before[stage[0]] = (senders, sent)
        if stage[0] >= 0:
            reads = 3 if stage[1] == 0 else 1
            count += reads * len(there) * senders
            weight += reads * len(there) * sent
        senders, sent = _so_far(shares, stage)
    return count + senders, weight + sent


def _edges_of_nodes(nodes: Sequence[OutputNode], facts: Facts) -> tuple[int, float]:
    """The same where some nodes are of dictionaries: from each node goes an edge to each of a later place, and to the logits; a head reads by
    three."""
    stages: dict[tuple[float, float], list[OutputNode]] = defaultdict(list)
    for node in nodes:
        stages[stage_of(node)].append(node)
    senders, sent, count, weight = 0, 0.0, 0, 0.0
    for stage in sorted(stages):
        for node in stages[stage]:
            reads = 3 if node.kind == "head" else 0 if node.kind == "embed" else 1
            count += reads * senders
            weight += reads * sent
        senders += len(stages[stage])
        sent += sum(1 / _parts(node, facts) for node in stages[stage])
    return count + senders, weight + sent


def _so_far(shares: Shares, last: tuple[float, float]) -> tuple[int, float]:
    """How many components write up to a stage, and how much of them is there."""
    there = [part for stage, parts in shares.items() if stage <= last for part in parts.values()]
    return len(there), sum(min(1.0, share) for share in there)


def stage_of(node: OutputNode) -> tuple[float, float]:
    """Where on the way to the logits a node stands, so that those before it can reach it: its layer, and in it the heads at 0 and the MLP at
    1. Nodes of a dictionary stand behind what gives their vector."""
    if node.dictionary is None:
        return (node.layer, 1 if node.kind in ("mlp", "neuron") else 0)
    place, heads, mlp = (depth(site) for site in (node.dictionary.site, Site("z", 0), Site("mlp_out", 0)))
    if place is None or heads is None or mlp is None or node.dictionary.site.component in ("out", "input"):
        return (node.layer, 0.5)
    return (node.layer, -0.5 if place[1] < heads[1] else 0.5 if place[1] < mlp[1] else 1.5)


def _parts(node: OutputNode, facts: Facts) -> int:
    """Of how many numbers a node is one."""
    if node.kind == "neuron":
        return facts.mlp_width or 1
    if node.kind in ("input", "unit"):
        return facts.widths[node.layer + 1]
    return 1


__all__ = [
    "EVERYWHERE",
    "KINDS",
    "OF_DICTIONARIES",
    "OUTPUTS",
    "OutputNode",
    "Size",
    "Spot",
    "dictionaries_of",
    "edges_among",
    "edges_of_layers",
    "edges_of_stream",
    "kinds_named",
    "kinds_of",
    "nodes_of",
    "not_known",
    "of_dictionary",
    "of_layers",
    "of_stream",
    "places_of",
    "refined",
    "size_of",
    "stage_of",
    "together",
    "universe",
    "without",
    "written_at",
]
