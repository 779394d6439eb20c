"""Conditions over the runs of a test: ``base.left != source.left``, ``base.x in {1, 2}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary, ref

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.condition_functions import Predicate, compile_condition
from causal_dsl.causal.domains import LIMIT
from causal_dsl.causal.expressions import Compiler
from causal_dsl.causal.model import CausalModel, refuse_unstated
from causal_dsl.causal.scope import Scope, Strings
from causal_dsl.causal.terms import Float, Integer, Symbol, relation
from causal_dsl.causal.typed import Typed, as_condition, variable
from causal_dsl.diagnostics import Diagnostics, Span
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr


def compile_predicate(
    expr: tree.Expr,
    roles: Mapping[str, CausalModel],
    diagnostics: Diagnostics,
    scope: Scope | None = None,
    word: str = "where",
    said: str = "",
) -> Predicate | None:
    """Compile a condition over the variables of several runs, ``role.name``; None where a fault was reported.

    With a single role its variables may be named alone; the role ``""`` has only bare names. ``template``, the number
    of the prompt line that a row uses, counts as a whole number of every named role. Domains and tables are looked up in
    ``scope``, else among those that the first model could name. ``word`` is the keyword before it; ``said`` its text, where that is known.
    """
    models = list({id(model): model for model in roles.values()}.values())
    strings = models[0].strings if models else Strings()
    named = _named(roles, strings)
    title = f"`{models[0].name}`" if len(models) == 1 else "these models"
    scope = scope or (models[0].scope if models else Scope())
    compiler = Compiler(dict(named.names), scope, strings, diagnostics, title)
    found = compiler.condition(expr, f"`{word}`")
    if found is None:
        return None
    symbols, types = named.symbols, named.types
    condition = compile_condition(found.expr, compiler.guards, symbols, types, compiler.helpers, expr.span)
    asked = next((name for role, name in condition.inputs if name in roles[role].unstated), None)
    if asked is not None:
        refuse_unstated(asked, expr.span, diagnostics)
        return None
    foreign = {
        key: roles[key[0]].strings
        for key in condition.inputs
        if types[key] in ("string", "set") and roles[key[0]].strings is not strings
    }
    return Predicate(condition, expr.span, said or format_expr(expr), foreign, strings)


@dataclass(frozen=True, eq=False)
class _Named:
    """The variables of several runs: by the names that a condition has for them, and by (role, variable)."""

    names: Mapping[str, Typed]
    symbols: Mapping[tuple[str, str], Symbol]
    types: Mapping[tuple[str, str], str]


#: By the model of the first role, for all conditions over the same runs.
_NAMED: WeakKeyDictionary[CausalModel, dict[Any, _Named]] = WeakKeyDictionary()


def _named(roles: Mapping[str, CausalModel], strings: Strings) -> _Named:
    if not roles:
        return _Named({}, {}, {})
    known = _NAMED.setdefault(next(iter(roles.values())), {})
    asked = tuple((role, ref(model)) for role, model in roles.items())
    if asked not in known:
        known[asked] = _names_of(roles, strings)
    return known[asked]


def _names_of(roles: Mapping[str, CausalModel], strings: Strings) -> _Named:
    names: dict[str, Typed] = {}
    symbols: dict[tuple[str, str], Symbol] = {}
    types: dict[tuple[str, str], str] = {}
    for role, model in roles.items():
        entries = {name: (v.type, variable(Symbol("_"), v.domain, strings)) for name, v in model.variables.items()}
        if role and "template" not in entries:
            entries["template"] = ("int", Typed("int", None, 0, LIMIT - 1))
        for name, (kind, shape) in entries.items():
            symbol = symbols[role, name] = Symbol(f"p{len(symbols)}")
            types[role, name] = kind
            typed = Typed(shape.type, _expr(symbol, kind), shape.low, shape.high, shape.texts, shape.domain)
            if role:
                names[f"{role}.{name}"] = typed
            if len(roles) == 1 and name not in roles:
                names[name] = typed
    return _Named(names, symbols, types)


def _expr(symbol: Symbol, kind: str) -> object:
    return as_condition(symbol) if kind == "bool" else symbol


def equals(model: CausalModel, role: str, name: str, code: int | float, span: Span) -> Predicate:
    """The condition that a variable of one run has this code."""
    key = (role, name)
    symbol = Symbol("p0")
    number = Integer(int(code)) if model.variables[name].type != "real" else Float(code)
    types = {key: model.variables[name].type}
    condition = compile_condition(relation("==", symbol, number), (), {key: symbol}, types, {}, span)
    return Predicate(condition, span, f"{role}.{name} == {code!r}")
