"""Conditions as compiled functions over columns of codes: those of a model, and those over the runs of a test."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import field
from typing import Any

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.compiled import compile_lines, run
from causal_dsl.causal.evaluate import dtype_of, guard_fault
from causal_dsl.causal.scope import Strings
from causal_dsl.causal.terms import TRUE, And, Symbol, every
from causal_dsl.causal.typed import Guard
from causal_dsl.diagnostics import Span, SpecError


@dataclass
class Condition:
    """A compiled truth value over columns of codes. ``inputs`` are keys of the columns that it reads."""

    inputs: tuple[Any, ...]
    function: Callable[..., list[Any]]
    dtypes: tuple[Any, ...]
    guards: tuple[Guard, ...]
    span: Span
    #: what it was compiled from: a condition over symbols by key, the types of their codes, and run-time helpers
    expr: Any = None
    symbols: Mapping[Any, Symbol] = field(default_factory=dict)
    types: Mapping[Any, str] = field(default_factory=dict)
    helpers: Mapping[str, Callable[..., Any]] = field(default_factory=dict)

    def parts(self) -> list[Condition]:
        """The conjuncts, each compiled without the guards: what divides by zero is no fault of theirs."""
        found, stack = [], [self.expr]
        while stack:
            expr = stack.pop()
            if isinstance(expr, And):
                stack.extend(reversed(expr.args))
            elif expr is not TRUE:
                found.append(compile_condition(expr, (), self.symbols, self.types, self.helpers, self.span))
        return found

    def __call__(self, columns: Mapping[Any, np.ndarray], n: int) -> np.ndarray:
        """Where it holds, ``[n]`` bool. Raises SpecError for a division by zero."""
        given = [np.asarray(columns[key], dtype) for key, dtype in zip(self.inputs, self.dtypes, strict=True)]
        holds, *failed = run(self.function, given, [np.bool_] * (1 + len(self.guards)), n)
        for guard, rows in zip(self.guards, failed, strict=True):
            if rows.any():
                raise SpecError([guard_fault(guard, "where", "", "", ())])
        return holds


def compile_condition(
    expr: Any,
    guards: Iterable[Guard],
    symbols: Mapping[Any, Symbol],
    types: Mapping[Any, str],
    helpers: Mapping[str, Callable[..., Any]],
    span: Span,
) -> Condition:
    """Compile a condition over ``symbols`` (by the keys of the columns that hold their codes)."""
    guards = tuple(guards)
    used = expr.symbols.union(*(guard.condition.symbols for guard in guards))
    keys = tuple(key for key, symbol in symbols.items() if symbol in used)
    marks = [Symbol(f"g{i}") for i in range(1 + len(guards))]
    lines = list(zip(marks, [expr, *(guard.condition for guard in guards)], strict=True))
    function = compile_lines([symbols[key] for key in keys], lines, marks, helpers)
    dtypes = tuple(dtype_of(types[key]) for key in keys)
    return Condition(keys, function, dtypes, guards, span, expr, symbols, types, helpers)


@dataclass(eq=False)
class Predicate:
    """A compiled condition. ``mentions`` are the (role, variable) that it reads; ``template`` is a variable, too."""

    condition: Condition
    span: Span
    #: what it says, whatever stands at its place in the text: a parameter that was written out is its value here
    said: str
    #: (role, variable) whose texts are coded otherwise than the condition's: the texts of that role's model
    _foreign: dict[tuple[str, str], Strings] = field(default_factory=dict)
    _strings: Strings = field(default_factory=Strings)

    @property
    def mentions(self) -> frozenset[tuple[str, str]]:
        return frozenset(self.condition.inputs)

    def parts(self) -> list[Predicate]:
        """The conditions that hold together just where this one does, as far as it is a conjunction."""
        return [
            Predicate(part, self.span, self.said, self.foreign_of(part), self._strings)
            for part in self.condition.parts()
        ]

    def apart(self, roles: Collection[str]) -> tuple[dict[str, dict[Any, Condition]], Predicate | None]:
        """The conjuncts that read one of these roles alone, by role and by what they say, and the condition that is left; None: nothing is.

        All of it is left where it divides, calls functions of its own, or compares texts that are coded differently.
        """
        whole, own, others = self.condition, dict[str, dict[Any, Condition]](), []
        if whole.guards or whole.helpers or self._foreign:
            return {}, self
        for part in whole.parts():
            read = {role for role, _ in part.inputs}
            if len(read) == 1 and read <= set(roles):
                said = part.expr, tuple((name, part.symbols[role, name]) for role, name in part.inputs)
                own.setdefault(read.pop(), {})[said] = part
            else:
                others.append(part.expr)
        if not own or not others:
            return own, None if own else self
        left = compile_condition(every(others), (), whole.symbols, whole.types, {}, whole.span)
        return own, Predicate(left, self.span, self.said, {}, self._strings)

    @property
    def recoded(self) -> bool:
        """Whether it compares texts of models that code them differently."""
        return bool(self._foreign)

    def foreign_of(self, part: Condition) -> dict[tuple[str, str], Strings]:
        """The variables of a part whose texts are coded otherwise than the condition's."""
        return {key: strings for key, strings in self._foreign.items() if key in part.inputs}

    def __call__(self, settings: Mapping[str, Mapping[str, np.ndarray]], n: int | None = None) -> np.ndarray:
        """Where it holds, ``[n]`` bool, for columns of codes by role and variable. Raises SpecError (E325, E326)."""
        if n is None:
            n = next((len(column) for columns in settings.values() for column in columns.values()), 0)
        columns = {key: settings[key[0]][key[1]] for key in self.condition.inputs}
        for key, strings in self._foreign.items():
            recoded = np.array([self._strings.code(text) for text in strings.texts()] or [0])
            columns[key] = recoded[columns[key]]
        return self.condition(columns, n)


Columns = dict[str, np.ndarray]


__all__ = ["Condition"]
