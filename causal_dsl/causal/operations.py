"""The helpers that compiled code calls, and how expressions are printed as numpy code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from causal_dsl.causal import terms as t


def printed(term: t.Term, names: Mapping[t.Term, str]) -> str:
    """An expression as numpy code over names that the compiler chose: of columns, and of parts that are shared."""
    return names[term] if term in names else printed_whole(term, names)


def printed_whole(term: t.Term, names: Mapping[t.Term, str]) -> str:
    """The same, in full though it has a name: the right side of the line that gives it the name."""
    if isinstance(term, t.Symbol):
        return names.get(term, term.name)
    parts = [printed(part, names) for part in term.args]
    match term:
        case t.Integer(held=value):
            return f"({value})" if value < 0 else str(value)
        case t.Float(held=value):
            return f"({value!r})"
        case t.Literal(held=word):
            return str(word)
        case t.Apply(held=helper):
            return f"{helper}({', '.join(parts)})"
        case t.Relation(held=op):
            return f"({parts[0]} {op} {parts[1]})"
        case t.Truth():
            return f"({parts[0]} != 0)"
        case t.Not():
            return f"logical_not({parts[0]})"
        case t.Piecewise():
            *cases, otherwise = parts
            if len(cases) == 2:
                return f"where({cases[1]}, {cases[0]}, {otherwise})"
            return f"select([{', '.join(cases[1::2])}], [{', '.join(cases[::2])}], {otherwise})"
    return f"({_SIGNS[type(term)].join(parts)})"


_SIGNS: dict[type[t.Term], str] = {t.Sum: " + ", t.Times: " * ", t.And: " & ", t.Or: " | "}

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
