"""What sympy has no exact word for, and how expressions are printed as numpy code.

Whole numbers, comparisons, logic and conditionals are sympy's own nodes, made without evaluation. Division, and the arithmetic of floats (where order matters), are
:class:`Apply` nodes, which sympy leaves as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import sympy
from sympy.functions.elementary.piecewise import ExprCondPair
from sympy.logic.boolalg import Boolean
from sympy.printing.pycode import PythonCodePrinter


class Apply(sympy.Expr):
    """A call of a run-time helper: ``Apply(Symbol(name), argument, …)``."""

    is_commutative = True


class Truth(Boolean):
    """A number that is 0 or 1, as a truth value."""


_RELATIONS = {"==": sympy.Eq, "!=": sympy.Ne, "<": sympy.Lt, "<=": sympy.Le, ">": sympy.Gt, ">=": sympy.Ge}

# sympy's constructors rewrite what they are given (relations are made canonical, conditionals are folded into what is
# done to them), at a cost that grows without bound. These make the same nodes as they stand.


def relation(op: str, left: Any, right: Any) -> Any:
    """``left op right``"""
    return sympy.Basic.__new__(_RELATIONS[op], sympy.sympify(left), sympy.sympify(right))


def combine(op: str, left: Any, right: Any) -> Any:
    """``left + right`` or ``left * right`` of whole numbers."""
    if isinstance(left, sympy.Integer) and isinstance(right, sympy.Integer):
        return left + right if op == "+" else left * right
    return (sympy.Add if op == "+" else sympy.Mul)._from_args((left, right))


def every(conditions: Sequence[Any]) -> Any:
    """All of the conditions; true where there is none."""
    kept = tuple(dict.fromkeys(condition for condition in conditions if condition is not sympy.true))
    return sympy.true if not kept else kept[0] if len(kept) == 1 else sympy.Basic.__new__(sympy.And, *kept)


def some(conditions: Sequence[Any]) -> Any:
    """At least one of the conditions; false where there is none."""
    kept = tuple(dict.fromkeys(condition for condition in conditions if condition is not sympy.false))
    return sympy.false if not kept else kept[0] if len(kept) == 1 else sympy.Basic.__new__(sympy.Or, *kept)


def negation(condition: Any) -> Any:
    if condition in (sympy.true, sympy.false):
        return sympy.false if condition is sympy.true else sympy.true
    return sympy.Basic.__new__(sympy.Not, condition)


def piecewise(values: Sequence[Any], conditions: Sequence[Any], otherwise: Any) -> Any:
    """The value at the first condition that holds."""
    pairs = [*zip(values, conditions, strict=True), (otherwise, sympy.true)]
    return sympy.Basic.__new__(sympy.Piecewise, *(sympy.Basic.__new__(ExprCondPair, *pair) for pair in pairs))


class Line(sympy.Basic):
    """The right side of one assignment, printed in full though it has a name."""


class Printer(PythonCodePrinter):
    """Prints expressions as numpy code over names that the compiler chose; ``names`` maps shared parts to theirs."""

    def __init__(self, names: dict[Any, str]):
        super().__init__({"fully_qualified_modules": False, "inline": True, "allow_unknown_functions": False})
        self.names = names

    def _print(self, expr: Any, **kwargs: Any) -> str:
        name = self.names.get(expr) if isinstance(expr, sympy.Basic) else None
        return name if name is not None else super()._print(expr, **kwargs)

    def _print_Line(self, line: Line) -> str:
        whole = line.args[0]
        return self._print(whole) if isinstance(whole, sympy.Symbol) else str(super()._print(whole))

    def _print_Apply(self, expr: Apply) -> str:
        return f"{expr.args[0].name}({', '.join(self._print(a) for a in expr.args[1:])})"

    def _print_Float(self, expr: sympy.Float) -> str:
        return f"({float(expr)!r})"

    def _print_Integer(self, expr: sympy.Integer) -> str:
        return f"({int(expr)})" if expr < 0 else str(int(expr))

    def _print_Add(self, expr: sympy.Add) -> str:
        return "(" + " + ".join(self._print(a) for a in expr.args) + ")"

    def _print_Mul(self, expr: sympy.Mul) -> str:
        return "(" + " * ".join(self._print(a) for a in expr.args) + ")"

    def _print_Relational(self, expr: sympy.core.relational.Relational) -> str:
        return f"({self._print(expr.lhs)} {expr.rel_op} {self._print(expr.rhs)})"

    _print_Equality = _print_Unequality = _print_Relational
    _print_StrictLessThan = _print_LessThan = _print_StrictGreaterThan = _print_GreaterThan = _print_Relational

    def _print_BooleanTrue(self, expr: Any) -> str:
        return "true"

    def _print_BooleanFalse(self, expr: Any) -> str:
        return "false"

    def _print_And(self, expr: sympy.And) -> str:
        return "(" + " & ".join(self._print(a) for a in expr.args) + ")"

    def _print_Or(self, expr: sympy.Or) -> str:
        return "(" + " | ".join(self._print(a) for a in expr.args) + ")"

    def _print_Truth(self, expr: Truth) -> str:
        return f"({self._print(expr.args[0])} != 0)"

    def _print_Not(self, expr: sympy.Not) -> str:
        return f"logical_not({self._print(expr.args[0])})"

    def _print_Piecewise(self, expr: sympy.Piecewise) -> str:
        *cases, (otherwise, _) = expr.args
        if len(cases) == 1:
            value, condition = cases[0].args
            return f"where({self._print(condition)}, {self._print(value)}, {self._print(otherwise)})"
        conditions = ", ".join(self._print(case.args[1]) for case in cases)
        values = ", ".join(self._print(case.args[0]) for case in cases)
        return f"select([{conditions}], [{values}], {self._print(otherwise)})"


# ── helpers that compiled functions call ────────────────────────────────────────────────────────
# A divisor of zero is replaced: whether such a row is reached is a guard's business, and there the value is not used.


def _divisor(b: Any) -> Any:
    return np.where(np.equal(b, 0), 1, b)


def divide(a: Any, b: Any) -> Any:
    return np.true_divide(a, _divisor(b))


def floor_divide(a: Any, b: Any) -> Any:
    return np.floor_divide(a, _divisor(b))


def modulo(a: Any, b: Any) -> Any:
    return np.mod(a, _divisor(b))


def select(conditions: list[Any], values: list[Any], otherwise: Any) -> Any:
    """The value at the first condition that holds, element by element."""
    result = otherwise
    for condition, value in zip(reversed(conditions), reversed(values), strict=True):
        result = np.where(condition, value, result)
    return result


def as_float(a: Any) -> Any:
    return np.asarray(a, dtype=np.float64)


def not_finite(a: Any) -> Any:
    return np.logical_not(np.isfinite(a))


HELPERS: dict[str, Callable[..., Any]] = {
    "where": np.where,
    "select": select,
    "logical_not": np.logical_not,
    "divide": divide,
    "floor_divide": floor_divide,
    "modulo": modulo,
    "as_float": as_float,
    "add": np.add,
    "multiply": np.multiply,
    "absolute": np.abs,
    "not_finite": not_finite,
    "true": np.True_,  # type: ignore[dict-item]
    "false": np.False_,  # type: ignore[dict-item]
}
