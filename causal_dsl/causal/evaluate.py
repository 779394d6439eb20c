"""Running a causal model over a batch of settings, under interventions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.accepted import AcceptedSets
from causal_dsl.causal.compiled import compile_lines, run
from causal_dsl.causal.domains import show
from causal_dsl.causal.lookups import value_of
from causal_dsl.causal.scope import Strings
from causal_dsl.causal.terms import Symbol
from causal_dsl.causal.typed import Guard
from causal_dsl.causal.variables import Variable
from causal_dsl.diagnostics import Diagnostic, Span, SpecError, did_you_mean

#: Compiled functions kept for one model; a model is intervened on in few ways.
_KEPT = 256


def dtype_of(kind: str) -> Any:
    """The dtype of the codes of a type."""
    return np.float64 if kind == "real" else np.int64


@dataclass
class Equation:
    """A mechanism, ready to be compiled."""

    symbol: Symbol
    expr: Any
    guards: tuple[Guard, ...]
    span: Span


@dataclass
class Evaluator:
    """The compiled functions of one model, one for each set of intervened (and of wanted) variables."""

    name: str
    variables: Mapping[str, Variable]
    sets: Mapping[str, AcceptedSets]
    strings: Strings
    equations: dict[str, Equation]
    symbols: dict[str, Symbol]
    helpers: dict[str, Callable[..., Any]]
    _made: dict[Any, tuple[Any, list[str], list[str], list[tuple[str, Guard]]]] = field(default_factory=dict)

    def evaluate(
        self, settings: Mapping[str, np.ndarray], do: Mapping[str, np.ndarray], wanted: Iterable[str] | None = None
    ) -> dict[str, np.ndarray]:
        """The codes of the wanted variables (None: all). See :meth:`CausalModel.evaluate`."""
        variables = self.variables
        for name in (*do, *(wanted or ())):
            if name not in variables:
                raise KeyError(f"no variable {name!r} in {self.name!r}: {did_you_mean(name, variables)}")
        wanted = None if wanted is None else tuple(wanted)
        function, arguments, computed, guards = self._function(frozenset(do), wanted)
        columns: dict[str, np.ndarray] = {}
        for name in arguments:
            given = do[name] if name in do else settings.get(name)
            if given is None:
                raise KeyError(f"no codes for the exogenous variable {name!r} of {self.name!r}")
            columns[name] = np.asarray(given, dtype=dtype_of(variables[name].type))
        lengths = {len(column) for column in columns.values()}
        if len(lengths) > 1:
            raise ValueError(f"columns of different lengths: {sorted(lengths)}")
        if not lengths:
            lengths = {len(np.asarray(column)) for column in (*settings.values(), *do.values())} or {0}
        n = lengths.pop()
        dtypes = [dtype_of(variables[name].type) for name in computed] + [np.bool_] * len(guards)
        results = run(function, list(columns.values()), dtypes, n)
        found = {**columns, **dict(zip(computed, results, strict=False))}
        faults: dict[str, Diagnostic] = {}
        for (name, guard), failed in zip(guards, results[len(computed) :], strict=True):
            if name not in faults and failed.any():
                row = int(np.argmax(failed))
                faults[name] = self._fault(name, guard, {k: v[row] for k, v in found.items()}, frozenset(do))
        if faults:
            self._raise(faults)
        return {name: found[name] for name in (variables if wanted is None else wanted)}

    def _raise(self, faults: Mapping[str, Diagnostic]) -> None:
        """Raise the faults that do not come of others: what is computed from a wrong value means nothing."""
        spoilt: set[str] = set()
        for name, variable in self.variables.items():
            if name in faults or not spoilt.isdisjoint(variable.parents):
                spoilt.add(name)
        raise SpecError(faults[name] for name in faults if spoilt.isdisjoint(self.variables[name].parents))

    def _function(self, do: frozenset[str], wanted: tuple[str, ...] | None) -> Any:
        key = (do, wanted)
        if key in self._made:
            return self._made[key]
        needed = self._needed(do, wanted)
        computed = [name for name in needed if name in self.equations and name not in do]
        made = set(computed)
        arguments = [name for name in needed if name not in made]
        guards = [(name, guard) for name in computed for guard in self.equations[name].guards]
        lines = [(self.symbols[name], self.equations[name].expr) for name in computed]
        marks = [Symbol(f"g{i}") for i in range(len(guards))]
        # A guard stands right behind what it is about: later lines may not be computable at all.
        lines += [(mark, guard.condition) for mark, (_, guard) in zip(marks, guards, strict=True)]
        results = [self.symbols[name] for name in computed] + marks
        function = compile_lines([self.symbols[name] for name in arguments], lines, results, self.helpers)
        if len(self._made) >= _KEPT:
            self._made.clear()
        self._made[key] = (function, arguments, computed, guards)
        return self._made[key]

    def _needed(self, do: frozenset[str], wanted: tuple[str, ...] | None) -> list[str]:
        """The variables from which the wanted ones are computed, themselves included, in topological order."""
        variables = self.variables
        if wanted is None:
            return list(variables)
        seen: set[str] = set()
        stack = list(wanted)
        while stack:
            name = stack.pop()
            if name not in seen:
                seen.add(name)
                if name in self.equations and name not in do:
                    stack.extend(variables[name].parents)
        return [name for name in variables if name in seen]

    def _fault(self, name: str, guard: Guard, row: Mapping[str, Any], do: frozenset[str]) -> Diagnostic:
        def told(variable: str) -> str:
            return show(value_of(row[variable], self.variables[variable].type, self.strings))

        shown = [p for p in self.variables[name].parents if p in row]
        parts = [f"{p} = {told(p)}" for p in shown]
        notes: tuple[str, ...] = (f"with {', '.join(parts)}",) if parts else ()
        if do:
            notes += (f"under do({', '.join(f'{v} = {told(v)}' for v in sorted(do) if v in row)})",)
        if name in self.sets:
            return guard_fault(guard, name, "", str(self.sets[name].universe), notes)
        value = told(name) if name in row and guard.kind == "domain" else ""
        return guard_fault(guard, name, value, str(self.variables[name].domain), notes)


def guard_fault(guard: Guard, name: str, value: str, domain: str, notes: Sequence[str]) -> Diagnostic:
    """The diagnostic of a guard that a row hit, in the mechanism (or condition) ``name``."""
    notes = tuple(notes)
    if guard.kind == "zero":
        help = "divide only where the divisor is not 0: if b == 0 then … else a / b"
        return Diagnostic(
            "E325", f"division by zero in `{name}`", guard.span, "the divisor is 0 on some row", (), notes, help
        )
    if guard.kind == "large":
        label = "beyond 4.6e18 whole numbers are not exact"
        return Diagnostic(
            "E326", f"a number in `{name}` gets too large", guard.span, label, (), notes, "scale the numbers down"
        )
    if guard.kind == "key":
        help = "restrict the variable to the keys of the table"
        return Diagnostic(
            "E349", f"`{guard.subject}` has no such row", guard.span, "not a key of the table", (), notes, help
        )
    title = f"`{name}` leaves its declared domain"
    label = f"{value} is not in {domain}" if value else f"not in {domain}"
    return Diagnostic("E324", title, guard.span, label, (), notes, "widen the domain, or correct the mechanism")
