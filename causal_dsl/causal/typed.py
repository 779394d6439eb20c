"""An expression with what is known of it: its type, its bounds, and the texts that it can be."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any, Literal

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.domains import LIMIT, WORDS, Domain, Finite, Type, Value
from causal_dsl.causal.scope import Strings
from causal_dsl.causal.terms import (
    FALSE,
    TRUE,
    Apply,
    Float,
    Integer,
    Symbol,
    Term,
    Truth,
    combine,
    piecewise,
    relation,
)
from causal_dsl.diagnostics import Span

#: Sets of texts beyond this size are not followed through expressions.
_MANY = 20_000


@dataclass(frozen=True)
class Typed:
    """An expression and what is known of its values.

    ``expr`` is a condition for type bool, else a number (texts stand as their codes). ``low`` and ``high`` bound a
    number. ``texts`` are the codes of the texts that it can be; None is any.
    """

    type: Type
    expr: Any
    low: float = -math.inf
    high: float = math.inf
    texts: frozenset[int] | None = None
    #: the domain, where the expression is a bare variable
    domain: Domain | None = None

    @property
    def numeric(self) -> bool:
        return self.type in ("int", "real")

    @property
    def told(self) -> str:
        """The type of a value, in words; of a column that would hold numbers, why it holds texts."""
        gap = self.domain.gap if isinstance(self.domain, Finite) else ""
        return WORDS[self.type] + f", because {gap}" * bool(gap)

    @property
    def number(self) -> Any:
        """The expression as a number: 0 or 1 for a truth value."""
        return as_number(self.expr) if self.type == "bool" else self.expr

    @property
    def real(self) -> Any:
        """The expression as a float."""
        if self.type == "real":
            return self.expr
        if isinstance(self.expr, Integer):
            return Float(self.expr.held)
        return call("as_float", self.expr)


@dataclass(frozen=True)
class Guard:
    """A condition on a row that makes it a fault: the branch that leads there is part of it.

    ``kind`` is ``zero`` (a division by it), ``large`` (a number beyond what is computed exactly), ``key`` (a row that a
    table does not have) or ``domain`` (a value outside the declared domain of ``subject``).
    """

    condition: Any
    kind: Literal["zero", "large", "key", "domain"]
    span: Span
    subject: str = ""


def call(helper: str, *arguments: Any) -> Apply:
    """A call of a run-time helper by its name."""
    return Apply(helper, *arguments)


def as_number(condition: Any) -> Any:
    """A truth value as 0 or 1."""
    if isinstance(condition, Truth):
        return condition.args[0]
    return piecewise([Integer(1)], [condition], Integer(0))


def as_condition(number: Any) -> Any:
    """0 or 1 as a truth value."""
    return Truth(number)


def variable(symbol: Symbol, domain: Domain, strings: Strings) -> Typed:
    """A variable of a domain, by the symbol that holds its codes."""
    texts: frozenset[int] | None = None
    if domain.type == "string" and isinstance(domain, Finite) and domain.size <= _MANY:
        texts = strings.set_of(domain.values)
    expr = as_condition(symbol) if domain.type == "bool" else symbol
    return Typed(domain.type, expr, domain.low, domain.high, texts, domain)


def literal(value: Value, strings: Strings) -> Typed:
    """A constant."""
    if isinstance(value, bool):
        return Typed("bool", TRUE if value else FALSE)
    if isinstance(value, int):
        return Typed("int", Integer(value), value, value)
    if isinstance(value, float):
        return Typed("real", Float(value), value, value)
    code = strings.code(value)
    return Typed("string", Integer(code), texts=frozenset((code,)))


# ── arithmetic ──────────────────────────────────────────────────────────────────────────────────


def _corners(f: Callable[[Any, Any], Any], a: Typed, b: Typed) -> tuple[float, float]:
    found = [f(x, y) for x in (a.low, a.high) for y in (b.low, b.high)]
    found = [0 if value != value else value for value in found]  # 0 * inf, inf / inf
    return min(found), max(found)


def _times(x: Any, y: Any) -> Any:
    return 0 if x == 0 or y == 0 else x * y


def _bounds(op: str, a: Typed, b: Typed) -> tuple[float, float]:
    """Bounds of ``a op b``. They hold for whole numbers exactly, and for floats up to rounding."""
    if op == "+":
        return a.low + b.low, a.high + b.high
    if op == "*":
        return _corners(_times, a, b)
    if op == "mod":
        one = 1 if a.type == b.type == "int" else 0
        return min(b.low + one, 0), max(b.high - one, 0)  # of the divisor's sign, and nearer to 0
    if b.low <= 0 <= b.high:
        if b.type != "int":
            return -math.inf, math.inf
        most = max(abs(a.low), abs(a.high))
        return -most, most
    if op == "div":
        whole = all(isinstance(x, int) for x in (a.low, a.high, b.low, b.high))
        return _corners(lambda x, y: x // y if whole else _floor(x, y), a, b)
    return _corners(lambda x, y: x / y, a, b)


def _floor(x: float, y: float) -> float:
    quotient = x / y
    return quotient if not math.isfinite(quotient) else math.floor(quotient)


def arithmetic(op: str, a: Typed, b: Typed) -> tuple[Typed, Any | None, Any | None]:
    """``a op b`` for ``op`` in ``+ * / div mod``, with the conditions on which it divides by zero and is too large.

    Both conditions are None where they cannot hold.
    """
    real = op == "/" or "real" in (a.type, b.type)
    left, right = (a.real, b.real) if real else (a.expr, b.expr)
    low, high = _bounds(op, a, b)
    zero = None
    if op in ("/", "div", "mod"):
        helper = {"/": "divide", "div": "floor_divide", "mod": "modulo"}[op]
        expr: Term = call(helper, left, right)
        if b.low <= 0 <= b.high:
            zero = relation("==", b.expr, 0)
    elif real:
        expr = call("add" if op == "+" else "multiply", left, right)
    else:
        expr = combine(op, left, right)
    large = None
    if real:
        if low < -1e300 or high > 1e300:
            large = relation("!=", call("not_finite", expr), 0)
            low, high = max(low, -sys.float_info.max), min(high, sys.float_info.max)
        return Typed("real", expr, float(low), float(high)), zero, large
    if low <= -LIMIT or high >= LIMIT:
        if op in ("+", "*"):
            # int64 wraps silently, so the size is told from the same operation on floats.
            shadow = call("absolute", call("add" if op == "+" else "multiply", a.real, b.real))
            large = relation(">=", shadow, LIMIT)
        low, high = max(low, 1 - LIMIT), min(high, LIMIT - 1)
    return Typed("int", expr, low, high), zero, large
