"""`do(a -> b.v -> c.q <- source, mlp = recompute)`: what flows along a path alone, through MLPs that are computed anew or held.

A path is patched in as many runs as it has edges (path patching: Wang et al. 2023; Goldowsky-Dill et al. 2023). In each the components
that an edge begins at are changed, and all other heads are held as they are in the base run, and all MLPs too where they are frozen; what
the edge ends at is read there, and written in the next run. In the last run everything after the path is computed from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from causal_dsl.program.ablations import at, choices_of_edges
from causal_dsl.program.circuit_edges import refuse_edges
from causal_dsl.program.circuits import PORTS, CircuitReader
from causal_dsl.program.edge_sets import ports_at, ports_of
from causal_dsl.program.nodes import EVERYWHERE, OutputNode, Spot, places_of
from causal_dsl.program.program import Intervention
from causal_dsl.program.read_edges import Receivers, read_along, read_receivers, read_senders, refuse_flow, told_along
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.vocabulary.locations import Place, Position, Site
from causal_dsl.vocabulary.ports import Port
from causal_dsl.vocabulary.values.from_run import FromRun
from causal_dsl.vocabulary.written import Value

if TYPE_CHECKING:
    from causal_dsl.program.actions import ActionReader

Mlps = Literal["freeze", "recompute"]
#: What the MLPs between the ends of an edge do.
CHOICES: tuple[Mlps, ...] = ("freeze", "recompute")


@dataclass(frozen=True)
class _Stage:
    """An edge of a path: the components that it begins at, and by what it is read, at which tokens."""

    senders: tuple[Spot, ...]
    received: Receivers


def is_setting(action: tree.Node, reader: ActionReader) -> bool:
    """Whether an action of a test is `mlp = recompute`, which says how its path is patched."""
    if not isinstance(action, tree.SetTo) or action.via is not None or not isinstance(action.target, tree.Name):
        return False
    name = action.target.name
    return name == "mlp" and reader.variable(action.target) is None and not reader.circuits.names(action.target)


def read_setting(
    settings: Sequence[tree.SetTo], actions: Sequence[tree.Node], reader: ActionReader
) -> tuple[bool, Mlps | None]:
    """What MLPs are said to do; whether that is no fault."""
    if not settings:
        return True, None
    first, value = settings[0], settings[0].value
    chosen = value.name if isinstance(value, tree.Name) else ""
    choice = next((one for one in CHOICES if one == chosen), None)
    if choice is None:
        reader.diagnostics.report(
            "E890",
            f"MLPs are not told to `{format_expr(value)[:60]}`",
            value.span,
            notes=(
                "the MLPs between the ends of an edge are held as they are in the base run, or computed from what is patched",
            ),
            help="write mlp = freeze, or mlp = recompute",
        )
        return False, None
    paths = [action for action in actions if isinstance(action, tree.PatchPath)]
    if len(settings) > 1 or not paths:
        reader.diagnostics.report(
            "E891",
            "this test patches no path" if not paths else "`mlp` is said twice",
            settings[-1].span,
            notes=("`mlp` says what the MLPs along a path do, and nothing else",) if not paths else (),
            help="write do(layer[0].head[1] -> layer[2].head[0].q <- source, mlp = recompute)"
            if not paths
            else f"keep `mlp = {format_expr(first.value)}`",
        )
        return False, None
    return True, choice


def stands_alone(actions: Sequence[tree.Node], mlps: Mlps | None, reader: ActionReader) -> bool:
    """Whether a path that takes several runs is all that a test does (else E892)."""
    paths = (action for action in actions if isinstance(action, tree.PatchPath))
    path = next((action for action in paths if mlps == "recompute" or action.through), None)
    if path is None or len(actions) == 1:
        return True
    reader.diagnostics.report(
        "E892",
        "a path of several edges, or one whose MLPs are computed anew, is all that a test does",
        path.span,
        help="make a test for each path",
    )
    return False


def read_path(action: tree.PatchPath, reader: ActionReader, mlps: Mlps) -> tuple[Intervention, ...] | None:
    """The interventions that patch what flows along a path; None where a fault was reported."""
    network, found = reader.alignment.network, reader.diagnostics
    if refuse_edges(network.facts, action.span, found):
        return None
    circuits = reader.circuit_reader()
    stages = _stages(action, reader, circuits)
    value = read_along(action, () if stages is None else places_of(stages[0].senders), reader)
    if value is None or stages is None:
        return None
    chain = " -> ".join(map(format_expr, (action.sender, *action.through, action.receiver)))
    text = f"{chain} {'=' if action.sets else '<-'} {format_expr(action.source)}, mlp = {mlps}"
    path = _Path(reader, mlps, action, text)
    writes: tuple[Intervention, ...] = (path.write(places_of(stages[0].senders), value),)
    for number, stage in enumerate(stages):
        run = (*writes, *path.held(stage, number > 0))
        ports, position = stage.received
        if ports[0].kind == "logits":
            writes = run
            break
        taken = FromRun("base", (), tuple(run))
        writes = (path.write(_sites(ports, position), taken),)
        if number + 1 < len(stages):
            writes += path.others(stages[number + 1].senders, ports, position)
    choices = choices_of_edges(stages[0].senders, *told_along(action, value, reader), len(stages), mlps)
    return (replace(writes[0], choices=choices), *writes[1:])


def _stages(action: tree.PatchPath, reader: ActionReader, circuits: CircuitReader) -> list[_Stage] | None:
    """The edges of a path."""
    ends = (action.sender, *action.through, action.receiver)
    stages = []
    facts = reader.alignment.network.facts
    for number in range(len(ends) - 1):
        first = ends[number] if number == 0 else _bare(ends[number])
        senders = read_senders(first, reader, circuits)
        received = read_receivers(ends[number + 1], reader, circuits)
        if senders is None or received is None:
            return None
        ports = received[0]
        logits = [port for port in ports if port.kind == "logits"]
        if logits and (len(ports) > 1 or number + 2 < len(ends)):
            reader.diagnostics.report(
                "E892",
                "a path ends at the logits, or goes on, not both",
                ends[number + 1].span,
                help="make a test for each path",
            )
            return None
        if refuse_flow(senders, received, facts, action.span, reader.diagnostics):
            return None
        stages.append(_Stage(senders, received))
    return stages


def _bare(expr: tree.Expr) -> tree.Expr:
    """A component without what of it is read: `mover.q[last]` as `mover`."""
    inner = expr.value if isinstance(expr, tree.Subscript) else expr
    if isinstance(inner, tree.Attribute) and inner.name.name in PORTS:
        return inner.value
    if isinstance(inner, tree.Attribute) and inner.name.name == "mlp_in":
        return replace(inner, name=replace(inner.name, name="mlp_out"))
    return expr


def _sites(ports: Sequence[Port], position: Position | None) -> tuple[Place, ...]:
    """Where what is read by some ports can be written."""
    return tuple(
        Place(
            Site("mlp_in", port.layer) if port.kind == "mlp" else Site(port.kind, port.layer, (port.head,)),
            position or EVERYWHERE,
        )
        for port in ports
    )


@dataclass(frozen=True)
class _Path:
    reader: ActionReader
    mlps: Mlps
    action: tree.PatchPath
    text: str

    def write(self, places: tuple[Place, ...], value: Value) -> Intervention:
        """What writes a value at places, each its own."""
        return Intervention(places, at(value, places), text=self.text, span=self.action.span)

    def held(self, stage: _Stage, inside: bool) -> tuple[Intervention, ...]:
        """What is held as it is in the base run while an edge is read: what may change between its ends, but for where it begins.
        ``inside``: it begins at what an edge before it ends at, so that heads which share a key or a value may change beside it."""
        facts = self.reader.alignment.network.facts
        senders = {node for node, _ in stage.senders}
        first = min(node.layer for node in senders)
        last = max(
            (facts.layers or 0) if port.kind == "logits" else port.layer + (port.kind == "mlp")
            for port in stage.received[0]
        )
        places = []
        for layer in range(max(0, first), min(last, facts.layers or 0)):
            if layer > first or inside:
                heads = tuple(h for h in range(facts.heads or 0) if OutputNode("head", layer, h) not in senders)
                places += [Place(Site("z", layer, heads), EVERYWHERE)] if heads else []
            sends = any(node.kind in ("mlp", "neuron") and node.layer == layer for node in senders)
            reads = any(port.kind == "mlp" and port.layer == layer for port in stage.received[0])
            if self.mlps == "freeze" and not sends and not (reads and layer == last - 1):
                places.append(Place(Site("mlp_out", layer), EVERYWHERE))
        return (self.write(tuple(places), FromRun("base", ())),) if places else ()

    def others(
        self, senders: Sequence[Spot], ports: Sequence[Port], position: Position | None
    ) -> tuple[Intervention, ...]:
        """What else the components in the middle of a path read is held as it is in the base run."""
        every = ports_of(self.reader.alignment.network.facts)
        reads = dict.fromkeys(port for node, _ in senders for port in ports_at(node, every))
        places = list(_sites([port for port in reads if port not in ports], None))
        if position is not None:
            places += _sites(ports, Position("except", parts=(position,)))
        return (self.write(tuple(places), FromRun("base", ())),) if places else ()


__all__ = ["CHOICES", "Mlps", "is_setting", "read_path", "read_setting", "stands_alone"]
