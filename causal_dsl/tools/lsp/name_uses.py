"""Every name of a file, and what it means there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from causal_dsl.diagnostics import Span
from causal_dsl.measures.names import FUNCTIONS
from causal_dsl.syntax import tree
from causal_dsl.tools.lsp.symbols import (
    LOCAL,
    PARAMETER,
    RUN,
    Meanings,
    NameUse,
    SpecSymbol,
    called,
    variable_names,
)
from causal_dsl.vocabulary.words import words

Look = Callable[[str], SpecSymbol | None]
_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{\s*([^\W\d]\w*)\s*\}")


class UseFinder:
    """Finds the uses of names in one file."""

    def __init__(self, file: str, meanings: Meanings):
        self.file, self.meanings = file, meanings
        self.top = meanings.declared(file).names
        self.found: list[NameUse] = []
        self._metrics: list[tuple[Span, str]] = []

    def run(self) -> list[NameUse]:
        """All uses, in the order of the text."""
        parsed = self.meanings.files.at(self.file)
        for declaration in parsed.tree.declarations if parsed is not None else ():
            self.declaration(declaration)
        self.metric_names()
        return sorted(self.found, key=lambda use: use.span.start)

    def use(self, span: Span, symbol: SpecSymbol | None, **more: Any) -> None:
        self.found.append(NameUse(span, symbol, **more))

    def own(self, name: tree.Ident) -> SpecSymbol | None:
        """Note where a file declares a name; what is declared twice is a use of the first."""
        symbol = self.top.get(name.name)
        self.use(name.span, symbol, declares=True)
        return symbol

    # ── declarations ──

    def declaration(self, one: tree.AnyDeclaration) -> None:
        if isinstance(one, tree.Import):
            for name in one.names:
                self.use(name.span, self.meanings.imported(self.file, one, name.name))
            return
        symbol = self.own(one.name)
        match one:
            case tree.DomainDecl():
                self.expr(one.domain, self.top.get)
            case tree.TableDecl():
                self.expr(one.value, self.top.get)
            case tree.NetworkDecl():
                self.network(one, symbol)
            case tree.MetricDecl():
                self.expr(one.value, self.metric_name)
            case tree.CausalDecl():
                self.causal(one, symbol)
            case tree.AlignDecl():
                self.align(one, symbol)
            case tree.CircuitDecl() | tree.CircuitAs():
                self.circuit(one, symbol)
            case tree.FitDecl() | tree.TestDecl():
                self.test(one, symbol)

    def network(self, one: tree.NetworkDecl, symbol: SpecSymbol | None) -> None:
        parameters = self.parameters(one.parameters, symbol, self.top.get)
        first = next((a.value for a in one.value.arguments if a.name is None), None)
        trained = self.top.get(called(first)) if called(one.value) == "train" else None
        self.expr(one.value, _first(parameters, self.meanings.variables(self.meanings.model_of(trained)), self.top))

    def causal(self, one: tree.CausalDecl, symbol: SpecSymbol | None) -> None:
        variables = self.meanings.variables(symbol)
        look = _first(variables, self.top)
        for name in variable_names(one):
            self.use(name.span, variables.get(name.name), declares=True)
        for member in one.members:
            if isinstance(member, tree.Draw):
                self.several((member.domain, member.where), look)
            else:
                self.several((member.domain, member.value), look)

    def align(self, one: tree.AlignDecl, symbol: SpecSymbol | None) -> None:
        above = self.top.get(one.model.name)
        variables = self.meanings.variables(self.meanings.model_of(symbol))
        self.use(one.model.span, above)
        if one.network is not None:
            self.use(one.network.span, self.top.get(one.network.name))
        self.parameters(one.parameters, symbol, _first(variables, self.top))
        look = _first(self.meanings.parameters(symbol), variables, self.top)
        self.arguments(one.model_fixed, self.meanings.parameters(above), one.model.name, look)
        network = self.top.get(one.network.name) if one.network is not None else None
        self.arguments(one.network_fixed, self.meanings.parameters(network), getattr(one.network, "name", ""), look)
        for member in one.members:
            if isinstance(member, tree.Prompt):
                self.prompt(member, variables)
                self.several((member.where,), look)
            else:
                for name in (member.name, member.last):
                    if name is not None:
                        self.use(name.span, variables.get(name.name))
                self.several((*member.sites, member.via), look)

    def prompt(self, member: tree.Prompt, variables: dict[str, SpecSymbol]) -> None:
        """The placeholders in the texts of a prompt."""
        texts = [node for node in member.text.walk() if isinstance(node, tree.String)]
        for node in texts:
            for match in _PLACEHOLDER.finditer(node.span.text):
                if match[1] is not None:
                    start = node.span.start + match.start(1)
                    self.use(replace(node.span, start=start, end=start + len(match[1])), variables.get(match[1]))
        if isinstance(member.text, tree.Call):
            for argument in member.text.arguments:
                if argument.name is not None:
                    self.use(argument.name.span, None, setting=True, of=called(member.text))

    def circuit(self, one: tree.CircuitDecl | tree.CircuitAs, symbol: SpecSymbol | None) -> None:
        if one.network is not None:
            self.use(one.network.span, self.top.get(one.network.name))
            network = self.top.get(one.network.name)
            self.arguments(one.network_fixed, self.meanings.parameters(network), one.network.name, self.top.get)
        parameters = self.parameters(one.parameters, symbol, self.top.get)
        if isinstance(one, tree.CircuitAs):
            self.expr(one.value, _first(parameters, self.top))
            return
        groups = self.meanings.groups(symbol)
        look = _first(groups, parameters, self.top)
        for member in one.members:
            if isinstance(member, tree.Group):
                self.use(member.name.span, groups.get(member.name.name), declares=True)
                self.several(member.sites, look)
            else:
                self.several((site for stage in member.stages for site in stage.sites), look)

    def test(self, one: tree.TestDecl | tree.FitDecl, symbol: SpecSymbol | None) -> None:
        model = self.meanings.model_of(symbol)
        variables = self.meanings.variables(model)
        if isinstance(one, tree.TestDecl):
            self.parameters(one.parameters, symbol, _first(variables, self.top))
        parameters = self.meanings.parameters(symbol)
        self.expr(one.on, _first(parameters, self.top, variables))
        runs: dict[str, SpecSymbol] = {}
        models: dict[str, SpecSymbol | None] = {}
        for member in one.members:
            if isinstance(member, tree.Draw):
                for name in member.names:
                    run = runs.setdefault(name.name, SpecSymbol(RUN, self.file, one.name.name, name.name))
                    models[name.name] = self.top.get(called(member.domain))
                    self.use(name.span, run, declares=True)
        self._models = models
        look = _first(parameters, runs, variables, self.top)
        for member in one.members:
            if isinstance(member, tree.Draw):
                drawn = self.meanings.variables(self.top.get(called(member.domain)))
                self.several((member.domain, member.where), _first(parameters, runs, drawn, self.top))
            else:
                self.several(member.children(), look)
        self._models = {}

    _models: dict[str, SpecSymbol | None] = {}  # noqa: RUF012 - of the test in hand; replaced, never changed

    def parameters(
        self, parameters: tuple[tree.Parameter, ...], symbol: SpecSymbol | None, look: Look
    ) -> dict[str, SpecSymbol]:
        """Note the parameters that a declaration has of its own."""
        found = {}
        for one in parameters:
            owner = symbol.name if symbol is not None else ""
            found[one.name.name] = SpecSymbol(PARAMETER, self.file, owner, one.name.name)
            self.use(one.name.span, found[one.name.name], declares=True)
            self.expr(one.values, look)
        return found

    # ── expressions ──

    def several(self, nodes: Iterable[tree.Node | None], look: Look) -> None:
        for node in nodes:
            if node is not None:
                self.expr(node, look)

    def expr(self, node: tree.Node, look: Look) -> None:
        """The names in an expression."""
        match node:
            case tree.Name(name=name):
                self.named(node.span, name, look)
            case tree.Attribute(value=value, name=name):
                self.expr(value, look)
                self.use(name.span, self.attribute(value, name.name, look))
            case tree.Call(function=function, arguments=arguments):
                self.expr(function, look)
                meant = look(called(function))
                self.arguments(arguments, self.meanings.parameters(meant), called(function), look)
            case tree.Argument():
                self.arguments((node,), {}, "", look)
            case tree.ChosenSet(choice=choice, where=where):
                local = _chosen(choice, self.file)
                if local is not None and isinstance(choice, tree.Member):
                    self.use(choice.element.span, local, declares=True)
                    self.expr(choice.domain, look)
                    self.expr(where, _first({local.name: local}, look))
                else:
                    self.several((choice, where), look)
            case _:
                self.several(node.children(), look)

    def named(self, span: Span, name: str, look: Look) -> None:
        symbol = look(name)
        if symbol is None and look == self.metric_name and name not in words() and name not in FUNCTIONS:
            self._metrics.append((span, name))
            return
        self.use(span, symbol)

    def arguments(
        self, arguments: tuple[tree.Argument, ...], parameters: dict[str, SpecSymbol], of: str, look: Look
    ) -> None:
        for argument in arguments:
            if argument.name is not None:
                symbol = parameters.get(argument.name.name)
                self.use(argument.name.span, symbol, setting=symbol is None, of=of)
            self.expr(argument.value, look)

    def attribute(self, value: tree.Expr, name: str, look: Look) -> SpecSymbol | None:
        """The meaning of `value.name`: a variable of a run, or a group of a circuit."""
        if not isinstance(value, tree.Name):
            return None
        if value.name in self._models:
            return self.meanings.variables(self._models[value.name]).get(name)
        return self.meanings.groups(look(value.name)).get(name)

    # ── metrics ──

    def metric_name(self, name: str) -> SpecSymbol | None:
        """The meaning of a name in a metric; its variables are those of the tests that use it (:meth:`metric_names`)."""
        return self.top.get(name)

    def metric_names(self) -> None:
        """The variables that metrics speak of: those of the models of the tests here, or of the models that are known here."""
        tests = [self.meanings.model_of(s) for s in self.top.values() if s.kind in ("test", "fit")]
        known = [s for s in self.top.values() if s.kind == "causal model"]
        known += [model for s in self.top.values() if (model := self.meanings.model_of(s)) is not None]
        for span, name in self._metrics:
            for models in (tests, known):
                meant = dict.fromkeys(
                    variable for model in models if (variable := self.meanings.variables(model).get(name)) is not None
                )
                if meant:
                    break
            every = tuple(meant)
            self.use(span, every[0] if len(every) == 1 else None, candidates=every if len(every) > 1 else ())


def _first(*among: dict[str, SpecSymbol] | Look) -> Look:
    """The meaning of a name in the first of several scopes that know it."""

    def look(name: str) -> SpecSymbol | None:
        for scope in among:
            found = scope.get(name) if isinstance(scope, dict) else scope(name)
            if found is not None:
                return found
        return None

    return look


def _chosen(choice: tree.Expr, file: str) -> SpecSymbol | None:
    """The name that stands for the members of a chosen set, `y` in `{y in Year where y > start}`."""
    if isinstance(choice, tree.Member) and isinstance(choice.element, tree.Name):
        return SpecSymbol(LOCAL, file, str(choice.span.start), choice.element.name)
    return None


def uses_of(file: str, meanings: Meanings) -> list[NameUse]:
    """The uses of names in a file, in the order of the text."""
    return UseFinder(file, meanings).run()


__all__ = ["uses_of"]
