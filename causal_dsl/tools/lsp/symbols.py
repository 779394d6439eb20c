"""The meanings of names: each declared thing is a symbol, and each place that names it a use of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from typing import Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Span
from causal_dsl.program.modules import KINDS
from causal_dsl.syntax import tree
from causal_dsl.tools.lsp.spec_files import SpecFiles

PYTHON = "Python function"
VARIABLE, PARAMETER, RUN, GROUP, LOCAL = "variable", "parameter", "run", "group", "member"


@dataclass(frozen=True)
class SpecSymbol:
    """A declared thing. ``owner`` is the declaration that it belongs to, empty for what a file declares itself."""

    kind: str
    file: str
    owner: str
    name: str


@dataclass(frozen=True)
class NameUse:
    """A place that names something. ``candidates``: what it may mean where that depends on who uses it; ``setting``: it is the
    name of a setting of ``of``."""

    span: Span
    symbol: SpecSymbol | None
    declares: bool = False
    candidates: tuple[SpecSymbol, ...] = ()
    setting: bool = False
    of: str = ""

    @property
    def means(self) -> tuple[SpecSymbol, ...]:
        return (self.symbol,) if self.symbol is not None else self.candidates


@dataclass(eq=False)
class FileNames:
    """The symbols that a file declares or imports, by name, and the declaration of each of its own symbols."""

    file: str
    names: dict[str, SpecSymbol] = field(default_factory=dict)
    nodes: dict[SpecSymbol, tree.AnyDeclaration] = field(default_factory=dict)


class Meanings:
    """The symbols of files, found once for each state of them."""

    def __init__(self, files: SpecFiles):
        self.files = files
        self._declared: dict[str, FileNames] = {}

    def declared(self, file: str) -> FileNames:
        """The names of a file; those of a file that imports itself in a circle are its own alone."""
        if file in self._declared:
            return self._declared[file]
        found = self._declared[file] = FileNames(file)
        parsed = self.files.at(file)
        for one in parsed.tree.declarations if parsed is not None else ():
            if isinstance(one, tree.Import):
                for name in one.names:
                    meant = self.imported(file, one, name.name)
                    if meant is not None:
                        found.names.setdefault(name.name, meant)
            else:
                symbol = SpecSymbol(KINDS[type(one)], file, "", one.name.name)
                found.names.setdefault(one.name.name, symbol)
                found.nodes.setdefault(symbol, one)
        return found

    def imported(self, file: str, declaration: tree.Import, name: str) -> SpecSymbol | None:
        """The symbol that an imported name means."""
        path = self.files.imported(file, declaration)
        if path.endswith(".py"):
            return SpecSymbol(PYTHON, path, "", name)
        return self.declared(path).names.get(name) if path and path != file else None

    def node(self, symbol: SpecSymbol | None) -> Any:
        """The declaration of a symbol that a file declares itself."""
        return None if symbol is None else self.declared(symbol.file).nodes.get(symbol)

    def model_of(self, symbol: SpecSymbol | None) -> SpecSymbol | None:
        """The causal model of an alignment, or of what is on one; a model is its own."""
        seen: set[SpecSymbol] = set()
        while symbol is not None and symbol not in seen:
            seen.add(symbol)
            node = self.node(symbol)
            if isinstance(node, tree.CausalDecl):
                return symbol
            if isinstance(node, tree.AlignDecl):
                symbol = self.declared(symbol.file).names.get(node.model.name)
            elif isinstance(node, tree.TestDecl | tree.FitDecl):
                symbol = self.declared(symbol.file).names.get(called(node.on))
            else:
                return None
        return None

    def network_of(self, symbol: SpecSymbol | None) -> SpecSymbol | None:
        """The network of an alignment, a circuit, or of what is on one."""
        seen: set[SpecSymbol] = set()
        while symbol is not None and symbol not in seen:
            seen.add(symbol)
            names, node = self.declared(symbol.file).names, self.node(symbol)
            if isinstance(node, tree.NetworkDecl):
                return symbol
            if isinstance(node, tree.AlignDecl):
                symbol = names.get((node.network or node.model).name)
            elif isinstance(node, tree.CircuitDecl | tree.CircuitAs) and node.network is not None:
                symbol = names.get(node.network.name)
            elif isinstance(node, tree.TestDecl | tree.FitDecl):
                symbol = names.get(called(node.on))
            else:
                return None
        return None

    def variables(self, model: SpecSymbol | None) -> dict[str, SpecSymbol]:
        """The variables of a causal model."""
        node = self.node(model)
        if model is None or not isinstance(node, tree.CausalDecl):
            return {}
        return {name.name: SpecSymbol(VARIABLE, model.file, model.name, name.name) for name in variable_names(node)}

    def parameters(self, symbol: SpecSymbol | None) -> dict[str, SpecSymbol]:
        """The parameters of a declaration, those of the alignments that it takes over or is on included."""
        found: dict[str, SpecSymbol] = {}
        seen: set[SpecSymbol] = set()
        while symbol is not None and symbol not in seen:
            seen.add(symbol)
            node = self.node(symbol)
            for parameter in getattr(node, "parameters", ()):
                found.setdefault(
                    parameter.name.name, SpecSymbol(PARAMETER, symbol.file, symbol.name, parameter.name.name)
                )
            names = self.declared(symbol.file).names
            if isinstance(node, tree.AlignDecl) and node.network is None:
                symbol = names.get(node.model.name)
            elif isinstance(node, tree.TestDecl | tree.FitDecl):
                symbol = names.get(called(node.on))
            else:
                symbol = None
        return found

    def groups(self, circuit: SpecSymbol | None) -> dict[str, SpecSymbol]:
        """The named groups of a circuit."""
        node = self.node(circuit)
        if circuit is None or not isinstance(node, tree.CircuitDecl):
            return {}
        members = (member for member in node.members if isinstance(member, tree.Group))
        return {one.name.name: SpecSymbol(GROUP, circuit.file, circuit.name, one.name.name) for one in members}


def variable_names(model: tree.CausalDecl) -> Iterator[tree.Ident]:
    """Where the variables of a model are declared."""
    for member in model.members:
        yield from member.names if isinstance(member, tree.Draw) else (member.name,)


def called(expr: Any) -> str:
    """The name that an expression is, or calls; empty for others."""
    while isinstance(expr, tree.Call | tree.Under | tree.Subscript | tree.Attribute):
        expr = getattr(expr, "function", None) or getattr(expr, "run", None) or getattr(expr, "value", None)
    return expr.name if isinstance(expr, tree.Name) else ""


__all__ = ["FileNames", "Meanings", "NameUse", "SpecSymbol", "called", "variable_names"]
