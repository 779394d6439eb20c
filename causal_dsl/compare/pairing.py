"""Whether two runs of a test are over the same pairs: by what their rows hold, and not by their numbers.

A row's key is the text of its base and of each source. Two runs are paired where each key occurs in both equally often.
Equal rows are matched in their order. Anything else is no pairing: then an interval of a difference must not assume one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from causal_dsl.report.pair_table import AT_ONCE

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


class StoredPairs:
    """The rows of a ``pairs.parquet``, read as they are asked for: of a large file no more than the cell at hand is in memory.

    Raises OSError, ValueError and pyarrow's errors for a file that cannot be read.
    """

    def __init__(self, path: Path):
        from pyarrow import parquet

        self._file = parquet.ParquetFile(path)
        about = self._file.metadata
        self._columns = {about.schema.column(number).path: number for number in range(about.num_columns)}
        self._whole: pandas.DataFrame | None = self._file.read().to_pandas() if about.num_rows <= AT_ONCE else None

    def rows(self, test: str, cell: Mapping[str, Any], output: str = "") -> pandas.DataFrame | None:
        """The rows of a cell, as :func:`rows_of`."""
        if self._whole is not None:
            return rows_of(self._whole, test, cell, output)
        import pandas

        asked = {"test": test, **cell}
        groups = [group for group in range(self._file.num_row_groups) if self._may_hold(group, asked)]
        parts = [_of_cell(self._file.read_row_group(group).to_pandas(), test, cell) for group in groups]
        found = [part for part in parts if part is not None and len(part)]
        return _of_output(pandas.concat(found, ignore_index=True), output) if found else None

    def _may_hold(self, group: int, asked: Mapping[str, Any]) -> bool:
        """Whether a row group may have rows with these values, by the least and the greatest of each column."""
        about = self._file.metadata.row_group(group)
        for name, value in asked.items():
            if name not in self._columns:
                return False
            known = about.column(self._columns[name]).statistics
            if known is None or not known.has_min_max:
                continue
            least, most = known.min, known.max
            alike = isinstance(least, str) == isinstance(value, str) and not isinstance(value, bool)
            if alike and not least <= value <= most:
                return False
        return True


def rows_of(
    pairs: pandas.DataFrame | None, test: str, cell: Mapping[str, Any], output: str = ""
) -> pandas.DataFrame | None:
    """The rows of a cell: those of one ``output``, or of the first where a test reads several; None where there are none."""
    found = None if pairs is None or not len(pairs) else _of_cell(pairs, test, cell)
    return None if found is None else _of_output(found, output)


def _of_cell(pairs: pandas.DataFrame, test: str, cell: Mapping[str, Any]) -> pandas.DataFrame | None:
    found = pairs[pairs["test"] == test]
    for name, value in cell.items():
        if name not in found:
            return None
        found = found[_equal(found[name], value)]
    return found


def _of_output(found: pandas.DataFrame, output: str) -> pandas.DataFrame | None:
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
    keys, others = _keys(first, second, roles)
    counts = [np.bincount(one, minlength=max(int(keys.max()), int(others.max())) + 1) for one in (keys, others)]
    shared = int(np.minimum(*counts).sum())
    if not np.array_equal(*counts):
        told = f"the runs have {shared:,} of them in common" if shared else "the runs have none of them in common"
        return Match(len(keys), len(others), shared, told), None, None
    order = [np.argsort(one, kind="stable") for one in (keys, others)]
    return Match(len(keys), len(keys), shared), _ordered(first, order[0], roles), _ordered(second, order[1], roles)


def _roles(rows: pandas.DataFrame) -> list[str]:
    """The roles whose inputs were run: their text stands in a column, and their number in another."""
    return sorted(
        name
        for name in rows.columns
        if f"{name}{_ROLE_SUFFIX}" in rows.columns and rows[name].notna().any() and name != "kept"
    )


def _keys(first: pandas.DataFrame, second: pandas.DataFrame, roles: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """A number for the inputs of the roles of each row of both: equal for equal texts, and in their order."""
    import pandas

    found = np.zeros(len(first) + len(second), np.int64)
    for role in roles:
        codes, texts = pandas.factorize(pandas.concat([first[role], second[role]], ignore_index=True).astype(str))
        place = np.empty(len(texts), np.int64)
        place[np.argsort(np.asarray(texts, object), kind="stable")] = np.arange(len(texts))
        _, found = np.unique(found * max(1, len(texts)) + place[codes], return_inverse=True)
    return found[: len(first)], found[len(first) :]


def _ordered(rows: pandas.DataFrame, order: np.ndarray, roles: Sequence[str]) -> CellRows:
    table = rows.iloc[order].reset_index(drop=True)
    ids = {role: np.asarray(table[f"{role}{_ROLE_SUFFIX}"].to_numpy(dtype=np.int64)) for role in roles}
    return CellRows(table, ids)


__all__ = ["CellRows", "Match", "StoredPairs", "matched", "rows_of"]
