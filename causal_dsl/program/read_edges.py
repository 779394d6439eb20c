"""`do(a -> b.q <- source)`: actions on edges to interventions whose values reach some receivers alone."""

from __future__ import annotations

from causal_dsl.diagnostics import Diagnostics, Span
from causal_dsl.program.ablations import at, choices_of_edges
from causal_dsl.program.circuit_edges import refuse_edges, report_no_flow
from causal_dsl.program.circuit_sites import PORTS
from causal_dsl.program.circuits import CircuitReader
from causal_dsl.program.edge_sets import EdgeSet, ports_at, ports_of, ports_of_place, receivers_of, written_along
from causal_dsl.program.nodes import EVERYWHERE, Spot
from causal_dsl.program.paths import steps
from causal_dsl.program.program import Intervention
from causal_dsl.program.read_dictionaries import refuse_dictionaries
from causal_dsl.program.read_sites import SITE_HEADS
from causal_dsl.program.target_places import InCell
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.vocabulary.locations import Place, Position
from causal_dsl.vocabulary.network_facts import Facts
from causal_dsl.vocabulary.ports import Port
from causal_dsl.vocabulary.values.from_run import FromRun
from causal_dsl.vocabulary.written import Value

#: Receivers, and the tokens at which each reads (None: whatever the sender's are).
Receivers = tuple[tuple[Port, Position | None], ...]


def read_edge(action: tree.PatchPath, here: InCell) -> Intervention | None:
    """The intervention on an edge, or on those from all of a group to all of another; None where a fault was reported."""
    network, found = here.alignment.network, here.diagnostics
    if refuse_edges(network.facts, action.span, found):
        return None
    circuits = here.circuit_reader()
    senders = read_senders(action.sender, here, circuits)
    received = read_receivers(action.receiver, here, circuits)
    if senders is None or received is None:
        read_along(action, (), here)
        return None
    if refuse_dictionaries((node for node, _ in senders), "send along no edge", action.span, found):
        return None
    if refuse_flow(senders, received, network.facts, action.span, found):
        return None
    every = ports_of(network.facts)
    ends = ((node, own, port, there) for node, own in senders for port, there in received)
    edges = EdgeSet.of(every, ((node, port, own if there is None else there) for node, own, port, there in ends))
    places, reached = written_along(edges, whole=False)
    value = read_along(action, places, here)
    if value is None:
        return None
    sign = "=" if action.sets else "<-"
    text = f"{format_expr(action.sender)} -> {format_expr(action.receiver)} {sign} {format_expr(action.source)}"
    spots = [spot for spot, _ in edges.senders]
    choices = choices_of_edges(spots, value, *told_along(action, value, here))
    return Intervention(places, at(value, places), text=text, span=action.span, to=reached, choices=choices)


def read_along(action: tree.PatchPath, places: tuple[Place, ...], here: InCell) -> Value | None:
    """The value that the senders of edges, or of a path, at some places would give instead; None where a fault was reported."""
    values = here.values(action.sender)
    return values.value(action.source, places) if action.sets else values.source(action.source, ())


def told_along(action: tree.PatchPath, value: Value, here: InCell) -> tuple[str, bool | None]:
    """The value that flows along edges, in words, and whether it is of a run that is made from the base (None: of no run)."""
    if not isinstance(value, FromRun) or action.sets:
        return format_expr(action.source), None
    return format_expr(action.source) if value.under else value.role, value.role in here.circuits.likened


def refuse_flow(senders: tuple[Spot, ...], received: Receivers, facts: Facts, span: Span, found: Diagnostics) -> bool:
    """Report ends of an edge between which nothing flows (E801)."""
    every = ports_of(facts)
    for node, own in senders:
        for port, position in received:
            if not receivers_of(node, every) & 1 << every.number(port):
                report_no_flow(node, port, facts, span, found)
                return True
            if position is not None and own not in (None, EVERYWHERE, position):
                found.report(
                    "E801",
                    f"an edge stays at its token: {node} is named at `{own}`, and what receives it at `{position}`",
                    span,
                    notes=("a component reads the residual stream at the token that it is computed for",),
                    help="name one position, or leave it out at one of the ends",
                )
                return True
    return False


def read_senders(expr: tree.Expr, here: InCell, circuits: CircuitReader) -> tuple[Spot, ...] | None:
    """The outputs that an edge begins at."""
    if here.circuits.names(expr):
        if not here.circuits.are_of(here.alignment.network, expr, here.diagnostics):
            return None
        return circuits.spots(expr, here.circuits.module)
    return circuits.outputs(expr)


def read_receivers(expr: tree.Expr, here: InCell, circuits: CircuitReader) -> Receivers | None:
    """The ports that an edge ends at, and the tokens that are named there."""
    facts = here.alignment.network.facts
    path = steps(expr)
    if path and path[0].name in SITE_HEADS:
        spread = here.sites.spread(expr, whole=True)
        if spread is None:
            return None
        places = spread.places
        ports = [port for place in places for port in ports_of_place(place, ports_of(facts))]
        gives = any(place.site.component == "mlp_out" for place in places)
        if not ports or gives:
            title = "is what an MLP gives, and reads nothing" if gives else "does not read the residual stream"
            here.diagnostics.report(
                "E800",
                f"`{format_expr(expr)[:60]}` {title}",
                expr.span,
                help="an edge ends where the MLP reads: write mlp_in for mlp_out"
                if gives
                else "an edge ends at head[…].q, .k or .v, at mlp_in, or at logits",
            )
            return None
        position = places[0].position
        named = bool(path[-1].indices) and path[-1].name not in ("head",) and path[-1].name != "layer"
        return tuple((port, _there(position if named else None)) for port in dict.fromkeys(ports))
    last = path[-1] if path else None
    port_name = last.name if last is not None and last.name in PORTS else ""
    inner: tree.Expr = expr
    position = None
    if port_name:
        assert last is not None
        if last.indices:
            position = here.sites.position(last.indices[0])
            if position is None:
                return None
            inner = expr.value if isinstance(expr, tree.Subscript) else expr
        inner = inner.value if isinstance(inner, tree.Attribute) else inner
    if not here.circuits.names(inner) or not here.circuits.are_of(here.alignment.network, inner, here.diagnostics):
        if not here.circuits.names(inner):
            circuits.outputs(inner)
        return None
    spots = circuits.spots(inner, here.circuits.module)
    if spots is None:
        return None
    read = [
        (port, _there(own if position is None else position))
        for node, own in spots
        for port in ports_at(node, ports_of(facts), port_name)
    ]
    if not read:
        here.diagnostics.report(
            "E800",
            f"`{format_expr(expr)[:60]}` does not read the residual stream",
            expr.span,
            help="an edge ends at a head or an MLP: group.q, or group alone",
        )
        return None
    return tuple(dict.fromkeys(read))


def _there(position: Position | None) -> Position | None:
    """The tokens at which a receiver is named to read: None where it is at all tokens."""
    return None if position == EVERYWHERE else position


__all__ = ["Receivers", "read_along", "read_edge", "read_receivers", "read_senders", "refuse_flow", "told_along"]
