"""The circuits that a test may name, and the parameters that they bring into it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostics
from causal_dsl.program.modules import Definition, Module
from causal_dsl.program.parameters import values_of
from causal_dsl.program.paths import steps
from causal_dsl.program.program import NetworkRef
from causal_dsl.program.read_settings import call_name
from causal_dsl.program.searches import Searches
from causal_dsl.syntax import tree


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
                        else values_of(parameter, Diagnostics(), self.networks.get(definition))
                    )
                    found |= {} if values is None else {parameter.name.name: values}
        return found


def _called(node: tree.Node, action: tree.Node) -> bool:
    """Whether a name is that of a call, which is looked at itself."""
    return isinstance(node, tree.Name) and any(isinstance(c, tree.Call) and c.function is node for c in action.walk())


__all__ = ["Circuits"]
