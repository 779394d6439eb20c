"""Specs to causal models, and the same models computed row by row in plain Python, by nothing of the package."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from causal_dsl.causal.condition_functions import Predicate
from causal_dsl.causal.designs import Design, DrawStatement
from causal_dsl.causal.functions import read_function
from causal_dsl.causal.members import compile_model
from causal_dsl.causal.model import CausalModel, Scope, compile_domain
from causal_dsl.causal.predicates import compile_predicate
from causal_dsl.causal.tables import load_table
from causal_dsl.diagnostics import Diagnostics, Source, render_all
from causal_dsl.syntax import tree
from causal_dsl.syntax.parse import parse


def compile_text(
    text: str, folder: Path = Path(), trust: bool = False, name: str = "spec.causal"
) -> tuple[dict[str, CausalModel], Diagnostics]:
    """The causal models of a spec, by name, and everything that was reported."""
    diagnostics = Diagnostics()
    scope = Scope()
    models: dict[str, CausalModel] = {}
    parsed = parse(Source(name if folder == Path() else str(folder / name), text), diagnostics)
    for declaration in parsed.declarations:
        match declaration:
            case tree.DomainDecl(name=ident):
                scope.domains[ident.name] = compile_domain(declaration.domain, scope, folder, diagnostics)
            case tree.TableDecl(name=ident):
                scope.tables[ident.name] = load_table(declaration, folder, diagnostics)
            case tree.Import():
                for ident in declaration.names:
                    path = folder / declaration.path.value
                    scope.functions[ident.name] = read_function(path, ident.name, ident.span, diagnostics, trust)
            case tree.CausalDecl(name=ident):
                model = compile_model(declaration, scope, diagnostics)
                if model is not None:
                    models[ident.name] = model
    return models, diagnostics


def model(text: str, **more: Any) -> CausalModel:
    """The only causal model of a spec that is without fault."""
    models, diagnostics = compile_text(text, **more)
    assert not diagnostics.errors, render_all(diagnostics)
    (found,) = models.values()
    return found


def declaration(text: str) -> tree.CausalDecl:
    diagnostics = Diagnostics()
    parsed = parse(Source("spec.causal", text), diagnostics)
    assert not len(diagnostics), render_all(diagnostics)
    return next(d for d in parsed.declarations if isinstance(d, tree.CausalDecl))


def condition(text: str) -> tree.Expr:
    found = declaration(f"causal m {{ x ~ bool where {text}\n output y := x }}").members[0]
    assert isinstance(found, tree.Draw) and found.where is not None
    return found.where


def predicate(text: str, roles: Mapping[str, CausalModel]) -> Predicate:
    diagnostics = Diagnostics()
    found = compile_predicate(condition(text), roles, diagnostics)
    assert found is not None, render_all(diagnostics)
    return found


def design(
    m: CausalModel,
    roles: str = "base source",
    n: int | None = 256,
    seed: int = 0,
    where: str = "",
    balance: tuple[tuple[str, str], ...] = (),
    exhaustive: bool = False,
    templates: tuple[str, ...] = (),
    split: Any = "",
) -> Design:
    """A design of one draw statement."""
    names = tuple(roles.split())
    made = predicate(where, dict.fromkeys(names, m)) if where else None
    statement = DrawStatement(names, m, None if exhaustive else n, seed, balance, exhaustive, made, m.span, split)
    return Design((statement,), tuple(predicate(t, {"": m}) if t else None for t in templates))


# ── plain Python ────────────────────────────────────────────────────────────────────────────────


def value(expr: tree.Node, row: Mapping[str, Any]) -> Any:
    """The value of an expression on one row, branch by branch, by Python's own arithmetic."""
    match expr:
        case tree.Number(value=v) | tree.String(value=v) | tree.Bool(value=v):
            return v
        case tree.Name(name=name):
            return row[name]
        case tree.Attribute(value=tree.Name(name=role), name=tree.Ident(name=name)):
            return row[f"{role}.{name}"]
        case tree.Unary(op="-", operand=x):
            return -value(x, row)
        case tree.Unary(op="not", operand=x):
            return not value(x, row)
        case tree.Binary(op="and", left=x, right=y):
            return value(x, row) and value(y, row)
        case tree.Binary(op="or", left=x, right=y):
            return value(x, row) or value(y, row)
        case tree.Binary(op=op, left=x, right=y):
            a, b = value(x, row), value(y, row)
            return {
                "+": lambda: a + b,
                "-": lambda: a - b,
                "*": lambda: a * b,
                "/": lambda: a / b,
                "div": lambda: a // b,
                "mod": lambda: a % b,
            }[op]()
        case tree.Compare(op=op, left=x, right=y):
            a, b = value(x, row), value(y, row)
            return {"==": a == b, "!=": a != b}[op] if op in ("==", "!=") else eval(f"a {op} b", {"a": a, "b": b})
        case tree.Member(element=x, domain=tree.Set(items=items)):
            return value(x, row) in [value(item, row) for item in items]
        case tree.Member(element=x, domain=tree.Range(low=low, high=high)):
            return value(low, row) <= value(x, row) <= value(high, row)
        case tree.IfElse(condition=c, then=x, otherwise=y):
            return value(x, row) if value(c, row) else value(y, row)
    raise AssertionError(expr)


def run(decl: tree.CausalDecl, settings: Mapping[str, Any], do: Mapping[str, Any]) -> dict[str, Any]:
    """Every variable of a model on one row; mechanisms must stand below their causes."""
    row = {**settings, **do}
    for member in decl.members:
        if isinstance(member, tree.Mechanism) and member.name.name not in do:
            row[member.name.name] = value(member.value, row)
    return row


def inputs(decl: tree.CausalDecl) -> Iterator[tuple[dict[str, Any], Fraction]]:
    """All inputs with their probability under the draws, before conditioning on the conditions that hold."""
    draws = [(ident.name, m) for m in decl.members if isinstance(m, tree.Draw) for ident in m.names]

    def extend(i: int, row: dict[str, Any], p: Fraction) -> Iterator[tuple[dict[str, Any], Fraction]]:
        if i == len(draws):
            if all(value(m.where, row) for _, m in draws if m.where is not None):
                yield dict(row), p
            return
        name, member = draws[i]
        match member.domain:
            case tree.Name(name="bool"):
                values: list[Any] = [False, True]
            case tree.Range(low=low, high=high):
                values = list(range(value(low, row), value(high, row) + 1))
            case tree.Set(items=items):
                values = list(dict.fromkeys(value(item, row) for item in items))
        for v in values:
            yield from extend(i + 1, {**row, name: v}, p / len(values))

    yield from extend(0, {}, Fraction(1))


Among = Callable[[dict[str, Any]], bool]


def rows(
    decl: tree.CausalDecl, roles: tuple[str, ...], where: str = "", among: Among | None = None
) -> list[tuple[dict[str, dict[str, Any]], Fraction]]:
    """All combinations of inputs (those ``among``) for these roles, with their probabilities given ``where``."""
    expr = condition(where) if where else None
    found = []
    each = [(row, p) for row, p in inputs(decl) if among is None or among(row)]
    for combination in itertools.product(each, repeat=len(roles)):
        runs = {role: run(decl, settings, {}) for role, (settings, _) in zip(roles, combination, strict=True)}
        flat = {f"{role}.{name}": v for role, row in runs.items() for name, v in row.items()}
        if expr is None or value(expr, flat):
            p = Fraction(1)
            for _, q in combination:
                p *= q
            found.append((runs, p))
    total = sum(p for _, p in found)
    return [(runs, p / total) for runs, p in found]


def ceilings(
    decl: tree.CausalDecl,
    roles: tuple[str, ...],
    interventions: list[tuple[str, str]],
    output: str,
    where: str = "",
    among: Among | None = None,
) -> dict[str, Fraction]:
    """All ceilings and informative as fractions, straight from their definitions."""
    exogenous = [ident.name for m in decl.members if isinstance(m, tree.Draw) for ident in m.names]
    sources = list(dict.fromkeys(role for _, role in interventions))
    noop = Fraction(0)
    copies = dict.fromkeys(sources, Fraction(0))
    seen: dict[str, dict[Any, dict[Any, Fraction]]] = {"output_only": {}, "base_only": {}, "source_only": {}}
    for runs, p in rows(decl, roles, where, among):
        do = {name: runs[role][name] for name, role in interventions}
        label = run(decl, {name: runs["base"][name] for name in exogenous}, do)[output]
        noop += p * (label == runs["base"][output])
        for role in sources:
            copies[role] += p * (label == runs[role][output])
        sight = {
            "output_only": tuple(runs[role][output] for role in ("base", *sources)),
            "base_only": tuple(runs["base"][name] for name in exogenous),
            "source_only": tuple(runs[role][name] for role in sources for name in exogenous),
        }
        for rule, shown in sight.items():
            labels = seen[rule].setdefault(shown, {})
            labels[label] = labels.get(label, Fraction(0)) + p
    best = {rule: sum((max(labels.values()) for labels in of.values()), Fraction(0)) for rule, of in seen.items()}
    return {"noop": noop, "source": max(copies.values()), **best, "informative": 1 - noop}
