"""`do(outside(c) <- source)`, `do(c = mean)`: actions on circuits to interventions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from causal_dsl.diagnostics import Diagnostics, did_you_mean
from causal_dsl.program.ablations import Ablation, all_members, at, choices_of, inside, left_out
from causal_dsl.program.circuit_files import SaidByFiles
from causal_dsl.program.circuit_members import Members, less, size
from causal_dsl.program.circuits import CircuitReader
from causal_dsl.program.dictionaries import NodeParts
from causal_dsl.program.edge_sets import EdgeSet, written_along
from causal_dsl.program.empty_circuits import warn_of_nothing_looked_at, warn_of_nothing_outside
from causal_dsl.program.idle_edges import warn_of_idle_edges
from causal_dsl.program.nodes import Spot, dictionaries_of, kinds_named, kinds_of, of_dictionary, written_at
from causal_dsl.program.paths import run_of, steps
from causal_dsl.program.program import Intervention
from causal_dsl.program.read_dictionaries import refuse_meeting_nodes
from causal_dsl.program.read_settings import EXAMPLES, holds
from causal_dsl.program.runs_under import refuse_taken
from causal_dsl.program.target_places import InCell
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.syntax.substitute import substitute
from causal_dsl.vocabulary.locations import Position
from causal_dsl.vocabulary.network_facts import Facts
from causal_dsl.vocabulary.values.from_run import FromRun
from causal_dsl.vocabulary.values.project_out import ProjectOut
from causal_dsl.vocabulary.written import Value


def read_circuit_action(action: tree.Interchange | tree.SetTo | tree.AddTo, here: InCell) -> Intervention | None:
    """The intervention on a circuit, or on what is outside of it; None where a fault was reported."""
    found, circuits, network = here.diagnostics, here.circuits, here.alignment.network
    target, expr = action.target, action.target
    path = steps(target)
    outside = path is not None and path[0].name == "outside"
    if action.via is not None:
        title = "a circuit is written whole, and through no feature"
        found.report("E803", title, action.via.span, help="leave `via` out")
        return None
    kinds: tuple[str, ...] = kinds_of(network.facts)
    positions: tuple[Position, ...] | None = None
    said = SaidByFiles()
    named = here.circuit_reader(said)
    looked_at: Sequence[Spot] | None = None
    if outside:
        read = _outside(target, here, named)
        if read is None:
            return None
        expr, given, positions, looked_at = read
        kinds = given or kinds
    else:
        given = ()
    if not circuits.are_of(network, expr, found):
        return None
    asked = circuits.searches.asked if circuits.searches is not None else []
    before = len(asked)
    members = named.members(expr, circuits.module)
    if members is None:
        return None
    if looked_at is None and not given:
        scored = [(node, network.facts.traits.everywhere) for kept in asked[before:] for node in kept.discovery.nodes]
        looked_at = tuple(dict.fromkeys(scored)) or None
    if not isinstance(members, EdgeSet) and not _stand_together(
        members, looked_at, given, network.facts, outside, expr, found
    ):
        return None
    if not outside and not isinstance(members, EdgeSet) and looked_at is None:
        looked_at = _beside(members, network.facts)
    every = all_members(kinds, positions, members, network.facts, looked_at)
    if every is None:
        found.report(
            "E810",
            f"the components of `{network.name}` are not known",
            expr.span,
            notes=("its layers are not known, or its heads cannot be told apart",),
            help="intervene on sites instead: do(layer[3].mlp_out[last] = mean)",
        )
        return None
    kept = inside(members, every, positions, network.facts)
    if network.facts.traits.seen and len(asked) == before:
        warn_of_nothing_looked_at(target, expr, bool(members), outside, kept, circuits.module, here.cell, found)
        if outside and kept:
            warn_of_nothing_outside(target, expr, less(every, kept), circuits.module, here.cell, found)
    value = _value(action, here)
    if value is None or _refuse_under(value, action, len(asked) > before, found):
        return None
    # a value that is made from what a sender gives lets some of it flow on along the edges that are written
    alone = not value.changes and not isinstance(action, tree.AddTo)
    if (
        outside
        and isinstance(kept, EdgeSet)
        and positions is None
        and not said.scores
        and len(asked) == before
        and alone
    ):
        source = isinstance(value, FromRun) and not value.under
        warn_of_idle_edges(kept, network.facts, kinds, source, format_expr(expr), expr.span, here.cell, found)
    ablation = Ablation(
        format_expr(expr),
        kept,
        every,
        outside,
        value,
        choices_of(
            value,
            _told(action),
            kinds,
            kept,
            every,
            outside,
            getattr(value, "role", "") in circuits.likened,
            isinstance(action, tree.AddTo),
        ),
        _text(action),
        size(kept, network.facts, every).share,
        tuple(dict.fromkeys(asked[before:])),
        tuple(said.scores.items()),
        isinstance(action, tree.AddTo),
        tuple(said.weights.items()),
        left_out(members, kept) if given or looked_at is not None else 0,
    )
    return replace(write(ablation, ablation.written(kept)), span=action.span, circuit=ablation)


def write(ablation: Ablation, members: Members, value: Value | None = None) -> Intervention:
    """The intervention that writes these nodes, or along these edges; ``value``: another one than the ablation's. Where there are
    none, every one is written as it is in the base."""
    if not members:
        members, value = ablation.every, FromRun("base", ())
    if isinstance(members, EdgeSet):
        places, reached = written_along(members, whole=True)
        nodes: tuple[NodeParts | None, ...] = ()
    else:
        whole = ablation.value if value is None else value
        placed = written_at(members, apart=any(True for _ in whole.find(ProjectOut)))
        places, reached = tuple(place for place, _ in placed), ()
        nodes = tuple(parts for _, parts in placed)
    add = ablation.add and value is None
    value = at(ablation.value if value is None else value, places)
    return Intervention(places, value, add, text=ablation.text, to=reached, nodes=nodes if any(nodes) else ())


def _beside(members: Sequence[Spot], facts: Facts) -> Sequence[Spot] | None:
    """Of a circuit that has nodes of dictionaries and components, all nodes of these dictionaries and its components; None of others."""
    inside = dictionaries_of(node for node, _ in members)
    plain = [spot for spot in members if spot[0].dictionary is None]
    if not inside or not plain:
        return None
    return (*plain, *((node, facts.traits.everywhere) for dictionary in inside for node in of_dictionary(dictionary)))


def _stand_together(
    members: Sequence[Spot],
    looked_at: Sequence[Spot] | None,
    given: Sequence[str],
    facts: Facts,
    outside: bool,
    expr: tree.Expr,
    found: Diagnostics,
) -> bool:
    """Whether nodes of dictionaries and of components can be written in one run, and it is said which of them are looked at (E951, E953)."""
    inside = any(node.dictionary is not None for node, _ in members)
    every = [node for node, _ in (*members, *(looked_at or ()))]
    if refuse_meeting_nodes(every, facts, expr.span, found):
        return False
    plain = any(node.dictionary is None for node, _ in members)
    if not inside or looked_at is not None or (not given and not plain) or not outside:
        return True
    found.report(
        "E953",
        "this circuit has nodes of dictionaries, and the spec does not say which nodes are looked at",
        expr.span,
        notes=("they are not a kind of component",) if given else ("it has components, too",),
        help="name all nodes that are looked at as a circuit: outside(c, among=every)",
    )
    return False


def _outside(
    target: tree.Expr, here: InCell, named: CircuitReader
) -> tuple[tree.Expr, tuple[str, ...], tuple[Position, ...] | None, Sequence[Spot] | None] | None:
    """The circuit in `outside(c, among=[head], at=[last])`, the kinds that are looked at, the tokens, and the nodes, where `among` names a
    circuit of them."""
    found = here.diagnostics
    plain = [a.value for a in target.arguments if a.name is None] if isinstance(target, tree.Call) else []
    settings = {a.name.name: a for a in target.arguments if a.name is not None} if isinstance(target, tree.Call) else {}
    unknown = next((name for name in settings if name not in ("among", "at")), None)
    if len(plain) != 1 or unknown is not None:
        title = "`outside` takes one circuit" if len(plain) != 1 else f"`outside` has no setting `{unknown}`"
        found.report(
            "E803", title, target.span, help="write outside(c), outside(c, among=[head]) or outside(c, at=[last])"
        )
        return None
    if not all(holds("outside", name, one.value, EXAMPLES[name], found) for name, one in settings.items()):
        return None
    kinds: tuple[str, ...] = ()
    facts = here.alignment.network.facts
    looked_at: Sequence[Spot] | None = None
    said: tree.Expr | None = None
    if "among" in settings:
        words = {name: value for name, value in here.cell.items() if isinstance(value, tree.Name)}
        said = substitute(settings["among"].value, words)
        nodes = named.nodes_named(said, here.circuits.module)
        if nodes is None or not here.circuits.are_of(here.alignment.network, said, found):
            return None
        looked_at = nodes if nodes is not False else None
    if said is not None and looked_at is None:
        there = kinds_named(facts, parts=False)
        for item in _items(said):
            if not isinstance(item, tree.Name) or item.name not in there:
                found.report(
                    "E803",
                    f"`{format_expr(item)[:60]}` is not a kind of component here",
                    item.span,
                    help=did_you_mean(format_expr(item), there, "there is " + ", ".join(f"`{k}`" for k in there)),
                )
                return None
            kinds = (*kinds, item.name)
    positions: tuple[Position, ...] | None = None
    if "at" in settings:
        read = [here.sites.position(item) for item in _items(settings["at"].value)]
        if any(position is None for position in read):
            return None
        positions = tuple(dict.fromkeys(position for position in read if position is not None))
    return plain[0], tuple(dict.fromkeys(kinds)), positions, looked_at


def _items(expr: tree.Expr) -> Sequence[tree.Expr]:
    return expr.items if isinstance(expr, tree.List) else (expr,)


def _value(action: tree.Interchange | tree.SetTo | tree.AddTo, here: InCell) -> Value | None:
    values = here.values(action.target)
    if isinstance(action, tree.Interchange):
        value = values.source(action.source, ())
        if value is not None and not isinstance(run_of(action.source)[0], tree.Name):
            here.diagnostics.report(
                "E803",
                "a circuit takes its values from a run, each node its own",
                action.source.span,
                help=f"write `{value.role}` alone",
            )
            return None
        return value
    return values.value(action.value, ())


def _refuse_under(
    value: Value,
    action: tree.Interchange | tree.SetTo | tree.AddTo,
    discovered: bool,
    found: Diagnostics,
) -> bool:
    """Report E859 where a circuit that is discovered would take values from a run in which something is written."""
    taken = next((run for run in value.find(FromRun) if run.under), None)
    if taken is None or not discovered:
        return False
    span = action.source.span if isinstance(action, tree.Interchange) else action.value.span
    refuse_taken("a circuit that is discovered", span, taken.role, found)
    return True


def _told(action: tree.Interchange | tree.SetTo | tree.AddTo) -> str:
    return format_expr(action.source if isinstance(action, tree.Interchange) else action.value)


def _text(action: tree.Interchange | tree.SetTo | tree.AddTo) -> str:
    sign = "<-" if isinstance(action, tree.Interchange) else "+=" if isinstance(action, tree.AddTo) else "="
    return f"{format_expr(action.target)} {sign} {_told(action)}"


__all__ = ["read_circuit_action", "write"]
