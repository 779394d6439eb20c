"""The parts of mechanisms and conditions: expressions as values, each kept once.

Equal expressions are one object, so they are compared and hashed by identity however deep they are. They stand as they
were written: nothing is rearranged, since the order of float arithmetic matters. :mod:`causal_dsl.causal.symbolic` gives
them as sympy expressions, which can be simplified and compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar
from weakref import WeakValueDictionary

_kept: WeakValueDictionary[Any, Any] = WeakValueDictionary()

T = TypeVar("T", bound="Term")


class Term:
    """One expression: its parts, and the name, operator or number that it holds itself."""

    __slots__ = ("__weakref__", "args", "held")
    args: tuple[Term, ...]
    held: Any

    def __repr__(self) -> str:
        inner = ", ".join([*([] if self.held is None else [repr(self.held)]), *map(repr, self.args)])
        return f"{type(self).__name__}({inner})"

    def walk(self) -> Iterator[Term]:
        """The expression and all of its parts, each once."""
        seen, stack = {self}, [self]
        while stack:
            term = stack.pop()
            yield term
            for part in term.args:
                if part not in seen:
                    seen.add(part)
                    stack.append(part)

    @property
    def symbols(self) -> frozenset[Symbol]:
        """The symbols that occur in it."""
        return frozenset(term for term in self.walk() if isinstance(term, Symbol))


def _term(kind: type[T], args: tuple[Term, ...], held: Any = None, key: Any = None) -> T:
    key = (kind, held if key is None else key, args)
    found: T | None = _kept.get(key)
    if found is None:
        found = _kept[key] = object.__new__(kind)
        found.args, found.held = args, held
    return found


class Symbol(Term):
    """A column of codes, by name."""

    __slots__ = ()

    def __new__(cls, name: str) -> Symbol:
        return _term(cls, (), name)

    @property
    def name(self) -> str:
        return str(self.held)


class Integer(Term):
    """A whole number."""

    __slots__ = ()

    def __new__(cls, value: int) -> Integer:
        return _term(cls, (), int(value))


class Float(Term):
    """A 64-bit float."""

    __slots__ = ()

    def __new__(cls, value: float) -> Float:
        value = float(value)
        return _term(cls, (), value, value.hex())  # 0.0 and -0.0 are two


class Sum(Term):
    """Whole numbers added."""

    __slots__ = ()


class Times(Term):
    """Whole numbers multiplied."""

    __slots__ = ()


class Apply(Term):
    """A call of a run-time helper, by its name: division, and the arithmetic of floats."""

    __slots__ = ()

    def __new__(cls, helper: str, *arguments: Term) -> Apply:
        return _term(cls, arguments, helper)


class Piecewise(Term):
    """The value at the first condition that holds: ``value, condition, …, otherwise``."""

    __slots__ = ()


class Relation(Term):
    """``left op right`` for two numbers."""

    __slots__ = ()


class Truth(Term):
    """A number that is 0 or 1, as a truth value."""

    __slots__ = ()

    def __new__(cls, number: Term) -> Truth:
        return _term(cls, (number,))


class And(Term):
    """All of two conditions or more."""

    __slots__ = ()


class Or(Term):
    """At least one of two conditions or more."""

    __slots__ = ()


class Not(Term):
    """The opposite of a condition."""

    __slots__ = ()


class Literal(Term):
    """True or false."""

    __slots__ = ()


TRUE = _term(Literal, (), "true")
FALSE = _term(Literal, (), "false")


def relation(op: str, left: Term | int, right: Term | int) -> Term:
    """``left op right``"""
    sides = tuple(Integer(side) if isinstance(side, int) else side for side in (left, right))
    return _term(Relation, sides, op)


def combine(op: str, left: Term, right: Term) -> Term:
    """``left + right`` or ``left * right`` of whole numbers."""
    if isinstance(left, Integer) and isinstance(right, Integer):
        return Integer(left.held + right.held if op == "+" else left.held * right.held)
    return _term(Sum, (left, right)) if op == "+" else _term(Times, (left, right))


def every(conditions: Sequence[Term]) -> Term:
    """All of the conditions; true where there is none."""
    kept = tuple(dict.fromkeys(condition for condition in conditions if condition is not TRUE))
    return TRUE if not kept else kept[0] if len(kept) == 1 else _term(And, kept)


def some(conditions: Sequence[Term]) -> Term:
    """At least one of the conditions; false where there is none."""
    kept = tuple(dict.fromkeys(condition for condition in conditions if condition is not FALSE))
    return FALSE if not kept else kept[0] if len(kept) == 1 else _term(Or, kept)


def negation(condition: Term) -> Term:
    if condition is TRUE or condition is FALSE:
        return FALSE if condition is TRUE else TRUE
    return _term(Not, (condition,))


def piecewise(values: Sequence[Term], conditions: Sequence[Term], otherwise: Term) -> Term:
    """The value at the first condition that holds."""
    pairs = [part for pair in zip(values, conditions, strict=True) for part in pair]
    return _term(Piecewise, (*pairs, otherwise))
