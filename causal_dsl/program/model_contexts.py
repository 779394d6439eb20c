"""The inputs that decide each causal model of a spec, as a value: from check to check, what is known of a model holds while this is equal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from typing import Any

from causal_dsl.program.modules import Module
from causal_dsl.syntax import tree

#: Declarations that decide no causal model, and nothing that a condition on one speaks of.
_BESIDE = (
    tree.TestDecl,
    tree.FitDecl,
    tree.AlignDecl,
    tree.NetworkDecl,
    tree.CircuitDecl,
    tree.CircuitAs,
    tree.MetricDecl,
    tree.CausalDecl,
)


def contexts(modules: Sequence[Module], reads: Set[Any]) -> tuple[tuple[Any, Set[Any]], dict[tuple[str, str], Any]]:
    """The common part of all models (domains, tables, imports, the files that were read), and of each model, by its file and name, its
    declaration and those of the models that it names."""
    shared = tuple((one.source.path, tuple(_shared(one))) for one in modules), reads
    declared = [(one.source.path, each) for one in modules for each in one.tree.declarations]
    models: dict[str, list[tree.CausalDecl]] = {}
    for _, each in declared:
        if isinstance(each, tree.CausalDecl):
            models.setdefault(each.name.name, []).append(each)
    own = {
        (path, each.name.name): tuple(_needed(each, models))
        for path, each in declared
        if isinstance(each, tree.CausalDecl)
    }
    return shared, own


def _shared(module: Module) -> Iterator[tree.AnyDeclaration]:
    return (one for one in module.tree.declarations if not isinstance(one, _BESIDE))


def _needed(model: tree.CausalDecl, models: dict[str, list[tree.CausalDecl]]) -> Iterator[tree.CausalDecl]:
    """A model, and those whose names it has, in whichever file they are."""
    found: set[str] = {model.name.name}
    waiting = [model]
    while waiting:
        one = waiting.pop()
        yield one
        for name in sorted(_names(one) & models.keys() - found):
            found.add(name)
            waiting += models[name]


def _names(node: tree.Node) -> set[str]:
    names: Iterable[tree.Node] = node.walk()
    return {one.name for one in names if isinstance(one, tree.Name | tree.Ident)}


__all__ = ["contexts"]
