"""`do(outside(c) <- source)`, `do(c = mean)`: actions on circuits to interventions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from causal_dsl.diagnostics import did_you_mean
from causal_dsl.program.ablations import Ablation, all_members, at, choices_of, inside, left_out
from causal_dsl.program.circuit_files import SaidByFiles
from causal_dsl.program.circuit_members import Members, less, size
from causal_dsl.program.circuits import CircuitReader
from causal_dsl.program.dictionaries import NodeParts
from causal_dsl.program.discovery import Searches
from causal_dsl.program.edge_sets import EdgeSet, ports_of, written_along
from causal_dsl.program.empty_circuits import warn_of_nothing_looked_at, warn_of_nothing_outside
from causal_dsl.program.idle_edges import warn_of_idle_edges
from causal_dsl.program.modules import Definition, Module
from causal_dsl.program.nodes import EVERYWHERE, KINDS, Spot, dictionaries_of, kinds_of, of_dictionary, written_at
from causal_dsl.program.parameters import values_of
from causal_dsl.program.paths import run_of, steps
from causal_dsl.program.program import Intervention, NetworkRef
from causal_dsl.program.read_dictionaries import refuse_meeting_nodes
from causal_dsl.program.read_settings import EXAMPLES, call_name, holds
from causal_dsl.program.runs_under import refuse_taken
from causal_dsl.quick_dataclasses import dataclass
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.syntax.substitute import substitute
from causal_dsl.vocabulary.locations import Position
from causal_dsl.vocabulary.network_facts import Facts
from causal_dsl.vocabulary.values.from_run import FromRun
from causal_dsl.vocabulary.values.project_out import ProjectOut
from causal_dsl.vocabulary.written import Value

if TYPE_CHECKING:
    from causal_dsl.diagnostics import Diagnostics
    from causal_dsl.program.actions import ActionReader


@dataclass(frozen=True)
class Circuits:
    """The circuits that a test may name: those of ``module``, each of one of ``networks``. ``likened``: the runs that are
    drawn like another one."""

    module: Module
    networks: Mapping[Definition, NetworkRef]
    likened: frozenset[str] = frozenset()
    searches: Searches | None = None

    def named(self, expr: tree.Expr) -> Iterable[Definition]:
        """The circuits that an expression names."""
        known = self.module.of_kind("circuit")
        return [known[node.name] for node in expr.walk() if isinstance(node, tree.Name) and node.name in known]

    def names(self, expr: tree.Expr) -> bool:
        """Whether an expression speaks of a circuit: `wang.mover`, `outside(wang)`."""
        path = steps(expr)
        if path is None:
            return False
        known, name = self.module.of_kind("circuit"), path[0].name
        return name in known or name == "outside" or (name in ("edges", "nodes") and any(self.named(expr)))

    def are_of(self, network: NetworkRef, expr: tree.Expr, diagnostics: Diagnostics) -> bool:
        """Whether all circuits that an expression names are of the network that runs; reports E802 where one is not."""
        for definition in self.named(expr):
            mine = self.networks.get(definition)
            if mine is None:
                return False  # reported where it is declared
            if mine.key != network.key:
                diagnostics.report(
                    "E802",
                    f"`{definition.name}` is a circuit of `{mine.name}`, and this test runs `{network.name}`",
                    expr.span,
                    others=((definition.span, "declared here"),),
                    help=f"declare a circuit of `{network.name}`",
                )
                return False
        return True

    def parameters(self, actions: Iterable[tree.Node], known: Mapping[str, object]) -> dict[str, tuple[tree.Expr, ...]]:
        """The parameters of the circuits that actions name and do not give: they are swept over, too."""
        found: dict[str, tuple[tree.Expr, ...]] = {}
        circuits = self.module.of_kind("circuit")
        for action in actions if circuits else ():
            for node in action.walk():
                called = call_name(node) if isinstance(node, tree.Call | tree.Name) else None
                definition = circuits.get(called[0]) if called is not None else None
                if definition is None:
                    continue
                declaration = definition.declaration
                assert isinstance(declaration, tree.CircuitDecl | tree.CircuitAs)
                given = node.arguments if isinstance(node, tree.Call) else ()
                fixed = {a.name.name for a in given if a.name is not None}
                order = [p for p in declaration.parameters if p.name.name not in fixed]
                for parameter in order[sum(a.name is None for a in given) :] if not _called(node, action) else ():
                    values = (
                        None
                        if parameter.name.name in known
                        else values_of(parameter, _quiet(), self.networks.get(definition))
                    )
                    found |= {} if values is None else {parameter.name.name: values}
        return found


def _called(node: tree.Node, action: tree.Node) -> bool:
    """Whether a name is that of a call, which is looked at itself."""
    return isinstance(node, tree.Name) and any(isinstance(c, tree.Call) and c.function is node for c in action.walk())


def _quiet() -> Diagnostics:
    from causal_dsl.diagnostics import Diagnostics

    return Diagnostics()


def read_circuit_action(
    action: tree.Interchange | tree.SetTo | tree.AddTo, reader: ActionReader
) -> Intervention | None:
    """The intervention on a circuit, or on what is outside of it; None where a fault was reported."""
    found, circuits, network = reader.diagnostics, reader.circuits, reader.alignment.network
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
    named = reader.circuit_reader(said)
    looked_at: Sequence[Spot] | None = None
    if outside:
        read = _outside(target, reader, named)
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
        scored = [(node, _everywhere(network.facts)) for kept in asked[before:] for node in kept.discovery.nodes]
        looked_at = tuple(dict.fromkeys(scored)) or None
    if not isinstance(members, EdgeSet) and not _stand_together(
        members, looked_at, given, network.facts, outside, expr, found
    ):
        return None
    if not outside and not isinstance(members, EdgeSet) and looked_at is None:
        looked_at = _beside(members, network.facts)
    every = all_members(kinds, positions, members, network.facts, looked_at)
    if every is None and network.facts.kind == "unknown":  # known once it is loaded
        every = EdgeSet(ports_of(network.facts)) if isinstance(members, EdgeSet) else ()
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
    if network.facts.kind != "unknown" and len(asked) == before:
        warn_of_nothing_looked_at(target, expr, bool(members), outside, kept, circuits.module, reader.cell, found)
        if outside and kept:
            warn_of_nothing_outside(target, expr, less(every, kept), circuits.module, reader.cell, found)
    value = _value(action, reader)
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
        warn_of_idle_edges(kept, network.facts, kinds, source, format_expr(expr), expr.span, reader.cell, found)
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


def _everywhere(facts: Facts) -> Position | None:
    return EVERYWHERE if facts.has_tokens else None


def _beside(members: Sequence[Spot], facts: Facts) -> Sequence[Spot] | None:
    """Of a circuit that has nodes of dictionaries and components, all nodes of these dictionaries and its components; None of others."""
    inside = dictionaries_of(node for node, _ in members)
    plain = [spot for spot in members if spot[0].dictionary is None]
    if not inside or not plain:
        return None
    return (*plain, *((node, _everywhere(facts)) for dictionary in inside for node in of_dictionary(dictionary)))


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
    target: tree.Expr, reader: ActionReader, named: CircuitReader
) -> tuple[tree.Expr, tuple[str, ...], tuple[Position, ...] | None, Sequence[Spot] | None] | None:
    """The circuit in `outside(c, among=[head], at=[last])`, the kinds that are looked at, the tokens, and the nodes, where `among` names a
    circuit of them."""
    found = reader.diagnostics
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
    facts = reader.alignment.network.facts
    looked_at: Sequence[Spot] | None = None
    said: tree.Expr | None = None
    if "among" in settings:
        words = {name: value for name, value in reader.cell.items() if isinstance(value, tree.Name)}
        said = substitute(settings["among"].value, words)
        nodes = named.nodes_named(said, reader.circuits.module)
        if nodes is None or not reader.circuits.are_of(reader.alignment.network, said, found):
            return None
        looked_at = nodes if nodes is not False else None
    if said is not None and looked_at is None:
        there = KINDS if facts.kind == "unknown" else kinds_of(facts)
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
        read = [reader.sites.position(item) for item in _items(settings["at"].value)]
        if any(position is None for position in read):
            return None
        positions = tuple(dict.fromkeys(position for position in read if position is not None))
    return plain[0], tuple(dict.fromkeys(kinds)), positions, looked_at


def _items(expr: tree.Expr) -> Sequence[tree.Expr]:
    return expr.items if isinstance(expr, tree.List) else (expr,)


def _value(action: tree.Interchange | tree.SetTo | tree.AddTo, reader: ActionReader) -> Value | None:
    values = reader.values(action.target)
    if isinstance(action, tree.Interchange):
        value = values.source(action.source, ())
        if value is not None and not isinstance(run_of(action.source)[0], tree.Name):
            reader.diagnostics.report(
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


__all__ = ["Circuits", "read_circuit_action", "write"]
