"""Combinations of balanced values that no row has, though runs of the statement could have them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.balance_cells import Cells, RowCells
from causal_dsl.causal.domains import Finite
from causal_dsl.causal.model import CausalModel
from causal_dsl.causal.row_candidates import RowCandidates

#: Combinations that are listed, and values of one variable.
_LISTED, _VALUES = 4096, 64

_Row = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class LeftOut:
    """How many of ``every`` combinations no row has; ``rows``: these, in the order of ``names`` (role, variable); empty where they are too
    many to list. ``listed``: all inputs were listed, so none of them has these."""

    count: int
    every: int
    names: tuple[tuple[str, str], ...]
    rows: tuple[_Row, ...]
    listed: bool


def left_out(candidates: RowCandidates, cells: Cells) -> LeftOut | None:
    """Which combinations the balanced values of a statement leave out; None where there are none, or none is known.

    A value that came up in some draw is one that its run can have, and so is one that the conditions, solved, allow. Runs that nothing ties to
    each other can have all combinations of what each of them can have.
    """
    statement = candidates.statement
    if statement.like:
        return None  # the runs are tied to each other
    listed = candidates.joint is not None or (not candidates.context and candidates.shared() is not None)
    if listed and candidates.where is None:
        return None
    spread = statement.spread
    of_role = [[i for i, (role, _) in enumerate(spread) if role == own] for own in dict.fromkeys(r for r, _ in spread)]
    order = [i for columns in of_role for i in columns]
    names = tuple(spread[i] for i in order)
    parts = [list(map(tuple, np.unique(cells.values[:, columns], axis=0).tolist())) for columns in of_role]
    if not listed:
        for row in _that_never_came_up(candidates, [[spread[i] for i in c] for c in of_role], parts):
            for part, columns in zip(parts, of_role, strict=True):
                own, row = row[: len(columns)], row[len(columns) :]
                part += [own] * (own not in part)
    every = math.prod(map(len, parts))
    if every > _LISTED:
        return None if every == len(cells) else LeftOut(every - len(cells), every, names, (), listed)
    found = set(map(tuple, cells.values[:, order].tolist()))
    missing = tuple(row for row in (sum(some, ()) for some in product(*parts)) if row not in found)
    return LeftOut(len(missing), every, names, missing, listed) if missing else None


def _that_never_came_up(
    candidates: RowCandidates, names: Sequence[Sequence[tuple[str, str]]], parts: Sequence[Sequence[_Row]]
) -> list[_Row]:
    """Combinations with values of a run that came up in no draw, each beside what came up most often of the other runs."""
    if candidates.context:
        return []
    model, found = candidates.statement.model, list[_Row]()
    for number, (own, seen) in enumerate(zip(names, parts, strict=True)):
        known = set(seen)
        for row in _values(model, [name for _, name in own], known):
            others = [part[0] for part in parts]
            others[number] = row
            found.append(sum(others, ()))
    return _possible(candidates, [name for own in names for name in own], found)


def _values(model: CausalModel, names: Sequence[str], seen: set[_Row]) -> Iterator[_Row]:
    """The combinations of values of some variables that are not among those ``seen``, where they are few."""
    columns: list[list[int]] = []
    for i, name in enumerate(names):
        domain = model.variables[name].domain
        small = isinstance(domain, Finite) and domain.size <= _VALUES
        columns.append(sorted(model.codes(name).tolist()) if small else sorted({row[i] for row in seen}))
    if math.prod(map(len, columns)) <= _LISTED:
        yield from (row for row in product(*columns) if row not in seen)


def _possible(candidates: RowCandidates, names: Sequence[tuple[str, str]], rows: Sequence[_Row]) -> list[_Row]:
    """Those of some combinations of balanced values of which some input is known to have each."""
    if not rows:
        return []
    spread = candidates.statement.spread
    back = [names.index(one) for one in spread]
    cells = Cells(np.array(rows)[:, back])
    builder = candidates.builder(RowCells(cells, np.arange(len(cells))))
    if builder is None or not builder.construction.exact or builder.construction.empty:
        return []
    there = cells.values[builder.construction.possible(np.arange(len(cells)))].tolist()
    front = [spread.index(one) for one in names]
    return [tuple(row[i] for i in front) for row in there]


__all__ = ["LeftOut", "left_out"]
