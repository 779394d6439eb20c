"""Circuits that have no members: what is written in their place, or outside of them, says nothing of any component."""

from __future__ import annotations

from collections.abc import Collection

from causal_dsl.diagnostics import Diagnostics, Span
from causal_dsl.program.circuit_members import Members
from causal_dsl.program.modules import Module
from causal_dsl.program.read_settings import call_name
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr

_EMPTY = "writing an empty circuit changes nothing, and writing what is outside of it changes everything"


def warn_of_none(
    declaration: tree.CircuitDecl | tree.CircuitAs, members: Members, module: Module, found: Diagnostics
) -> None:
    """W807 where a circuit is declared that has no members. One with parameters may be the first point of a sweep over sizes, and one that
    is discovered is found later."""
    name = declaration.name
    value = declaration.value if isinstance(declaration, tree.CircuitAs) else None
    called = call_name(value) if isinstance(value, tree.Call) else None
    discovered = called is not None and called[0] == "discover" and "discover" not in module.names
    if members or declaration.parameters or discovered:
        return
    why = "it names none" if value is None else f"`{format_expr(value)[:60]}` has none"
    _report(f"circuit `{name.name}` has no members", name.span, why, _EMPTY, found)


def warn_of_nothing_looked_at(
    target: tree.Expr,
    expr: tree.Expr,
    named: bool,
    outside: bool,
    kept: Members,
    module: Module,
    varied: Collection[str],
    found: Diagnostics,
) -> None:
    """W807 where an action is on an expression of circuits that has no members, or on one of which none is looked at. What depends on
    parameters, those of a circuit or the ``varied`` ones of a test, may be so in one cell of a sweep. ``named``: the expression has members; ``outside``: what is not in it is written."""
    if kept or _varied(target, module, varied):
        return
    if named:
        why = "`among` and `at` say which nodes are looked at, and at which tokens"
        title = f"no member of `{format_expr(expr)[:60]}` is among what is looked at"
        so = "all that is looked at is written, whatever the circuit is" if outside else "nothing is written"
        _report(title, target.span, why, so, found)
    elif isinstance(expr, tree.Binary):
        title = f"`{format_expr(expr)[:60]}` has no members"
        _report(title, expr.span, "nothing is left of the first circuit", _EMPTY, found)


def warn_of_nothing_outside(
    target: tree.Expr, expr: tree.Expr, rest: Members, module: Module, varied: Collection[str], found: Diagnostics
) -> None:
    """W807 where nothing of what is looked at is outside of a circuit, so that nothing is written."""
    if rest or _varied(target, module, varied):
        return
    title = f"nothing that is looked at is outside of `{format_expr(expr)[:60]}`"
    found.report(
        "W807",
        title,
        target.span,
        notes=("the circuit has every node or edge that is looked at, so nothing is written and no score moves",),
        help="look at more than the circuit, or leave some of its members out",
    )


def _varied(target: tree.Expr, module: Module, varied: Collection[str]) -> bool:
    """Whether what an action is on depends on parameters: those of a circuit, or the ``varied`` ones of a test."""
    names = {node.name for node in target.walk() if isinstance(node, tree.Name)}
    known = module.of_kind("circuit")
    declared = [known[name].declaration for name in names if name in known]
    return bool(names & set(varied)) or any(getattr(one, "parameters", ()) for one in declared)


def _report(title: str, span: Span, why: str, then: str, found: Diagnostics) -> None:
    help = "name the nodes or edges that it is made of" if then == _EMPTY else "name kinds and tokens of its members"
    found.report("W807", title, span, notes=(why, then), help=help)


__all__ = ["warn_of_none", "warn_of_nothing_looked_at", "warn_of_nothing_outside"]
