"""Circuits: what each is made of, by its groups and its edges; sets of them; and those that are read from files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostics, Span, did_you_mean
from causal_dsl.program.circuit_edges import declared_edges, is_wide, refuse_edges, refuse_neurons
from causal_dsl.program.circuit_files import SaidByFiles, read_file
from causal_dsl.program.circuit_members import Members
from causal_dsl.program.circuit_sites import PORTS, CircuitSites
from causal_dsl.program.counts import numbers_of
from causal_dsl.program.definitions import meant
from causal_dsl.program.discovery import read_asked, read_discover
from causal_dsl.program.edge_sets import EdgeSet, among, ports_of
from causal_dsl.program.empty_circuits import warn_of_none
from causal_dsl.program.indices import arithmetic
from causal_dsl.program.modules import Definition, Module
from causal_dsl.program.named_twice import warn_of_twice
from causal_dsl.program.nodes import EVERYWHERE, Spot, refined, together, without
from causal_dsl.program.parameters import one_of, refuse_never, values_of
from causal_dsl.program.paths import SiteStep, steps
from causal_dsl.program.program import NetworkRef
from causal_dsl.program.read_dictionaries import refuse_dictionaries
from causal_dsl.program.read_settings import call_name
from causal_dsl.program.searches import Searches
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.syntax.substitute import substitute
from causal_dsl.vocabulary.locations import Position


@dataclass(frozen=True)
class CircuitNodes:
    """A circuit, resolved: the nodes of each group. One that names edges is its ``edges``; others are their nodes."""

    name: str
    groups: Mapping[str, tuple[Spot, ...]]
    loose: tuple[Spot, ...] = ()
    edges: EdgeSet | None = None

    @property
    def spots(self) -> tuple[Spot, ...]:
        """All of its nodes, each once."""
        return together([*(spot for group in self.groups.values() for spot in group), *self.loose])

    @property
    def members(self) -> Members:
        """Its edges, or its nodes."""
        return self.spots if self.edges is None else self.edges


@dataclass(frozen=True)
class CircuitReader(CircuitSites):
    """Reads circuits of one network as one cell of a test has them."""

    #: what the test discovers; None where a circuit is declared
    searches: Searches | None = None
    #: where it is entered what files say beside members
    said: SaidByFiles | None = None

    # ── sets of nodes and of edges ──────────────────────────────────────────────────────────────

    def spots(self, expr: tree.Expr, module: Module) -> tuple[Spot, ...] | None:
        """The nodes that an expression of circuits names; of edges those at their ends. None where a fault was reported."""
        found = self.members(expr, module)
        if isinstance(found, EdgeSet):
            return tuple((node, EVERYWHERE) for node in found.nodes)
        return found

    def members(self, expr: tree.Expr, module: Module) -> Members | None:
        """The nodes or the edges that an expression of circuits names; None where a fault was reported."""
        if isinstance(expr, tree.Binary) and expr.op in "+-":
            left, right = self.members(expr.left, module), self.members(expr.right, module)
            return None if left is None or right is None else self._joined(left, right, expr)
        called = call_name(expr) if isinstance(expr, tree.Call) else None
        if called is not None and called[0] in ("edges", "nodes") and called[0] not in module.names:
            assert isinstance(expr, tree.Call)
            return self._turned(called[0], expr, module)
        path = steps(expr)
        definition = None if not path else module.names.get(path[0].name)
        if not path or definition is None or definition.kind != "circuit":
            self._no_circuit(expr, module)
            return None
        circuit = self.circuit(definition, path[0].arguments or (), path[0].span)
        if circuit is None:
            return None
        return self._part(circuit, path, expr)

    def _joined(self, left: Members, right: Members, expr: tree.Binary) -> Members | None:
        """The union or the difference. Nodes that are taken from edges take their edges with them."""
        if isinstance(left, EdgeSet):
            if isinstance(right, EdgeSet):
                return left + right if expr.op == "+" else left - right
            if expr.op == "-":
                return left - left.touching(right)
        if isinstance(left, EdgeSet) or isinstance(right, EdgeSet):
            edged = expr.left if isinstance(left, EdgeSet) else expr.right
            self.diagnostics.report(
                "E815",
                "a set of edges and a set of nodes do not join",
                expr.span,
                notes=(f"`{format_expr(edged)[:60]}` is a set of edges",),
                help="write `nodes(c)` for the nodes at the edges of a circuit, or `edges(c)` for all edges among its nodes",
            )
            return None
        split = [node.layer for node, _ in (*left, *right) if node.kind == "neuron"]
        left, right = refined(left, split, self.facts), refined(right, split, self.facts)
        return together((*left, *right)) if expr.op == "+" else without(left, right)

    def _turned(self, name: str, call: tree.Call, module: Module) -> Members | None:
        """`nodes(c)`, the nodes of a circuit, and `edges(c)`, all edges among them and to the logits."""
        if len(call.arguments) != 1 or call.arguments[0].name is not None:
            self.diagnostics.report("E803", f"`{name}` takes one circuit", call.span, help=f"write {name}(c)")
            return None
        inner = self.members(call.arguments[0].value, module)
        if inner is None:
            return None
        if name == "nodes":
            return tuple((node, EVERYWHERE) for node in inner.nodes) if isinstance(inner, EdgeSet) else inner
        if isinstance(inner, EdgeSet):
            return inner
        if refuse_edges(self.facts, call.span, self.diagnostics) or refuse_neurons(inner, call.span, self.diagnostics):
            return None
        if refuse_dictionaries((node for node, _ in inner), "send along no edge", call.span, self.diagnostics):
            return None
        return among(inner, ports_of(self.facts))

    def _part(self, circuit: CircuitNodes, path: Sequence[SiteStep], expr: tree.Expr) -> Members | None:
        """The members of a circuit, or the nodes of one of its groups; ``[p]`` behind it: at these tokens alone."""
        spots, last, rest = circuit.members, path[0], list(path[1:])
        if rest and rest[0].name in circuit.groups:
            last = rest.pop(0)
            spots = circuit.groups[last.name]
        elif rest and rest[0].name not in (*PORTS, "z"):
            self.diagnostics.report(
                "E218",
                f"no group `{rest[0].name}` in `{circuit.name}`",
                rest[0].span,
                help=did_you_mean(rest[0].name, circuit.groups, "write `name = layer[…].head[…]` in the circuit"),
            )
            return None
        if rest and rest[0].name == "z" and not isinstance(spots, EdgeSet) and all(n.kind == "head" for n, _ in spots):
            last = rest.pop(0)
        if rest:
            self.diagnostics.report(
                "E800",
                f"`{format_expr(expr)[:60]}` is not the output of a component",
                rest[0].span,
                notes=("a circuit's nodes are outputs; `q`, `k` and `v` are where an edge ends",),
                help="name the group alone, or an edge: sender -> group.q",
            )
            return None
        if not last.indices:
            return spots
        if len(last.indices) > 1:
            self.diagnostics.report(
                "E800", "a circuit takes one position", expr.span, help="write the position alone: wang.mover[last]"
            )
            return None
        position = self.sites.position(last.indices[0])
        if position is None:
            return None
        if isinstance(spots, EdgeSet):
            return EdgeSet.make(spots.ports, (((node, position), mask) for (node, _), mask in spots.senders))
        nodes = dict.fromkeys(node for node, _ in spots)
        return tuple((node, position) for node in nodes)

    def _no_circuit(self, expr: tree.Expr, module: Module) -> None:
        path = steps(expr)
        if path and path[0].name in module.faulty:
            return  # reported where it is declared
        self.diagnostics.report(
            "E803",
            f"`{format_expr(expr)[:60]}` is not a circuit",
            expr.span,
            notes=("a circuit is named, called with its parameters, or made of others with `+` and `-`",),
            help=did_you_mean(format_expr(expr), module.of_kind("circuit"), "declare it: circuit name : network { … }"),
        )

    # ── declarations ────────────────────────────────────────────────────────────────────────────

    def circuit(self, definition: Definition, arguments: Sequence[tree.Argument], span: Span) -> CircuitNodes | None:
        """A declared circuit under these arguments; parameters that are not given have the cell's value of their name."""
        declaration = definition.declaration
        assert isinstance(declaration, tree.CircuitDecl | tree.CircuitAs)
        given = self._given(declaration, arguments, span)
        if given is None:
            return None
        inner = replace(self, cell=given, folder=definition.module.folder)
        if isinstance(declaration, tree.CircuitAs):
            return inner._made(definition, declaration)
        return inner._declared(definition, declaration)

    def _given(
        self, declaration: tree.CircuitDecl | tree.CircuitAs, arguments: Sequence[tree.Argument], span: Span
    ) -> dict[str, tree.Expr] | None:
        names = [parameter.name.name for parameter in declaration.parameters]
        found: dict[str, tree.Expr] = {}
        told: dict[str, tree.Expr] = {}
        for argument in arguments:
            free = [name for name in names if name not in found]
            name = argument.name.name if argument.name is not None else free[0] if free else ""
            if name not in names or name in found:
                what = f"`{name}` twice" if name in found else f"no parameter `{name or format_expr(argument.value)}`"
                self.diagnostics.report(
                    "E808",
                    f"`{declaration.name.name}` takes {what}"
                    if name in found
                    else f"`{declaration.name.name}` has {what}",
                    argument.span,
                    help=did_you_mean(name, names, "it has " + (", ".join(f"`{n}`" for n in names) or "no parameters")),
                )
                return None
            told[name] = substitute(argument.value, self.cell)
            found[name] = self._computed(told[name])
        for parameter in declaration.parameters:
            name = parameter.name.name
            values = values_of(parameter, Diagnostics(), self.network)
            value = told.get(name, self.cell.get(name))
            if value is not None and values and one_of(value, values, self.network) is None:
                written = next((a.value.span for a in arguments if a.name is not None and a.name.name == name), span)
                refuse_never(name, declaration.name.name, value, values, written, self.diagnostics, self.network)
                return None
            if name in found:
                continue
            if name in self.cell:
                found[name] = self.cell[name]
            elif self.free and values:
                found[name] = values[0]
            else:
                self.diagnostics.report(
                    "E808",
                    f"`{name}` of `{declaration.name.name}` is not given",
                    span,
                    help=f"write {declaration.name.name}({name}=…)",
                )
                return None
        return found

    def _computed(self, value: tree.Expr) -> tree.Expr:
        """A value that is given: `layers - 1` is a number, where it is known how many layers there are."""
        number = arithmetic(substitute(value, numbers_of(self.facts)), {})
        return value if number is None else tree.Number(number, span=value.span)

    def _made(self, definition: Definition, declaration: tree.CircuitAs) -> CircuitNodes | None:
        """One that is read from a file, or made from others."""
        name, module = declaration.name.name, definition.module
        called = call_name(declaration.value) if isinstance(declaration.value, tree.Call) else None
        if called is not None and called[0] == "json" and "json" not in module.names:
            assert isinstance(declaration.value, tree.Call)
            call = substitute(declaration.value, self.cell)
            found: Members | None = read_file(call, module.folder, self, self.said)
        elif called is not None and called[0] == "discover" and "discover" not in module.names:
            assert isinstance(declaration.value, tree.Call)
            call = substitute(declaration.value, self.cell)
            asked = read_asked(call, self.diagnostics)
            if asked is None:
                return None
            among = asked.settings["among"]
            spots = self.nodes_named(among, module) if among is not None else False
            found = read_discover(asked, spots, self, self.searches)
        else:
            found = self.members(declaration.value, module)
        if found is None:
            return None
        if isinstance(found, EdgeSet):
            return CircuitNodes(name, {}, tuple((node, EVERYWHERE) for node in found.nodes), found)
        return CircuitNodes(name, {}, found)

    def _declared(self, definition: Definition, declaration: tree.CircuitDecl) -> CircuitNodes | None:
        groups: dict[str, tuple[Spot, ...]] = {}
        wide: dict[str, bool] = {}
        good = True
        for member in declaration.members:
            if isinstance(member, tree.Group):
                spots = self.nodes_of(member.sites, groups, edge=False)
                groups[member.name.name] = spots or ()
                named = [path[0].name for site in member.sites if (path := steps(site))]
                wide[member.name.name] = any(map(is_wide, member.sites)) or any(wide.get(name, False) for name in named)
                good = good and spots is not None
        lines = [member for member in declaration.members if isinstance(member, tree.Edge)]
        if not good or not lines:
            return CircuitNodes(declaration.name.name, groups) if good else None
        edges = declared_edges(lines, groups, wide, self)
        if edges is None:
            return None
        loose = tuple((node, EVERYWHERE) for node in edges.nodes)
        return CircuitNodes(declaration.name.name, groups, loose, edges)

    def nodes_named(self, expr: tree.Expr, module: Module) -> tuple[Spot, ...] | Literal[False] | None:
        """The nodes of a circuit that `among=` names; False where it names none, None where a fault was reported."""
        path = steps(expr)
        definition = None if not path else module.names.get(path[0].name)
        if definition is None or definition.kind != "circuit":
            return False
        return self.spots(expr, module)


def check_circuit(
    definition: Definition, networks: Mapping[Definition, NetworkRef], diagnostics: Diagnostics
) -> NetworkRef | None:
    """The network that a circuit is of. Sites that the network does not have, and groups that the circuit does not name, are
    reported."""
    declaration = definition.declaration
    assert isinstance(declaration, tree.CircuitDecl | tree.CircuitAs)
    good = True
    network = network_of(definition, networks, diagnostics)
    for parameter in declaration.parameters:
        good = values_of(parameter, diagnostics, network) is not None and good
    groups: dict[str, tree.Group] = {}
    for member in getattr(declaration, "members", ()):
        if isinstance(member, tree.Group):
            if member.name.name in groups:
                diagnostics.report(
                    "E202",
                    f"`{member.name.name}` is declared twice",
                    member.name.span,
                    others=((groups[member.name.name].name.span, "first declared here"),),
                    help="give one of them another name",
                )
            groups[member.name.name] = member
    if network is not None and good:
        reader = CircuitReader(network, (), diagnostics, free=True, folder=definition.module.folder)
        circuit = reader.circuit(definition, (), declaration.name.span)
        if circuit is not None and isinstance(declaration, tree.CircuitDecl):
            warn_of_twice(declaration, reader)
        if circuit is not None and network.facts.traits.seen:
            warn_of_none(declaration, circuit.members, definition.module, diagnostics)
    return network


def network_of(
    definition: Definition,
    networks: Mapping[Definition, NetworkRef],
    found: Diagnostics,
    inside: tuple[Definition, ...] = (),
) -> NetworkRef | None:
    """The network that a circuit is of: its own, or that of the circuits that it is made from (``inside`` those that are made
    from this one); None where one is made of itself, which is reported where its order is found."""
    declaration = definition.declaration
    assert isinstance(declaration, tree.CircuitDecl | tree.CircuitAs)
    parts = [] if isinstance(declaration, tree.CircuitDecl) else _parts(definition, declaration)
    if definition in inside or definition in parts:
        return None
    each = [network_of(other, networks, found, (*inside, definition)) for other in parts]
    if any(one is None for one in each):
        return None
    if declaration.network is not None:
        own = meant(networks, definition.module, declaration.network, found, "network")
        each = [own, *each]
    named = {node.name for node in declaration.walk() if isinstance(node, tree.Name)}
    if not each and named & definition.module.faulty:
        return None  # reported where it is declared
    if not each:
        found.report(
            "E803",
            f"`{definition.name}` is a circuit of no network",
            definition.span,
            help=f"write circuit {definition.name} : network = …",
        )
        return None
    first = each[0]
    for other in each[1:]:
        if first is not None and other is not None and other.key != first.key:
            found.report(
                "E802",
                f"`{definition.name}` is made of circuits of `{first.name}` and of `{other.name}`",
                definition.span,
                help="join circuits of one network",
            )
            return None
    return first


def _parts(definition: Definition, declaration: tree.CircuitAs) -> list[Definition]:
    """The circuits that one is made from."""
    names = definition.module.names
    named = (names.get(node.name) for node in declaration.value.walk() if isinstance(node, tree.Name))
    return list(dict.fromkeys(other for other in named if other is not None and other.kind == "circuit"))


__all__ = ["CircuitNodes", "CircuitReader", "Position", "check_circuit", "network_of"]
