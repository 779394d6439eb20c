"""The second pass: domains, tables and Python functions, and the causal models that are written with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.domains import Domain
from causal_dsl.causal.functions import PythonFunction, read_function
from causal_dsl.causal.lookup_table import LookupTable
from causal_dsl.causal.members import compile_model
from causal_dsl.causal.model import CausalModel, Scope, compile_domain
from causal_dsl.causal.tables import load_table
from causal_dsl.diagnostics import Diagnostics
from causal_dsl.program.modules import Definition, Module, PythonName
from causal_dsl.syntax import tree
from causal_dsl.syntax.substitute import substitute


@dataclass(frozen=True)
class Terms:
    """The names that the expressions of causal models may use, by their definitions; None where one is at fault."""

    domains: Mapping[Definition, Domain | None]
    tables: Mapping[Definition, LookupTable | None]
    functions: Mapping[Definition, PythonFunction | None]

    def named(self, module: Module, names: Iterable[str]) -> Scope:
        """These names of a module as a scope; names at fault, which were reported, are in it, too."""
        scope = Scope(dict.fromkeys(module.faulty), {}, dict.fromkeys(module.faulty))
        for name in names:
            definition = module.names.get(name)
            if definition is None:
                continue
            if definition in self.domains:
                scope.domains[name] = self.domains[definition]
            elif definition in self.tables:
                scope.tables[name] = self.tables[definition]
            elif definition in self.functions:
                scope.functions[name] = self.functions[definition]
        return scope


def read_terms(order: Iterable[Definition], trust: bool, found: Diagnostics) -> Terms:
    """The domains, tables and functions of a spec. ``trust``: the functions' code may be run."""
    domains: dict[Definition, Domain | None] = {}
    tables: dict[Definition, LookupTable | None] = {}
    functions: dict[Definition, PythonFunction | None] = {}
    terms = Terms(domains, tables, functions)
    for definition in order:
        match definition.declaration:
            case tree.DomainDecl(domain=domain):
                domains[definition] = domain_of(domain, definition.module, terms, found)
            case tree.TableDecl() as declaration:
                tables[definition] = load_table(declaration, definition.module.folder, found)
            case PythonName(name=name, path=path):
                functions[definition] = read_function(path, name.name, name.span, found, trust=trust)
    return terms


def domain_of(domain: tree.DomainExpr, module: Module, terms: Terms, found: Diagnostics) -> Domain | None:
    """A domain; the ``terms`` that it names are read already."""
    names = [node.name for node in domain.walk() if isinstance(node, tree.Name)]
    for name in names:
        definition = module.names.get(name)
        if definition is not None and definition.kind == "domain" and terms.domains.get(definition) is None:
            return None
    return compile_domain(domain, replace(terms.named(module, names), functions={}), module.folder, found)


def read_models(order: Iterable[Definition], terms: Terms, found: Diagnostics) -> Mapping[Definition, CausalModel]:
    """The causal models of a spec, without those at fault."""
    scopes: dict[Module, Scope] = {}
    models = {}
    for definition in order:
        declaration, module = definition.declaration, definition.module
        if isinstance(declaration, tree.CausalDecl):
            if module not in scopes:
                scopes[module] = terms.named(module, module.names)
            model = compile_model(declaration, scopes[module], found)
            if model is not None:
                models[definition] = model
    return models


# ── metrics ─────────────────────────────────────────────────────────────────────────────────────


def metrics_of(module: Module) -> dict[str, tree.Expr]:
    """The metrics that a module's tests may name, each with the metrics of its own file written out."""
    found = {}
    for name, definition in module.of_kind("metric").items():
        assert isinstance(definition.declaration, tree.MetricDecl)
        value = definition.declaration.value
        found[name] = value if definition.module is module else _inlined(value, definition.module, (name,))
    return found


def metrics_with(metrics: dict[str, tree.Expr], given: Mapping[str, tree.Expr]) -> dict[str, tree.Expr]:
    """Metrics with the parameters of a test written out: `logit(base.u)`, where `u` stands for a variable."""
    return {name: substitute(value, given, words=True) for name, value in metrics.items()} if given else metrics


def _inlined(node: tree.Node, module: Module, open_names: tuple[str, ...]) -> Any:
    """An imported metric with the names of its own file's metrics replaced by what they stand for."""
    if isinstance(node, tree.Name) and node.name in module.names and node.name not in open_names:
        definition = module.names[node.name]
        if isinstance(definition.declaration, tree.MetricDecl):
            return _inlined(definition.declaration.value, definition.module, (*open_names, node.name))
    return node.with_children(lambda below: _inlined(below, module, open_names))
