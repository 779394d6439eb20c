"""The inputs of all roles of a draw together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from causal_dsl.causal.condition_functions import Columns
from causal_dsl.causal.ranks import combined, firsts, ranks


class Pooled:
    """All inputs of a draw, in whatever role, one role after the other: what must not matter in one must not in another.

    ``ids`` [n] of all rows, ``first`` [distinct] the first row of each id, in the order of the ids.
    """

    def __init__(self, n: int, values: Mapping[str, Columns], ids: Mapping[str, np.ndarray]):
        self._rows, self._values, self._ids = n, values, ids
        self._roles = [role for role in values if set(values[role]) == set(values["base"])]
        self.names = tuple(values["base"])
        self.n = n * len(self._roles)
        self._settings: dict[tuple[str, ...], np.ndarray] = {}

    @cached_property
    def ids(self) -> np.ndarray:
        return np.concatenate([self._ids[role] for role in self._roles])

    @cached_property
    def first(self) -> np.ndarray:
        return firsts(*ranks(self.ids))

    def at(self, name: str, rows: np.ndarray) -> np.ndarray:
        """The values of a variable in some rows."""
        which, row = np.divmod(rows, max(1, self._rows))
        columns = [self._values[role][name] for role in self._roles]
        found: np.ndarray = columns[0][row]
        for number, column in enumerate(columns[1:], 1):
            found = np.where(which == number, column[row], found)
        return found

    def settings(self, names: Sequence[str]) -> np.ndarray:
        """A row of each combination of values of some variables, in the order of these; found once, for every control asks for it."""
        known = self._settings.get(tuple(names))
        if known is None:
            same, count = combined([self.at(name, self.first) for name in names], np.zeros(len(self.first), np.int64))
            known = self._settings[tuple(names)] = self.first[firsts(same, count)]
        return known

    def all_at(self, rows: np.ndarray) -> Columns:
        """The values of all variables in some rows."""
        return {name: self.at(name, rows) for name in self.names}


__all__ = ["Pooled"]
