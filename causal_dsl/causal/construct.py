"""Draws under a condition that random candidates hardly ever meet: what can be solved is built, the rest is left to rejection.

A condition is cut into its conjuncts. Each that reads few enough values becomes a table of the combinations that it
allows, as does each mechanism and each set on the way to it; an equality of variables of any number of values makes them
one. Candidates are then drawn from exactly the distribution of the draws given all tables
(:mod:`causal_dsl.causal.factors`), so that rejecting by what is left gives the draws given the whole condition.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from causal_dsl.base.counter import bits, key, unit
from causal_dsl.causal.domains import Finite, Real
from causal_dsl.causal.factors import Factor, FactorProduct, TooLarge
from causal_dsl.causal.support import distinct
from causal_dsl.causal.terms import Float, Integer, Relation, Symbol, Term
from causal_dsl.causal.wide import Classes, Drawn
from causal_dsl.diagnostics import SpecError

if TYPE_CHECKING:
    from causal_dsl.causal.condition_functions import Condition, Predicate
    from causal_dsl.causal.model import CausalModel

#: Values of one variable that is listed; others are wide.
LISTED = 200_000
#: Combinations that one condition or mechanism is asked about, and where it calls a Python function.
_GRID = 2**20
_CALLS = 2**14

Key = tuple[str, str]
Columns = dict[str, np.ndarray]


class Construction:
    """The distribution of several roles' exogenous variables, given their models' conditions and ``where``.

    ``context`` holds the columns of roles that are drawn already (with their ``types``), ``targets`` the codes that
    variables must have; both ``[n]``, row by row. ``exact``: nothing is left to rejection. ``empty``: no input satisfies what was built, whatever is
    drawn. ``useful``: it does more than plain candidates.
    """

    def __init__(
        self,
        roles: Mapping[str, CausalModel],
        where: Predicate | None,
        seed: int,
        context: Mapping[Key, np.ndarray] | None = None,
        types: Mapping[Key, str] | None = None,
        targets: Mapping[Key, np.ndarray] | None = None,
    ):
        self.roles = dict(roles)
        self._types = dict(types or {})
        self.seed = seed
        self.context = dict(context or {})
        self._values: dict[Key, np.ndarray | None] = {}
        self._tables: list[tuple[Factor, bool]] = []  # with whether it is a condition, which can be left out
        self._classes = Classes()
        self.exact = True
        self._observed: dict[Key, np.ndarray] = {}
        for at, column in self.context.items():
            self._values[at], codes = np.unique(column, return_inverse=True)
            self._observed[at] = codes.reshape(-1)
        conjuncts: list[tuple[str | None, Condition | Predicate]] = []
        for role, model in self.roles.items():
            conjuncts += [(role, part) for whole in model.wheres for part in self._usable(whole, whole.parts())]
        if where is not None:
            conjuncts += [(None, part) for part in self._usable(where.condition, where.parts())]
        for whose, part in conjuncts:
            self._conjunct(whose, part)
        for at, column in (targets or {}).items():
            values = self._node(*at)
            if values is None:
                self.exact = False
                continue
            place = np.minimum(np.searchsorted(values, column), len(values) - 1)
            if (values[place] == column).all() and at not in self._observed:
                self._observed[at] = place
            else:
                self.exact = False
        #: whether inputs are drawn in proportion to what their models say
        self.weighed = all(self._weigh(role, model.weight) for role, model in self.roles.items() if model.weight)
        self._resolve()
        self._product = self._made()
        self.empty = self._classes.empty or self._product.empty
        self.useful = (
            any(model.weight for model in self.roles.values())
            or self._classes.useful
            or bool(self._observed)
            or any(soft for _, soft in self._tables)
        )

    @property
    def joins(self) -> bool:
        """Whether it makes variables of many values equal."""
        return self._classes.useful

    # ── conditions to tables ────────────────────────────────────────────────────────────────────

    def _usable(self, whole: Condition, parts: Sequence[Condition | Predicate]) -> list[Condition | Predicate]:
        """The conjuncts that can be judged by themselves: beside a division, only plain comparisons."""
        if not whole.guards:
            return list(parts)
        self.exact = False
        return [part for part in parts if all(isinstance(arg, (Symbol, Integer, Float)) for arg in _expr(part).args)]

    def _conjunct(self, role: str | None, part: Condition | Predicate) -> None:
        inputs = part.inputs if role is not None else part.condition.inputs  # type: ignore[union-attr]
        keys: list[Key] = [(role, name) for name in inputs] if role is not None else list(inputs)
        values = [self._node(*at) for at in keys]
        plain = self._equality(part, keys)
        if plain is not None and all(v is not None or self._wide(at) for v, at in zip(values, keys, strict=True)):
            if len(keys) == 1 and values[0] is None:
                self._classes.fix(keys[0], plain)
                return
            if len(keys) == 2 and any(v is None for v in values):
                self._classes.join(*keys)
                return
            if len(keys) == 2 and values[0] is not None and values[1] is not None:
                self._equal(keys, values[0], values[1])
                return
        if any(v is None for v in values) or not keys:
            self.exact = False
            return
        known = [v for v in values if v is not None]
        grid = self._grid(keys, known)
        if grid is None:
            self.exact = False
            return
        numbers, n = grid
        columns = {at: v[number] for at, v, number in zip(keys, known, numbers, strict=True)}
        try:
            if role is not None:
                keep = part({name: columns[role, name] for name in inputs}, n)
            else:
                settings: dict[str, Columns] = {}
                for (at, name), column in columns.items():
                    settings.setdefault(at, {})[name] = column
                keep = part(settings, n)  # type: ignore[arg-type]
        except SpecError:
            self.exact = False
            return
        self._add(keys, [number[keep] for number in numbers], None, soft=True)

    def _weigh(self, role: str, name: str) -> bool:
        """Draw in proportion to a variable; False where it has too many values to be listed."""
        values = self._node(role, name)
        if values is None:
            return False
        there = np.flatnonzero(values > 0)
        self._add([(role, name)], [there], values[there].astype(float), soft=False)
        return True

    def _equal(self, keys: Sequence[Key], first: np.ndarray, second: np.ndarray) -> None:
        _, ours, theirs = np.intersect1d(first, second, assume_unique=True, return_indices=True)
        self._add(keys, [ours, theirs], None, soft=True)

    def _equality(self, part: Condition | Predicate, keys: Sequence[Key]) -> float | None:
        """For ``x == y`` or ``x == constant`` over codes that compare as numbers of one type: the constant, or 0."""
        expr = _expr(part)
        if not (isinstance(expr, Relation) and expr.held == "==") or getattr(part, "recoded", False):
            return None
        if len({self._type(at) for at in keys}) > 1:
            return None
        symbols = [arg for arg in expr.args if isinstance(arg, Symbol)]
        if len(symbols) == len(keys) == 2:
            return 0
        numbers = [arg for arg in expr.args if isinstance(arg, (Integer, Float))]
        if len(symbols) == len(keys) == 1 and len(numbers) == 1:
            return float(numbers[0].held) if isinstance(numbers[0], Float) else int(numbers[0].held)
        return None

    def _add(self, keys: Sequence[Key], numbers: Sequence[np.ndarray], weights: np.ndarray | None, soft: bool) -> None:
        n = len(numbers[0])
        scope = tuple(map(_named, keys))
        table = Factor(scope, tuple(numbers), np.ones(n) if weights is None else weights.astype(float))
        self._tables.append((table, soft))

    def _grid(self, keys: Sequence[Key], values: Sequence[np.ndarray]) -> tuple[list[np.ndarray], int] | None:
        """All combinations of values, by their numbers; None where there are too many."""
        calls = any(self._model(role).functions for role, _ in keys if role in self.roles)
        sizes = [len(v) for v in values]
        count = math.prod(sizes)
        if count > (_CALLS if calls else _GRID):
            return None
        if not sizes:
            return [], 1
        return [column.reshape(-1) for column in np.unravel_index(np.arange(count), sizes)], count

    # ── variables to tables ─────────────────────────────────────────────────────────────────────

    def _model(self, role: str) -> CausalModel:
        return self.roles[role]

    def _type(self, at: Key) -> str:
        role, name = at
        if role in self.roles and name in self.roles[role].variables:
            return self.roles[role].variables[name].type
        return self._types.get(at, "int")

    def _wide(self, at: Key) -> bool:
        """Whether it is drawn from more values than are listed."""
        role, name = at
        if role not in self.roles or name not in self.roles[role].variables or name in self.roles[role].choices:
            return False
        variable = self.roles[role].variables[name]
        return variable.kind == "exogenous" and (
            isinstance(variable.domain, Real) or (isinstance(variable.domain, Finite) and variable.domain.size > LISTED)
        )

    def _node(self, role: str, name: str) -> np.ndarray | None:
        """The values of a variable, with the tables that lead to it; None where it cannot be listed."""
        at = (role, name)
        if at in self._values:
            return self._values[at]
        if role not in self.roles or name not in self.roles[role].variables:
            return None
        self._values[at] = None
        stack = [at]
        while stack:  # parents first, without a call for each: chains are long
            role_name = stack[-1]
            parents = [(role, parent) for parent in self._parents(role_name)]
            waiting = [parent for parent in parents if parent not in self._values]
            if waiting:
                self._values.update(dict.fromkeys(waiting))
                stack.extend(waiting)
                continue
            stack.pop()
            self._values[role_name] = self._listed(role_name)
        return self._values[at]

    def _parents(self, at: Key) -> tuple[str, ...]:
        return self._model(at[0]).variables[at[1]].parents

    def _listed(self, at: Key) -> np.ndarray | None:
        role, name = at
        model = self._model(role)
        variable = model.variables[name]
        if variable.kind == "exogenous" and name not in model.choices:
            if self._wide(at):
                return None
            values = np.unique(model.codes(name))
            self._add([at], [np.arange(len(values))], None, soft=False)
            return values
        keys = [(role, parent) for parent in variable.parents]
        parents = [self._values[key] for key in keys]
        known = [v for v in parents if v is not None]
        grid = self._grid(keys, known) if len(known) == len(keys) else None
        if grid is None:
            return None
        numbers, n = grid
        columns = {key[1]: v[number] for key, v, number in zip(keys, known, numbers, strict=True)}
        try:
            if name in model.choices:
                codes, first = distinct(model.choices[name](columns, n))
                sizes = first.sum(axis=1)
                rows = np.repeat(np.arange(n), sizes)
                weights = (math.lcm(*(int(size) for size in np.unique(sizes))) // sizes)[rows]
                column = codes[first]
            else:
                rows, weights = np.arange(n), np.ones(n, np.int64)
                column = model.evaluate({"": np.zeros(n)}, do=columns, wanted=[name])[name]
        except SpecError:  # a fault on combinations that may never be drawn
            return None
        values, own = np.unique(column, return_inverse=True)
        self._add([*keys, at], [*(number[rows] for number in numbers), own.reshape(-1)], weights, soft=False)
        return values

    # ── the distribution ────────────────────────────────────────────────────────────────────────

    def _resolve(self) -> None:
        """The consequences of wide variables that are equal to others: tables over those that are listed."""
        self._classes.resolve(self.roles, self._values)
        for at, keep in self._classes.restricted:
            self._add([at], [np.flatnonzero(keep)], None, soft=True)
        for first, second in self._classes.pairs:
            ours, theirs = self._values[first], self._values[second]
            assert ours is not None and theirs is not None
            self._equal([first, second], ours, theirs)

    def _made(self) -> FactorProduct:
        sizes = {_named(at): len(values) for at, values in self._values.items() if values is not None}
        observed = tuple(map(_named, self._observed))
        while True:
            try:
                return FactorProduct(sizes, [table for table, _ in self._tables], observed)
            except TooLarge:
                # The condition over the most values is left to rejection.
                soft = [i for i, (_, is_soft) in enumerate(self._tables) if is_soft]
                self.exact = False
                if soft:
                    del self._tables[max(soft, key=lambda i: len(self._tables[i][0].weights))]
                    continue
                self._observed, self._tables = {}, []
                self.weighed = not any(model.weight for model in self.roles.values())
                return FactorProduct({}, [])

    def possible(self, rows: np.ndarray) -> np.ndarray:
        """Whether each row has anything to draw, as far as was built; False is proved."""
        if self.empty:
            return np.zeros(len(rows), bool)
        return self._product.allowed(self._given(rows), len(rows))

    def _given(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        return {_named(at): codes[rows] for at, codes in self._observed.items()}

    def propose(self, rows: np.ndarray, attempts: np.ndarray) -> dict[str, Columns]:
        """Codes of the exogenous variables that were built, by role, for rows that are :meth:`possible`."""
        n = len(rows)

        def uniform(name: str) -> np.ndarray:
            return unit(bits(key(self.seed, "built", name), rows, attempts))

        found = self._product.draw(self._given(rows), n, uniform)
        codes: dict[Key, np.ndarray] = {}
        for at, values in self._values.items():
            if values is not None and _named(at) in found:
                codes[at] = values[found[_named(at)]]
        wide: dict[Key, Drawn] = self._classes.drawn
        for at, drawn in wide.items():
            codes[at] = drawn(codes, uniform, n)
        return {
            role: {name: codes[role, name] for name in model.exogenous if (role, name) in codes}
            for role, model in self.roles.items()
        }


def _named(at: Key) -> str:
    return "\x1f".join(at)


def _expr(part: Condition | Predicate) -> Term:
    return part.condition.expr if hasattr(part, "condition") else part.expr
