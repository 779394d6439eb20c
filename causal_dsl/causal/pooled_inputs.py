"""The inputs of all roles of a draw together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from causal_dsl.causal.ranks import combined, firsts, ranks
from causal_dsl.causal.sampling import Columns

if TYPE_CHECKING:
    from causal_dsl.causal.designs import Drawn


class Pooled:
    """All inputs of a draw, in whatever role, one role after the other: what must not matter in one must not in another.

    ``ids`` [n] of all rows, ``first`` [distinct] the first row of each id, in the order of the ids.
    """

    def __init__(self, drawn: Drawn):
        self._drawn = drawn
        self._roles = [role for role in drawn.values if set(drawn.values[role]) == set(drawn.values["base"])]
        self.names = tuple(drawn.values["base"])
        self.n = drawn.n * len(self._roles)
        self._settings: dict[tuple[str, ...], np.ndarray] = {}

    @cached_property
    def ids(self) -> np.ndarray:
        return np.concatenate([self._drawn.ids[role] for role in self._roles])

    @cached_property
    def first(self) -> np.ndarray:
        return firsts(*ranks(self.ids))

    def at(self, name: str, rows: np.ndarray) -> np.ndarray:
        """The values of a variable in some rows."""
        which, row = np.divmod(rows, max(1, self._drawn.n))
        columns = [self._drawn.values[role][name] for role in self._roles]
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
