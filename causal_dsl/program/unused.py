"""Parameters of alignments and tests that nothing uses: their cells would all be the same (W775)."""

from __future__ import annotations

from collections.abc import Iterable

from causal_dsl.diagnostics import Diagnostic
from causal_dsl.program.modules import Module, PythonName
from causal_dsl.syntax import tree
from causal_dsl.syntax.substitute import named_in


def unused_parameters(modules: Iterable[Module]) -> list[Diagnostic]:
    """W775 for each parameter that stands nowhere but where it is declared. A name counts as used wherever it is
    written, also in a test on the alignment or in a metric, so nothing that is used is told of."""
    found = []
    every = {id(d.declaration): d.declaration for module in modules for d in module.names.values()}.values()
    for declaration in every:
        if not isinstance(declaration, tree.AlignDecl | tree.TestDecl) or not declaration.parameters:
            continue
        what = "alignment" if isinstance(declaration, tree.AlignDecl) else "test"
        own = _mentioned(declaration)
        for parameter in declaration.parameters:
            name = parameter.name.name
            if name not in own and not any(_may_use(other, name, what) for other in every):
                title = f"the {what} `{declaration.name.name}` does not use `{name}`"
                notes = ("its cells would be the same for all values of it",)
                help = f"use `{name}` in a site, a value or a setting; or leave it out"
                found.append(Diagnostic("W775", title, parameter.name.span, notes=notes, help=help))
    return found


def _may_use(other: tree.AnyDeclaration | PythonName, name: str, what: str) -> bool:
    """Whether another declaration may use the parameter of an alignment or a test. That of a test is used beside it only by
    a metric, or where an alignment or a network has a parameter of the same name."""
    if isinstance(other, PythonName):
        return False
    if what == "alignment" or isinstance(other, tree.MetricDecl):
        return name in _mentioned(other)
    of_other = other.parameters if isinstance(other, tree.AlignDecl | tree.NetworkDecl) else ()
    return any(parameter.name.name == name for parameter in of_other)


def _mentioned(declaration: tree.Node) -> frozenset[str]:
    """The names that stand in a declaration, but for those of its own parameters where they are declared."""
    own = {id(parameter.name) for parameter in getattr(declaration, "parameters", ())}
    words = {part.name for part in declaration.walk() if isinstance(part, tree.Ident) and id(part) not in own}
    return named_in(declaration) | words


__all__ = ["unused_parameters"]
