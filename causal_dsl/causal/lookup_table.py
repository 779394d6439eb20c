"""A table of a spec as a value: rows by the value of their key column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.domains import Finite, Value
from causal_dsl.diagnostics import Span


@dataclass(frozen=True)
class LookupTable:
    """Rows by the value of their key column.

    ``columns[name]`` has one value a row, in the order of ``keys``; the values of a column are of one type. ``only`` is the
    column that ``Table[key]`` reads, where the table is written out. ``unusable``: columns of the file with what is wrong with them.
    """

    name: str
    path: str
    key: str
    keys: Finite
    columns: dict[str, tuple[Value, ...]]
    span: Span
    only: str = ""
    unusable: Mapping[str, str] = field(default_factory=dict)
    #: columns of numbers or truth values of which some are missing, with the first that is: they are texts
    gaps: Mapping[str, str] = field(default_factory=dict)
    _domains: dict[str, Finite] = field(default_factory=dict, compare=False, repr=False)

    def domain(self, column: str) -> Finite:
        """The distinct values of a column, in the order of the rows."""
        if column not in self._domains:
            cells = self.columns[column]
            distinct = dict.fromkeys(cells)
            values = cells if len(distinct) == len(cells) else tuple(distinct)
            self._domains[column] = Finite(values, self.gaps.get(column, ""))
        return self._domains[column]
