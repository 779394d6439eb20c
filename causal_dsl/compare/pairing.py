"""Whether two runs of a test are over the same pairs: by what their rows hold, and not by their numbers.

A row's key is the text of its base and of each source. Two runs are paired where each key occurs in both equally often.
Equal rows are matched in their order. Anything else is no pairing: then an interval of a difference must not assume one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass

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

    @property
    def of_output(self) -> bool:
        """Whether they are the rows of one output, in a test that reads several."""
        return "output" in self.table and bool(self.table["output"].notna().any())

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


def matched(
    first: pandas.DataFrame | None, second: pandas.DataFrame | None, drawn: tuple[int, int]
) -> tuple[Match, CellRows | None, CellRows | None]:
    """How the rows of a cell meet in two runs, each over so many ``drawn`` pairs; where all meet, the rows of both in one order."""
    if first is None or second is None:
        lacking = "both runs" if first is None and second is None else "A" if first is None else "B"
        own, other = (n if rows is None else len(rows) for n, rows in zip(drawn, (first, second), strict=True))
        return (
            Match(own, other, 0, f"there are no stored pairs of {lacking} that can be read (`run --out` keeps them)"),
            None,
            None,
        )
    roles = _roles(first)
    if roles != _roles(second):
        return Match(len(first), len(second), 0, "the tests have other roles"), None, None
    if not roles:
        return Match(len(first), len(second), 0, "the inputs of the pairs were not kept"), None, None
    keys = _keys(first, second, roles)
    most = 1 + max((int(one.max(initial=-1)) for one in keys), default=-1)
    counts = [np.bincount(one, minlength=most) for one in keys]
    shared = int(np.minimum(*counts).sum())
    if not np.array_equal(counts[0], counts[1]):
        told = f"the runs have {shared} of them in common" if shared else "the runs have none of them in common"
        return Match(len(first), len(second), shared, told), None, None
    order = [np.argsort(one, kind="stable") for one in keys]
    return Match(len(first), len(second), shared), _ordered(first, order[0], roles), _ordered(second, order[1], roles)


def _roles(rows: pandas.DataFrame) -> list[str]:
    """The roles whose inputs were run: their text stands in a column, and their number in another."""
    return sorted(
        name
        for name in rows.columns
        if f"{name}{_ROLE_SUFFIX}" in rows.columns and rows[name].notna().any() and name != "kept"
    )


def _keys(first: pandas.DataFrame, second: pandas.DataFrame, roles: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """A number for each row of both, ``[n]`` and ``[m]``, equal where the texts of all roles are, in the order of the texts."""
    both = np.zeros(len(first) + len(second), np.int64)
    for role in roles:
        codes = _codes(first[role], second[role])
        both = np.unique(both * (1 + int(codes.max(initial=0))) + codes, return_inverse=True)[1].reshape(-1)
    return both[: len(first)], both[len(first) :]


def _codes(first: pandas.Series, second: pandas.Series) -> np.ndarray:
    """The texts of both as numbers in the order of the texts, ``[n + m]``; each distinct text is looked at once."""
    import pandas

    codes, texts = pandas.factorize(pandas.concat([first.astype(object), second.astype(object)]), use_na_sentinel=False)
    ordered = sorted({str(text) for text in texts})
    number = {text: i for i, text in enumerate(ordered)}
    return np.array([number[str(text)] for text in texts], np.int64)[codes]


def _ordered(rows: pandas.DataFrame, order: np.ndarray, roles: Sequence[str]) -> CellRows:
    table = rows.iloc[order].reset_index(drop=True)
    ids = {role: np.asarray(table[f"{role}{_ROLE_SUFFIX}"].to_numpy(dtype=np.int64)) for role in roles}
    return CellRows(table, ids)


__all__ = ["CellRows", "Match", "matched"]
