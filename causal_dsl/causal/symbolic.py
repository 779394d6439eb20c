"""Mechanisms as sympy expressions, for whoever wants to simplify, compare or print them. Nothing else needs sympy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import sympy

from causal_dsl.causal import terms as t

_RELATIONS = {"==": sympy.Eq, "!=": sympy.Ne, "<": sympy.Lt, "<=": sympy.Le, ">": sympy.Gt, ">=": sympy.Ge}


def _unless_zero(name: str, value: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """An operation on ``a`` and ``b``; an undefined function of them where ``b`` is zero, as in a branch that is never taken.
    What sympy makes of it (``zoo``, ``nan``) cannot be compared with a number. To sympy 0.0 does not equal 0."""
    return lambda a, b: sympy.Function(name)(a, b) if b.is_zero else value(a, b)


_HELPERS: dict[str, Callable[..., Any]] = {
    "divide": _unless_zero("divide", lambda a, b: a / b),
    "floor_divide": _unless_zero("floor_divide", lambda a, b: sympy.floor(a / b)),
    # sympy makes `S` of `S mod (-3 * S)`, which is 2 where `S` is -1: it is left as it is
    "modulo": _unless_zero("modulo", lambda a, b: sympy.Mod(a, b, evaluate=a.is_number and b.is_number)),
    "as_float": lambda a: a,
    "add": lambda a, b: a + b,
    "multiply": lambda a, b: a * b,
    "absolute": sympy.Abs,
}


def as_sympy(term: t.Term, names: Mapping[t.Symbol, str]) -> Any:
    """The sympy expression of a term, over symbols called by ``names``.

    Texts are their codes, and a variable that is true or false is a number, 0 or 1. Tables, Python functions and large
    sets are undefined functions of their arguments.
    """
    made: dict[t.Term, Any] = {}
    stack = [term]
    while stack:  # parts first, without a call for each: chains are long
        here = stack[-1]
        waiting = [part for part in here.args if part not in made]
        if waiting:
            stack += waiting
            continue
        stack.pop()
        made[here] = _node(here, [made[part] for part in here.args], names)
    return made[term]


def _node(term: t.Term, args: list[Any], names: Mapping[t.Symbol, str]) -> Any:
    match term:
        case t.Symbol():
            return sympy.Symbol(names.get(term, term.name), real=True)
        case t.Integer(held=value):
            return sympy.Integer(value)
        case t.Float(held=value):
            return sympy.Float(value, 17)
        case t.Literal():
            return sympy.true if term is t.TRUE else sympy.false
        case t.Sum():
            return sympy.Add(*args)
        case t.Times():
            return sympy.Mul(*args)
        case t.Apply(held=helper):
            return _HELPERS.get(helper, sympy.Function(helper))(*args)
        case t.Piecewise():
            cases = zip(args[:-1:2], args[1::2], strict=True)
            return sympy.Piecewise(*cases, (args[-1], True))
        case t.Relation(held=op):
            return _RELATIONS[op](*args)
        case t.Truth():
            return sympy.Ne(args[0], 0)
        case t.And():
            return sympy.And(*args)
        case t.Or():
            return sympy.Or(*args)
        case t.Not():
            return sympy.Not(*args)
    raise TypeError(f"no sympy expression for {term!r}")
