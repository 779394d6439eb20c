"""The rows of one draw statement that are built, because candidates at random hardly ever satisfy its conditions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from causal_dsl.base.counter import bits, key, unit
from causal_dsl.causal.condition_functions import Columns
from causal_dsl.causal.construct import Construction
from causal_dsl.causal.interval_bounds import Boxes
from causal_dsl.causal.sampling import Sampler

if TYPE_CHECKING:
    from causal_dsl.causal.designs import Design, DrawStatement


class Builder:
    """Proposes rows from a :class:`Construction`, and keeps those that are taken.

    ``context`` holds the columns of roles of earlier statements that the condition mentions, ``wanted`` the variables of
    each role on which acceptance depends, ``targets`` the codes that balanced variables must have, row by row ``[n]``.
    """

    def __init__(
        self,
        design: Design,
        statement: DrawStatement,
        n: int,
        context: Mapping[tuple[str, str], np.ndarray],
        wanted: Mapping[str, tuple[str, ...]],
        targets: Mapping[tuple[str, str], np.ndarray],
    ):
        models = design.models
        types = {(r, v): models[r].variables[v].type for r, v in context if v in models[r].variables}
        roles = dict.fromkeys(statement.roles, statement.model)
        self.construction = Construction(roles, statement.where, statement.seed, context, types, targets)
        self._prepare(design, statement, n, wanted)

    def _prepare(self, design: Design, statement: DrawStatement, n: int, wanted: Mapping[str, tuple[str, ...]]) -> None:
        self.samplers = [
            Sampler(statement.model, role, statement.seed, design.templates, wanted[role], statement.split, False)
            for role in statement.roles
        ]
        self.found: list[Columns] = [{} for _ in self.samplers]
        self.rows = np.zeros(n, bool)

    def propose(self, rows: np.ndarray, attempts: np.ndarray) -> tuple[np.ndarray, list[Columns]]:
        """Candidates for rows that have any: the indices of those that the model and the part allow, and their columns."""
        built = self._built(rows, attempts)
        at = np.arange(len(rows))
        proposed: list[Columns] = []
        for sampler in self.samplers:
            given = {name: codes[at] for name, codes in built[sampler.role].items()}
            kept, columns = sampler.complement(rows[at], attempts[at], given)
            at = at[kept]
            proposed = [{name: codes[kept] for name, codes in other.items()} for other in proposed]
            proposed.append(columns)
        return at, proposed

    def _built(self, rows: np.ndarray, attempts: np.ndarray) -> Mapping[str, Columns]:
        return self.construction.propose(rows, attempts)

    def complete(self, i: int, values: Columns, plain: Sampler, columns: Columns) -> Columns:
        """The columns of all variables of the i-th role; ``columns`` are of the rows that were not built."""
        for sampler, taken, rows in ((plain, columns, ~self.rows), (self.samplers[i], self.found[i], self.rows)):
            at = np.flatnonzero(rows)
            if len(at):
                found = sampler.everything({name: codes[at] for name, codes in taken.items()}, at)
                store(values, len(self.rows), at, found)
        return values


class BoxBuilder(Builder):
    """Proposes rows from what is left of boxes of real numbers, in which the conditions may hold."""

    def __init__(
        self, design: Design, statement: DrawStatement, n: int, wanted: Mapping[str, tuple[str, ...]], boxes: Boxes
    ):
        self.boxes = boxes
        self.seed = statement.seed
        self._prepare(design, statement, n, wanted)

    def _built(self, rows: np.ndarray, attempts: np.ndarray) -> Mapping[str, Columns]:
        def uniform(name: str) -> np.ndarray:
            return unit(bits(key(self.seed, "boxes", name), rows, attempts))

        built: dict[str, Columns] = {sampler.role: {} for sampler in self.samplers}
        for (role, name), codes in self.boxes.draw(uniform).items():
            built[role][name] = codes
        return built


def store(into: Columns, n: int, rows: np.ndarray, columns: Columns) -> None:
    """Write some rows of columns of length ``n``, which are made where they are not there."""
    for name, codes in columns.items():
        if name not in into:
            into[name] = np.zeros(n, codes.dtype)
        into[name][rows] = codes
