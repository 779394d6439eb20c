"""Mechanisms that are sets of values, compiled: ``{first, second}`` and ``{y in Year where y > start}``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from causal_dsl.causal.accepted import AcceptedSets, of_condition, of_items
from causal_dsl.causal.condition_functions import compile_condition
from causal_dsl.causal.domain_of import compile_domain
from causal_dsl.causal.domains import WORDS, Domain, Finite, Value, show
from causal_dsl.causal.expressions import Compiler, inside
from causal_dsl.causal.lookups import codes_of
from causal_dsl.causal.model import CausalModel
from causal_dsl.causal.named_files import folder_of
from causal_dsl.causal.terms import Integer, Symbol, negation
from causal_dsl.causal.typed import Guard, Typed, call, variable
from causal_dsl.diagnostics import Diagnostics, Span
from causal_dsl.syntax import tree

#: Domains with more values are not chosen from: each set marks every one of them.
MOST = 10_000

Made = tuple[AcceptedSets, Any]


def no_value(diagnostics: Diagnostics, span: Span) -> None:
    """E549: a set where one value is due."""
    diagnostics.report(
        "E549",
        "a set of values is not itself a value",
        span,
        help="a set is compared with another set, measured, or read out; write the set that you mean as a mechanism",
    )


def warn_of_empty(diagnostics: Diagnostics, name: str, span: Span, sets: AcceptedSets, codes: np.ndarray) -> None:
    """W545: on some inputs nothing is in the set."""
    kinds, counts = np.unique(codes, return_counts=True)
    empty = sum(int(n) for code, n in zip(kinds, counts, strict=True) if not sets.members[int(code)].any())
    if empty:
        diagnostics.report(
            "W545",
            f"`{name}` is empty on some inputs",
            span,
            notes=(f"it is on {empty:,} of the {len(codes):,} inputs that were tried: no answer is right there",),
            help="leave such inputs out with a `where`, or widen the domain",
        )


def chosen_from(
    compiler: Compiler, value: tree.ChosenSet, declared: Domain | None, parents: Sequence[str], model: CausalModel
) -> Made | None:
    """``{y in Year where y > start}``; None where a fault was reported."""
    choice, report = value.choice, compiler.diagnostics.report
    if not isinstance(choice, tree.Member) or not isinstance(choice.element, tree.Name):
        report(
            "E545",
            "this set does not say which values it is chosen from",
            choice.span,
            help="write {y in Domain where …}",
        )
        return None
    name = choice.element.name
    if name in compiler.names:
        report(
            "E546",
            f"`{name}` is a variable of the model, and here a value of the set",
            choice.element.span,
            help="give the values of the set another name",
        )
        return None
    domain = compile_domain(choice.domain, compiler.scope, folder_of(choice.domain.span), compiler.diagnostics)
    universe = _universe(domain, declared, choice.domain.span, compiler.diagnostics)
    if domain is None or universe is None:
        return None
    symbol = Symbol("element")
    compiler.names[name] = variable(symbol, domain, compiler.strings)
    found = compiler.condition(value.where)
    del compiler.names[name]
    if found is None:
        return None
    guards, compiler.guards = compiler.guards, []
    symbols = {**{parent: model.symbols[parent] for parent in parents}, "": symbol}
    types = {**{parent: model.variables[parent].type for parent in parents}, "": domain.type}
    condition = compile_condition(found.expr, guards, symbols, types, compiler.helpers, value.where.span)
    codes = codes_of(tuple(universe.values), universe.type, compiler.strings)
    possible = np.array([one in domain for one in universe.values])

    def holds(columns: Sequence[np.ndarray], element: np.ndarray) -> np.ndarray:
        return condition({**dict(zip(parents, columns, strict=True)), "": element}, len(element))

    sets = AcceptedSets(universe, compiler.strings)
    make = of_condition(sets, codes, holds, possible)
    if not parents:
        return sets, Integer(int(make()[0]))
    return sets, call(_named(compiler, make), *(model.symbols[parent] for parent in parents))


def listed(compiler: Compiler, value: tree.Set, declared: Domain | None, name: str) -> Made | None:
    """``{first, second}``; None where a fault was reported."""
    found = [compiler.value(item) for item in value.items]
    items = [item for item in found if item is not None]
    if len(items) < len(found):
        return None
    for item, node in zip(items, value.items, strict=True):
        if item.type == "set":
            no_value(compiler.diagnostics, node.span)
            return None
        wanted = declared.type if declared is not None else items[0].type
        if item.type != wanted:
            compiler.diagnostics.report(
                "E312",
                "the values of a set are of one type",
                node.span,
                label=f"this is {WORDS[item.type]}, not {WORDS[wanted]}",
            )
            return None
    domain = declared or _of_items(items, compiler)
    if domain is None:
        compiler.diagnostics.report(
            "E547",
            f"which values can be in `{name}`?",
            value.span,
            notes=("the values of what is listed here are not known before a run",),
            help=f"name their domain: `{name} : Domain := …`",
        )
        return None
    universe = _universe(domain, None, value.span, compiler.diagnostics)
    if universe is None:
        return None
    for item, node in zip(items, value.items, strict=True):
        outside = negation(inside(compiler, item, universe))
        compiler.guards.append(Guard(outside, "domain", node.span))
    sets = AcceptedSets(universe, compiler.strings)
    make = of_items(sets, codes_of(tuple(universe.values), universe.type, compiler.strings))
    return sets, call(_named(compiler, make), *(item.number for item in items))


def _named(compiler: Compiler, helper: Any) -> str:
    name = f"set{len(compiler.helpers)}"
    compiler.helpers[name] = helper
    return name


def _of_items(items: Sequence[Typed], compiler: Compiler) -> Finite | None:
    """All values that the items can be, in order of their domains."""
    values: dict[Value, None] = {}
    for item in items:
        if isinstance(item.domain, Finite) and item.domain.size <= MOST:
            values.update(dict.fromkeys(item.domain.values))
        elif item.texts is not None:
            values.update(dict.fromkeys(compiler.strings.text(code) for code in sorted(item.texts)))
        elif item.type in ("int", "real") and item.low == item.high:
            values[int(item.low) if item.type == "int" else item.low] = None
        else:
            return None
    return Finite(tuple(values)) if values else None


def _universe(domain: Domain | None, declared: Domain | None, span: Span, diagnostics: Diagnostics) -> Finite | None:
    """The values that can be in the set: those of the declared domain, which has to hold all that is chosen from."""
    if domain is None:
        return None
    universe = declared or domain
    if not isinstance(domain, Finite) or not isinstance(universe, Finite) or max(domain.size, universe.size) > MOST:
        diagnostics.report(
            "E548",
            "a set is chosen from too many values",
            span,
            label=f"this is {domain}",
            help=f"name a finite domain of at most {MOST:,} values",
        )
        return None
    absent = next((value for value in domain.values if value not in universe), None)
    if absent is not None:
        diagnostics.report(
            "E324",
            "this set is chosen from values that its declared domain lacks",
            span,
            label=f"{show(absent)} is not in {universe}",
            help="widen the declared domain",
        )
        return None
    return universe
