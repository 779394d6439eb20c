"""Whether two runs of a test are over the same pairs: by what their rows hold, and not by their numbers.

A row's key is the text of its base and of each source. Two runs are paired where each key occurs in both equally often.
Equal rows are matched in their order. Anything else is no pairing: then an interval of a difference must not assume one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas

#: How the column ends that has the number of a role's input.
_ROLE_SUFFIX = "_id"


@dataclass(frozen=True, eq=False)
class CellRows:
    """The rows of a cell (or of a test that is no sweep) of one run, in an order that both runs share.

    ``table`` has n rows. ``ids`` are the numbers of the inputs of each role, ``[n]``: equal for equal inputs.
    """

    table: pandas.DataFrame
    ids: Mapping[str, np.ndarray]

    def numbers(self, column: str) -> np.ndarray | None:
        """A column as numbers, ``[n]``; None where there is none."""
        if column not in self.table:
            return None
        try:
            return np.asarray(self.table[column].to_numpy(dtype=np.float64, na_value=np.nan))
        except (TypeError, ValueError):
            return None

    def kept(self) -> np.ndarray:
        """Which rows a filter keeps, ``[n]``."""
        if "kept" not in self.table:
            return np.ones(len(self.table), bool)
        return np.asarray(self.table["kept"].fillna(True).to_numpy(dtype=bool))

    def differs(self) -> np.ndarray | None:
        """Whether the causal model's answer differs from the base's, ``[n]``; None where nothing is interchanged."""
        if "label" not in self.table or "base_answer" not in self.table or self.table["label"].isna().all():
            return None
        return np.asarray(
            (self.table["label"].astype(str) != self.table["base_answer"].astype(str)).to_numpy(dtype=bool)
        )


@dataclass(frozen=True)
class Match:
    """How the pairs of a test meet in two runs: ``shared`` of ``first`` and ``second`` rows have the same key; ``why`` is empty
    where all have."""

    first: int
    second: int
    shared: int
    why: str = ""

    @property
    def same(self) -> bool:
        return not self.why

    def to_json(self) -> dict[str, Any]:
        return {"a": self.first, "b": self.second, "shared": self.shared, "same": self.same, "why": self.why}


def rows_of(
    pairs: pandas.DataFrame | None, test: str, cell: Mapping[str, Any], output: str = ""
) -> pandas.DataFrame | None:
    """The rows of a cell: those of one ``output``, or of the first where a test reads several; None where there are none."""
    if pairs is None or not len(pairs):
        return None
    found = pairs[pairs["test"] == test]
    for name, value in cell.items():
        if name not in found:
            return None
        found = found[_equal(found[name], value)]
    if "output" in found and found["output"].notna().any():
        found = found[found["output"] == (output or found["output"].iloc[0])]
    elif output:
        return None
    return found if len(found) else None


def _equal(column: pandas.Series, value: Any) -> pandas.Series:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return column.astype(str) == str(value)
    try:
        return column.astype(float) == float(value)
    except (TypeError, ValueError):
        return column.astype(str) == str(value)


def matched(
    first: pandas.DataFrame | None, second: pandas.DataFrame | None
) -> tuple[Match, CellRows | None, CellRows | None]:
    """How the rows of a cell meet in two runs; where all meet, the rows of both in one order."""
    if first is None or second is None:
        lacking = "both runs" if first is None and second is None else "A" if first is None else "B"
        own, other = (0 if rows is None else len(rows) for rows in (first, second))
        return (
            Match(own, other, 0, f"there are no pairs of {lacking} that can be read (`run --out` keeps them)"),
            None,
            None,
        )
    roles = _roles(first)
    if roles != _roles(second):
        return Match(len(first), len(second), 0, "the tests have other roles"), None, None
    if not roles:
        return Match(len(first), len(second), 0, "the inputs of the pairs were not kept"), None, None
    keys, others = (_keys(rows, roles) for rows in (first, second))
    shared = len(set(keys) & set(others))
    if sorted(keys) != sorted(others):
        told = f"the runs have {shared} of them in common" if shared else "the runs have none of them in common"
        return Match(len(keys), len(others), shared, told), None, None
    order = [sorted(range(len(one)), key=one.__getitem__) for one in (keys, others)]
    return Match(len(keys), len(keys), shared), _ordered(first, order[0], roles), _ordered(second, order[1], roles)


def _roles(rows: pandas.DataFrame) -> list[str]:
    """The roles whose inputs were run: their text stands in a column, and their number in another."""
    return sorted(
        name
        for name in rows.columns
        if f"{name}{_ROLE_SUFFIX}" in rows.columns and rows[name].notna().any() and name != "kept"
    )


def _keys(rows: pandas.DataFrame, roles: Sequence[str]) -> list[tuple[str, ...]]:
    """A key for each row: the inputs of its roles, and how many rows before it have the same."""
    seen: dict[tuple[str, ...], int] = {}
    keys = []
    for texts in zip(*(rows[role].astype(str) for role in roles), strict=True):
        number = seen.get(texts, 0)
        seen[texts] = number + 1
        keys.append((*texts, f"{number:09d}"))
    return keys


def _ordered(rows: pandas.DataFrame, order: Sequence[int], roles: Sequence[str]) -> CellRows:
    table = rows.iloc[list(order)].reset_index(drop=True)
    ids = {role: np.asarray(table[f"{role}{_ROLE_SUFFIX}"].to_numpy(dtype=np.int64)) for role in roles}
    return CellRows(table, ids)


__all__ = ["CellRows", "Match", "matched", "rows_of"]
