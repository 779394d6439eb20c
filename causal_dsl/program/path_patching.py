"""`do(a -> b.v -> c.q <- source, mlp = recompute)`: what flows along a path alone, through MLPs that are computed anew or held.

A path is patched in as many runs as it has edges (path patching: Wang et al. 2023; Goldowsky-Dill et al. 2023). In each the components
that an edge begins at are changed, and all other heads are held as they are in the base run, and all MLPs too where they are frozen; what
the edge ends at is read there, and written in the next run. In the last run everything after the path is computed from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.program.ablations import at, choices_of_edges
from causal_dsl.program.circuit_edges import refuse_edges
from causal_dsl.program.circuit_sites import PORTS
from causal_dsl.program.circuits import CircuitReader
from causal_dsl.program.edge_sets import ports_at, ports_of
from causal_dsl.program.nodes import EVERYWHERE, OutputNode, Spot, places_of
from causal_dsl.program.paths import steps
from causal_dsl.program.program import Intervention
from causal_dsl.program.read_edges import Receivers, read_along, read_receivers, read_senders, refuse_flow, told_along
from causal_dsl.program.read_sites import SITE_HEADS
from causal_dsl.program.target_places import InCell, variable_of
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.vocabulary.locations import Place, Position, Site
from causal_dsl.vocabulary.ports import Port
from causal_dsl.vocabulary.values.from_run import FromRun
from causal_dsl.vocabulary.written import Value

Mlps = Literal["freeze", "recompute"]
#: What the MLPs between the ends of an edge do.
CHOICES: tuple[Mlps, ...] = ("freeze", "recompute")


@dataclass(frozen=True)
class _Stage:
    """An edge of a path: the components that it begins at, and by what it is read, at which tokens."""

    senders: tuple[Spot, ...]
    received: Receivers


def is_setting(action: tree.Node, here: InCell) -> bool:
    """Whether an action of a test is `mlp = recompute`, which says how its path is patched."""
    if not isinstance(action, tree.SetTo) or action.via is not None or not isinstance(action.target, tree.Name):
        return False
    name = action.target.name
    return name == "mlp" and variable_of(action.target, here) is None and not here.circuits.names(action.target)


def read_setting(
    settings: Sequence[tree.SetTo], actions: Sequence[tree.Node], here: InCell
) -> tuple[bool, Mlps | None]:
    """The choice for the MLPs, and whether it is no fault."""
    if not settings:
        return True, None
    first, value = settings[0], settings[0].value
    chosen = value.name if isinstance(value, tree.Name) else ""
    choice = next((one for one in CHOICES if one == chosen), None)
    if choice is None:
        here.diagnostics.report(
            "E890",
            f"`mlp` cannot be `{format_expr(value)[:60]}`",
            value.span,
            notes=(
                "the MLPs between the ends of an edge are held as they are in the base run, or computed from what is patched",
            ),
            help="write mlp = freeze, or mlp = recompute",
        )
        return False, None
    paths = [action for action in actions if isinstance(action, tree.PatchPath)]
    if len(settings) > 1 or not paths:
        here.diagnostics.report(
            "E891",
            "this test patches no path" if not paths else "`mlp` is set twice",
            settings[-1].span,
            notes=("`mlp` says what the MLPs along a path do, and nothing else",) if not paths else (),
            help="write do(layer[0].head[1] -> layer[2].head[0].q <- source, mlp = recompute)"
            if not paths
            else f"keep `mlp = {format_expr(first.value)}`",
        )
        return False, None
    return True, choice


def stands_alone(actions: Sequence[tree.Node], mlps: Mlps | None, here: InCell) -> bool:
    """Whether a path that takes several runs is all that a test does (else E892)."""
    paths = (action for action in actions if isinstance(action, tree.PatchPath))
    path = next((action for action in paths if mlps == "recompute" or action.through), None)
    if path is None or len(actions) == 1:
        return True
    here.diagnostics.report(
        "E892",
        "a path of several edges, or one whose MLPs are computed anew, is all that a test does",
        path.span,
        help="make a test for each path",
    )
    return False


def read_path(action: tree.PatchPath, here: InCell, mlps: Mlps) -> tuple[Intervention, ...] | None:
    """The interventions that patch what flows along a path; None where a fault was reported."""
    network, found = here.alignment.network, here.diagnostics
    if refuse_edges(network.facts, action.span, found):
        return None
    circuits = here.circuit_reader()
    stages = _stages(action, here, circuits)
    value = read_along(action, () if stages is None else places_of(stages[0].senders), here)
    if value is None or stages is None:
        return None
    chain = " -> ".join(map(format_expr, (action.sender, *action.through, action.receiver)))
    text = f"{chain} {'=' if action.sets else '<-'} {format_expr(action.source)}, mlp = {mlps}"
    path = _Path(here, mlps, action, text)
    writes: tuple[Intervention, ...] = (path.write(places_of(stages[0].senders), value),)
    for number, stage in enumerate(stages):
        run = (*writes, *path.held(stage, number > 0))
        if stage.received[0][0].kind == "logits":
            writes = run
            break
        taken = FromRun("base", (), tuple(run))
        writes = (path.write(_sites(stage.received), taken),)
        if number + 1 < len(stages):
            writes += path.others(stages[number + 1].senders, stage.received)
    choices = choices_of_edges(stages[0].senders, value, *told_along(action, value, here), len(stages), mlps)
    return (replace(writes[0], choices=choices), *writes[1:])


def _stages(action: tree.PatchPath, here: InCell, circuits: CircuitReader) -> list[_Stage] | None:
    """The edges of a path."""
    ends = (action.sender, *action.through, action.receiver)
    stages = []
    facts = here.alignment.network.facts
    for number in range(len(ends) - 1):
        senders = _senders(ends[number], here, circuits, number > 0)
        received = read_receivers(ends[number + 1], here, circuits)
        if senders is None or received is None:
            return None
        logits = [port for port, _ in received if port.kind == "logits"]
        if logits and (len(received) > 1 or number + 2 < len(ends)):
            here.diagnostics.report(
                "E892",
                "a path ends at the logits, or goes on, not both",
                ends[number + 1].span,
                help="make a test for each path",
            )
            return None
        if refuse_flow(senders, received, facts, action.span, here.diagnostics):
            return None
        stages.append(_Stage(senders, received))
    return stages


def _senders(expr: tree.Expr, here: InCell, circuits: CircuitReader, inside: bool) -> tuple[Spot, ...] | None:
    """The components that an edge begins at. ``inside``: an edge before it ends there, at what they read: `layer[1].head[0].v` is the
    value of all query heads that share it, and `movers.v` that of the movers, which alone send on."""
    if not inside:
        return read_senders(expr, here, circuits)
    path = steps(expr)
    if path and path[0].name in SITE_HEADS:
        spots = circuits.outputs(expr, edge=True)
        reads = path[-1].name in (*PORTS, "mlp_in")
        return tuple((node, EVERYWHERE) for node, _ in spots) if spots and reads else spots
    inner = expr.value if isinstance(expr, tree.Subscript) else expr
    bare = inner.value if isinstance(inner, tree.Attribute) and inner.name.name in PORTS else expr
    return read_senders(bare, here, circuits)


def _sites(received: Receivers) -> tuple[Place, ...]:
    """Where what is read by some ports can be written."""
    return tuple(
        Place(
            Site("mlp_in", port.layer) if port.kind == "mlp" else Site(port.kind, port.layer, (port.head,)),
            position or EVERYWHERE,
        )
        for port, position in received
    )


@dataclass(frozen=True)
class _Path:
    here: InCell
    mlps: Mlps
    action: tree.PatchPath
    text: str

    def write(self, places: tuple[Place, ...], value: Value) -> Intervention:
        """The intervention that writes a value at places, each its own."""
        return Intervention(places, at(value, places), text=self.text, span=self.action.span)

    def held(self, stage: _Stage, inside: bool) -> tuple[Intervention, ...]:
        """The interventions that hold what may change between the ends of an edge, but for where it begins, as it is in the base run.
        ``inside``: it begins at what an edge before it ends at, so that heads which share a key or a value may change beside it."""
        facts = self.here.alignment.network.facts
        senders = {node for node, _ in stage.senders}
        first = min(node.layer for node in senders)
        last = max(
            (facts.layers or 0) if port.kind == "logits" else port.layer + (port.kind == "mlp")
            for port, _ in stage.received
        )
        places = []
        for layer in range(max(0, first), min(last, facts.layers or 0)):
            if layer > first or inside:
                heads = tuple(h for h in range(facts.heads or 0) if OutputNode("head", layer, h) not in senders)
                places += [Place(Site("z", layer, heads), EVERYWHERE)] if heads else []
            if inside:
                places += _elsewhere([spot for spot in stage.senders if spot[0].layer == layer])
            sends = any(node.kind in ("mlp", "neuron") and node.layer == layer for node in senders)
            reads = any(port.kind == "mlp" and port.layer == layer for port, _ in stage.received)
            if self.mlps == "freeze" and not sends and not (reads and layer == last - 1):
                places.append(Place(Site("mlp_out", layer), EVERYWHERE))
        return (self.write(tuple(places), FromRun("base", ())),) if places else ()

    def others(self, senders: Sequence[Spot], received: Receivers) -> tuple[Intervention, ...]:
        """The interventions that hold all else that the components in the middle of a path read as it is in the base run."""
        every = ports_of(self.here.alignment.network.facts)
        reads = dict.fromkeys(port for node, _ in senders for port in ports_at(node, every))
        at_tokens: dict[Port, list[Position | None]] = {port: [] for port in reads}
        for port, position in received:
            at_tokens.setdefault(port, []).append(position)
        held = [(port, _except(tokens)) for port, tokens in at_tokens.items() if None not in tokens]
        return (self.write(_sites(tuple(held)), FromRun("base", ())),) if held else ()


def _except(tokens: Sequence[Position | None]) -> Position | None:
    """All tokens but some."""
    named = tuple(position for position in tokens if position is not None)
    return Position("except", parts=named) if named else None


def _elsewhere(senders: Sequence[Spot]) -> list[Place]:
    """Where components that send at some tokens alone give something at others."""
    at_tokens: dict[OutputNode, list[Position | None]] = {}
    for node, position in senders:
        at_tokens.setdefault(node, []).append(None if position == EVERYWHERE else position)
    away = [(node, _except(tokens)) for node, tokens in at_tokens.items() if None not in tokens]
    return list(places_of(away))


__all__ = ["CHOICES", "Mlps", "is_setting", "read_path", "read_setting", "stands_alone"]
