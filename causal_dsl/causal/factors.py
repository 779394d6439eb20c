"""Exact draws from a product of small tables: variable elimination, then one value after the other, backwards.

Dechter, R. (1999), Bucket elimination: a unifying framework for reasoning. A table lists the combinations of values that
it allows, each with a weight; what is not listed has none. The distribution is the normalised product of all tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass

#: Rows of one table, given or made on the way.
MOST = 2**22

Name = str


class TooLarge(Exception):
    """A table on the way would have more than ``MOST`` rows."""


@dataclass
class Factor:
    """Allowed combinations: for each variable of ``scope`` a column ``[rows]`` of numbers of its values; ``weights [rows]``."""

    scope: tuple[Name, ...]
    columns: tuple[np.ndarray, ...]
    weights: np.ndarray

    def column(self, name: Name) -> np.ndarray:
        return self.columns[self.scope.index(name)]


@dataclass
class _Step:
    """How one variable is drawn, given those of ``scope``: rows sorted by the key of the scope."""

    name: Name
    scope: tuple[Name, ...]
    keys: np.ndarray
    values: np.ndarray
    sums: np.ndarray


class FactorProduct:
    """A distribution over variables of ``sizes[name]`` values each, the normalised product of tables.

    Variables in ``observed`` are given for each draw and not eliminated. Raises TooLarge.
    """

    def __init__(self, sizes: Mapping[Name, int], tables: Sequence[Factor], observed: Sequence[Name] = ()):
        self.sizes = dict(sizes)
        self.observed = tuple(observed)
        self._steps: list[_Step] = []
        tables = list(tables)
        left = {name for table in tables for name in table.scope} - set(observed)
        self.empty = any(not len(table.weights) for table in tables)
        while left and not self.empty:
            name = min(sorted(left), key=lambda name: self._cost(name, tables))
            bucket = [table for table in tables if name in table.scope]
            tables = [table for table in tables if name not in table.scope]
            joined = bucket[0]
            for other in sorted(bucket[1:], key=lambda table: len(table.weights)):
                joined = self._join(joined, other)
            self.empty = not len(joined.weights)
            tables.append(self._eliminate(name, joined))
            left.discard(name)
        #: what the observed variables must satisfy
        self.remaining = [table for table in tables if table.scope]

    def _cost(self, name: Name, tables: Sequence[Factor]) -> float:
        scope = {other for table in tables if name in table.scope for other in table.scope}
        return float(np.sum([np.log(max(1, self.sizes[other])) for other in sorted(scope)]))

    def _key(self, scope: Sequence[Name], columns: Sequence[np.ndarray], n: int) -> np.ndarray:
        """One number for each combination; raises TooLarge where there are more than fit 62 bits."""
        found, total = np.zeros(n, np.int64), 1
        for name, column in zip(scope, columns, strict=True):
            total *= max(1, self.sizes[name])
            if total >= 2**62:
                raise TooLarge
            found = found * self.sizes[name] + column
        return found

    def _join(self, first: Factor, second: Factor) -> Factor:
        shared = [name for name in first.scope if name in second.scope]
        ours = self._key(shared, [first.column(name) for name in shared], len(first.weights))
        theirs = self._key(shared, [second.column(name) for name in shared], len(second.weights))
        order = np.argsort(theirs, kind="stable")
        theirs = theirs[order]
        start, stop = np.searchsorted(theirs, ours, "left"), np.searchsorted(theirs, ours, "right")
        counts = stop - start
        total = int(counts.sum())
        if total > MOST:
            raise TooLarge
        left = np.repeat(np.arange(len(ours)), counts)
        offsets = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
        right = order[np.repeat(start, counts) + offsets]
        new = [name for name in second.scope if name not in first.scope]
        return Factor(
            (*first.scope, *new),
            (*(column[left] for column in first.columns), *(second.column(name)[right] for name in new)),
            first.weights[left] * second.weights[right],
        )

    def _eliminate(self, name: Name, joined: Factor) -> Factor:
        scope = tuple(other for other in joined.scope if other != name)
        columns = [joined.column(other) for other in scope]
        keys = self._key(scope, columns, len(joined.weights))
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        sums = np.cumsum(joined.weights[order])
        self._steps.append(_Step(name, scope, keys, joined.column(name)[order], sums))
        last = np.flatnonzero(np.append(keys[1:] != keys[:-1], True)) if len(keys) else np.zeros(0, np.int64)
        weights = np.diff(sums[last], prepend=0.0)
        # Only the ratios of weights matter: large ones are brought down by a power of two, which rounds nothing.
        if len(weights) and weights.max() > 2.0**40:
            weights = weights * 2.0 ** -np.floor(np.log2(weights.max()))
        rows = order[last]
        return Factor(scope, tuple(column[rows] for column in columns), weights)

    def allowed(self, given: Mapping[Name, np.ndarray], n: int) -> np.ndarray:
        """Whether the observed values of each draw have any weight, ``[n]`` bool."""
        if self.empty:
            return np.zeros(n, bool)
        holds = np.ones(n, bool)
        for table in self.remaining:
            keys = np.sort(self._key(table.scope, table.columns, len(table.weights)))
            asked = self._key(table.scope, [given[name] for name in table.scope], n)
            place = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
            holds &= keys[place] == asked
        return holds

    def draw(
        self, given: Mapping[Name, np.ndarray], n: int, uniform: Callable[[Name], np.ndarray]
    ) -> dict[Name, np.ndarray]:
        """Numbers of values by variable, ``[n]`` each, from numbers in [0, 1) for each variable.

        What is observed must be :meth:`allowed`.
        """
        found = dict(given)
        for step in reversed(self._steps):
            asked = self._key(step.scope, [found[name] for name in step.scope], n)
            start, stop = np.searchsorted(step.keys, asked, "left"), np.searchsorted(step.keys, asked, "right")
            below = np.where(start > 0, step.sums[np.maximum(start - 1, 0)], 0.0)
            above = step.sums[stop - 1]
            pick = np.searchsorted(step.sums, below + uniform(step.name) * (above - below), side="right")
            found[step.name] = step.values[np.clip(pick, start, stop - 1)]
        return found
