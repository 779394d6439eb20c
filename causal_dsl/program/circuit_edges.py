"""The edges of a circuit: what its lines `mover -> later.q -> logits` and its files say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostics, Span
from causal_dsl.program.circuit_sites import CircuitSites
from causal_dsl.program.edge_sets import EdgeSet, ports_at, ports_of, ports_of_place, receivers_of
from causal_dsl.program.facts import layout_of
from causal_dsl.program.nodes import EVERYWHERE, OutputNode, Spot
from causal_dsl.program.paths import steps
from causal_dsl.program.read_dictionaries import refuse_dictionaries
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.vocabulary.locations import Position
from causal_dsl.vocabulary.network_facts import Facts
from causal_dsl.vocabulary.ports import HEAD_PORTS, Port

#: A receiver, and the tokens at which it reads.
Receiver = tuple[Port, Position | None]


@dataclass(frozen=True)
class EdgeEnds:
    """One end of edges: what it sends, and by what it reads. ``loose``: it names many at once (`all`, a range), of which not every
    one need have an edge."""

    senders: tuple[Spot, ...]
    receivers: tuple[Receiver, ...]
    loose: bool
    span: Span


def refuse_edges(facts: Facts, span: Span, found: Diagnostics, help: str = "") -> bool:
    """Report a network that has no edges between its components. ``help``: what to write where no edge is named."""
    if facts.traits.no_edges is not None:
        title, why, instead = facts.traits.no_edges
        found.report("E812", title, span, notes=(why,), help=help or instead)
        return True
    record = layout_of(facts)
    if record is not None and record.norms is not None:
        found.report(
            "E811",
            f"`{facts.architecture}` has no edges between components",
            span,
            notes=(
                "its stream is normed after each addition, so that what a component gives does not stay in it as a term",
            ),
            help=help or "patch the site itself: do(layer[0].head[1].z[last] <- source)",
        )
        return True
    return False


def edges_between(
    first: EdgeEnds, second: EdgeEnds, facts: Facts, span: Span, found: Diagnostics
) -> list[tuple[Spot, int]] | None:
    """The edges from all of one end to all of another along which something flows; None where an end has none (E801)."""
    ports = ports_of(facts)
    made: list[tuple[Spot, int]] = []
    sends: set[OutputNode] = set()
    reads: set[Port] = set()
    for node, own in first.senders:
        after = receivers_of(node, ports)
        for port, there in second.receivers:
            bit = 1 << ports.number(port)
            at = own if there in (None, EVERYWHERE) else there
            if not bit & after or own not in (None, EVERYWHERE, at):
                continue
            made.append(((node, at), bit))
            sends.add(node)
            reads.add(port)
    idle = next((node for node, _ in first.senders if node not in sends), None)
    deaf = next((port for port, _ in second.receivers if port not in reads), None)
    if made and (idle is None or first.loose) and (deaf is None or second.loose):
        return made
    if not first.senders or not second.receivers:
        return made
    node, port = first.senders[0][0] if idle is None else idle, second.receivers[0][0] if deaf is None else deaf
    if 1 << ports.number(port) & receivers_of(node, ports):
        own = next(at for other, at in first.senders if other == node)
        there = next(at for other, at in second.receivers if other == port)
        found.report(
            "E801",
            f"an edge stays at its token: {node} is named at `{own}`, and what receives it at `{there}`",
            span,
            notes=("a component reads the residual stream at the token that it is computed for",),
            help="name one position, or leave it out at one of the ends",
        )
    else:
        report_no_flow(node, port, facts, span, found)
    return None


def report_no_flow(node: OutputNode, port: Port, facts: Facts, span: Span, found: Diagnostics) -> None:
    """Report ends of an edge between which nothing flows (E801)."""
    found.report(
        "E801",
        f"nothing flows from {node} to {port}",
        span,
        notes=(why_not(node, port, facts),),
        help="name a sender that is computed before its receiver reads",
    )


def why_not(node: OutputNode, port: Port, facts: Facts) -> str:
    """Why nothing flows from a component to a receiver."""
    if node.layer > port.layer:
        return f"{node} is computed after layer {port.layer}"
    if facts.parallel and node.layer == port.layer:
        return "attention and MLP of a layer run in parallel here, on the same stream"
    return f"{port} reads the stream before {node} is added to it"


def declared_edges(
    members: Sequence[tree.Edge],
    groups: Mapping[str, tuple[Spot, ...]],
    wide: Mapping[str, bool],
    reader: CircuitSites,
) -> EdgeSet | None:
    """The edges that a circuit declares; None where a fault was reported."""
    facts, found = reader.facts, reader.diagnostics
    made: list[tuple[Spot, int]] = []
    good = True
    for member in members:
        if refuse_edges(facts, member.span, found):
            return None
        ends = [read_end(end, groups, wide, reader, n, len(member.stages)) for n, end in enumerate(member.stages)]
        for first, second in pairwise(ends):
            between = (
                None if first is None or second is None else edges_between(first, second, facts, second.span, found)
            )
            good = good and between is not None
            made += between or ()
    return EdgeSet.make(ports_of(facts), made) if good else None


def read_end(
    end: tree.EdgeEnd,
    groups: Mapping[str, tuple[Spot, ...]],
    wide: Mapping[str, bool],
    reader: CircuitSites,
    number: int,
    count: int,
) -> EdgeEnds | None:
    """One end of a chain of ``count``: the first sends, the last reads, those between them do both."""
    senders: list[Spot] = []
    receivers: list[Receiver] = []
    loose = False
    ports = ports_of(reader.facts)
    for written in end.sites:
        site = with_port(written, reader.cell)
        path = steps(site)
        name = path[0].name if path else ""
        port = ""
        if path and len(path) > 1 and path[-1].name in HEAD_PORTS:
            port = path[-1].name
        spots = reader.nodes_of((site,), groups, edge=True)
        if spots is None:
            return None
        loose = loose or (wide[name] if name in groups else is_wide(site))
        if number == 0 and (port or name == "logits"):
            _refuse_end(site, "is not the output of a component", "an edge begins at a head, an MLP or `embed`", reader)
            return None
        sends = "send along no edge" if number < count - 1 else "read nothing along an edge"
        if refuse_dictionaries((node for node, _ in spots), sends, site.span, reader.diagnostics):
            return None
        if number < count - 1 and refuse_neurons(spots, site.span, reader.diagnostics):
            return None
        senders += spots
        if number == 0:
            continue
        if name in groups:
            read = [(one, at) for node, at in spots for one in ports_at(node, ports, port)]
        else:
            spread = reader.sites.spread(site, whole=True)
            if spread is None:
                return None
            if number == count - 1 and any(place.site.component == "mlp_out" for place in spread.places):
                help = "an edge ends where the MLP reads: write mlp_in for mlp_out"
                _refuse_end(site, "is what an MLP gives, and reads nothing", help, reader)
                return None
            read = [(one, place.position) for place in spread.places for one in ports_of_place(place, ports)]
        if not read:
            help = "an edge ends at head[…].q, .k or .v, at a head, an MLP, or logits"
            _refuse_end(site, "does not read the residual stream", help, reader)
            return None
        receivers += read
    if 0 < number < count - 1 and not senders:
        _refuse_end(end.sites[0], "is not the output of a component", "logits end a chain of edges", reader)
        return None
    return EdgeEnds(tuple(dict.fromkeys(senders)), tuple(dict.fromkeys(receivers)), loose, end.sites[0].span)


def with_port(expr: tree.Expr, cell: Mapping[str, tree.Expr]) -> tree.Expr:
    """An end of an edge with the port that a parameter stands for: `mover.p` as `mover.q`."""
    if isinstance(expr, tree.Subscript):
        return replace(expr, value=with_port(expr.value, cell))
    if not isinstance(expr, tree.Attribute):
        return expr
    meant = cell.get(expr.name.name)
    if isinstance(meant, tree.Name) and meant.name in (*HEAD_PORTS, "mlp_in"):
        return replace(expr, name=replace(expr.name, name=meant.name))
    return expr


def refuse_neurons(spots: Sequence[Spot], span: Span, found: Diagnostics) -> bool:
    """Report single neurons that send along edges of a circuit (E816)."""
    node = next((node for node, _ in spots if node.kind == "neuron"), None)
    if node is None:
        return False
    found.report(
        "E816",
        f"{node} sends along no edge of a circuit",
        span,
        notes=("the edges of a circuit begin at heads, MLPs and the embedding, each as a whole",),
        help=f"name layer[{node.layer}].mlp_out, or patch the edge alone: do({node} -> logits <- source)",
    )
    return True


def is_wide(site: tree.Expr) -> bool:
    """Whether a site names many at once: `layer[0:3]`, `head[all]`."""
    return any(
        isinstance(node, tree.Slice | tree.Range) or (isinstance(node, tree.Name) and node.name == "all")
        for node in site.walk()
    )


def _refuse_end(site: tree.Expr, what: str, help: str, reader: CircuitSites) -> None:
    reader.diagnostics.report("E800", f"`{format_expr(site)[:60]}` {what}", site.span, help=help)


__all__ = [
    "EdgeEnds",
    "declared_edges",
    "edges_between",
    "is_wide",
    "read_end",
    "refuse_edges",
    "refuse_neurons",
    "report_no_flow",
    "why_not",
    "with_port",
]
