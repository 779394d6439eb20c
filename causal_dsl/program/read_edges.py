"""`do(a -> b.q <- source)`: actions on edges to interventions whose values reach some receivers alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from causal_dsl.program.ablations import at
from causal_dsl.program.circuits import PORTS, CircuitReader
from causal_dsl.program.facts import layout_of
from causal_dsl.program.nodes import EVERYWHERE, OutputNode, Spot, places_of
from causal_dsl.program.paths import steps
from causal_dsl.program.program import Intervention
from causal_dsl.program.read_sites import SITE_HEADS
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.vocabulary.locations import Place, Position
from causal_dsl.vocabulary.network_facts import Facts
from causal_dsl.vocabulary.ports import Port

if TYPE_CHECKING:
    from causal_dsl.program.actions import ActionReader

#: Receivers, and the tokens at which they read (None: whatever the sender's are).
Receivers = tuple[tuple[Port, ...], Position | None]


def read_edge(action: tree.PatchPath, reader: ActionReader) -> Intervention | None:
    """The intervention on an edge, or on those from all of a group to all of another; None where a fault was reported."""
    network, found = reader.alignment.network, reader.diagnostics
    if not network.facts.has_tokens:
        found.report(
            "E812",
            "a vector network has no edges between components",
            action.span,
            notes=("each of its layers reads the one below it, and nothing else",),
            help="patch the site itself: do(layer[1].out[0:2] <- source)",
        )
        return None
    record = layout_of(network.facts)
    if record is not None and record.norms is not None:
        found.report(
            "E811",
            f"`{network.facts.architecture}` has no edges between components",
            action.span,
            notes=(
                "its stream is normed after each addition, so that what a component gives does not stay in it as a term",
            ),
            help="patch the site itself: do(layer[0].head[1].z[last] <- source)",
        )
        return None
    about = reader.alignment
    circuits = CircuitReader(
        network, about.templates, found, reader.cell, about.model, searches=reader.circuits.searches
    )
    senders = _senders(action.sender, reader, circuits)
    received = _receivers(action.receiver, reader, circuits)
    value = reader.values(action.sender).source(action.source, ())
    if senders is None or received is None or value is None:
        return None
    ports, position = received
    for node, own in senders:
        for port in ports:
            if not before(node, port, network.facts):
                found.report(
                    "E801",
                    f"nothing flows from {node} to {port}",
                    action.span,
                    notes=(_why(node, port, network.facts),),
                    help="name a sender that is computed before its receiver reads",
                )
                return None
        if position is not None and own not in (None, EVERYWHERE, position):
            found.report(
                "E801",
                f"an edge stays at its token: {node} is named at `{own}`, and what receives it at `{position}`",
                action.span,
                notes=("a component reads the residual stream at the token that it is computed for",),
                help="name one position, or leave it out at one of the ends",
            )
            return None
    spots = [(node, position if position is not None else own) for node, own in senders]
    places = places_of(spots)
    text = f"{format_expr(action.sender)} -> {format_expr(action.receiver)} <- {format_expr(action.source)}"
    return Intervention(places, at(value, places), text=text, span=action.span, to=ports)


def before(node: OutputNode, port: Port, facts: Facts) -> bool:
    """Whether what a component gives is in the stream when a receiver reads it."""
    if port.kind == "logits":
        return True
    sent = (node.layer, 1 if node.kind in ("mlp", "neuron") else 0)
    return sent < (port.layer, 1 if port.kind == "mlp" and not facts.parallel else 0)


def _why(node: OutputNode, port: Port, facts: Facts) -> str:
    if node.layer > port.layer:
        return f"{node} is computed after layer {port.layer}"
    if facts.parallel and node.layer == port.layer:
        return "attention and MLP of a layer run in parallel here, on the same stream"
    return f"{port} reads the stream before {node} is added to it"


def _senders(expr: tree.Expr, reader: ActionReader, circuits: CircuitReader) -> tuple[Spot, ...] | None:
    """The outputs that an edge begins at."""
    if reader.circuits.names(expr):
        if not reader.circuits.are_of(reader.alignment.network, expr, reader.diagnostics):
            return None
        return circuits.spots(expr, reader.circuits.module)
    return circuits.outputs(expr)


def _receivers(expr: tree.Expr, reader: ActionReader, circuits: CircuitReader) -> Receivers | None:
    """The ports that an edge ends at, and the tokens that are named there."""
    facts = reader.alignment.network.facts
    path = steps(expr)
    if path and path[0].name in SITE_HEADS:
        spread = replace(reader.sites).spread(expr, whole=True)
        if spread is None:
            return None
        places = spread.places
        ports = [port for place in places for port in _ports(place, facts)]
        if not ports:
            reader.diagnostics.report(
                "E800",
                f"`{format_expr(expr)[:60]}` is nothing that reads the residual stream",
                expr.span,
                help="an edge ends at head[…].q, .k or .v, at mlp_in, or at logits",
            )
            return None
        position = places[0].position
        named = bool(path[-1].indices) and path[-1].name not in ("head",) and path[-1].name != "layer"
        return tuple(dict.fromkeys(ports)), position if named and position != EVERYWHERE else None
    last = path[-1] if path else None
    port_name = last.name if last is not None and last.name in PORTS else ""
    inner: tree.Expr = expr
    position = None
    if port_name:
        assert last is not None
        if last.indices:
            position = reader.sites.position(last.indices[0])
            if position is None:
                return None
            inner = expr.value if isinstance(expr, tree.Subscript) else expr
        inner = inner.value if isinstance(inner, tree.Attribute) else inner
    if not reader.circuits.names(inner) or not reader.circuits.are_of(
        reader.alignment.network, inner, reader.diagnostics
    ):
        if not reader.circuits.names(inner):
            circuits.outputs(inner)
        return None
    spots = circuits.spots(inner, reader.circuits.module)
    if spots is None:
        return None
    ports = [port for node, _ in spots for port in _of_node(node, port_name, facts)]
    if not ports:
        reader.diagnostics.report(
            "E800",
            f"`{format_expr(expr)[:60]}` is nothing that reads the residual stream",
            expr.span,
            help="an edge ends at a head or an MLP: group.q, or group alone",
        )
        return None
    return tuple(dict.fromkeys(ports)), position


def _ports(place: Place, facts: Facts) -> tuple[Port, ...]:
    """What is read at a site: one port of heads, all of a head, an MLP, or the read-out."""
    site, layer = place.site, place.site.layer
    if site.component == "logits":
        return (Port("logits"),)
    if layer is None or site.dims is not None:
        return ()
    if site.component in PORTS:
        return tuple(Port(site.component, layer, head) for head in site.heads)  # type: ignore[arg-type]
    if site.component == "z":
        return tuple(port for head in site.heads for port in _of_node(OutputNode("head", layer, head), "", facts))
    return (Port("mlp", layer),) if site.component in ("mlp_in", "mlp_out") else ()


def _of_node(node: OutputNode, port: str, facts: Facts) -> tuple[Port, ...]:
    """What a component reads by. Query heads that share a key have one port for it."""
    if node.kind in ("mlp", "neuron"):
        return () if port else (Port("mlp", node.layer),)
    if node.kind != "head":
        return ()
    shared = max(1, (facts.heads or 1) // (facts.kv_heads or facts.heads or 1))
    own: tuple[Port, ...] = (
        Port("q", node.layer, node.index),
        Port("k", node.layer, node.index // shared),
        Port("v", node.layer, node.index // shared),
    )
    return tuple(one for one in own if not port or one.kind == port)


__all__ = ["before", "read_edge"]
