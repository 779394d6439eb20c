"""The data of one cell that its scores are computed on: its columns, and the answers of the causal model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.accepted import SINGLE, Accepted
from causal_dsl.measures.quantities import Columns, Quantity, ValueRef

Array = np.ndarray


@dataclass
class CellData:
    """One cell of a test: its columns and what the causal model says, all of length n.

    ``labels`` (the causal model under the intervention; None where no variable is interchanged), ``base_answers``
    and ``source_answers`` are codes of the output variable.
    """

    columns: Columns
    base_answers: Array
    labels: Array | None = None
    source_answers: Mapping[str, Array] = field(default_factory=dict)
    rows: Array | None = None
    #: which attribute each base asks about (:mod:`causal_dsl.causal.attributes`); None where nothing is interchanged
    asked: Array | None = None
    #: which answers these codes accept
    accepted: Accepted = SINGLE
    #: the same cell at the read-out of each output, where a test reads several
    outputs: Mapping[str, CellData] = field(default_factory=dict)
    #: hears which columns are asked for
    heard: Callable[[str, Quantity], None] | None = None
    #: of values that are not known in some rows: in which, ``[n]`` (:mod:`causal_dsl.measures.known_answers`)
    unknown: Mapping[ValueRef, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.rows is not None:
            unknown = {value: rows[self.rows] for value, rows in self.unknown.items()}
            self.unknown = {value: rows for value, rows in unknown.items() if rows.any()}
            self.base_answers = self.base_answers[self.rows]
            self.labels = None if self.labels is None else self.labels[self.rows]
            self.asked = None if self.asked is None else self.asked[self.rows]
            self.source_answers = {role: codes[self.rows] for role, codes in self.source_answers.items()}

    @property
    def n(self) -> int:
        return len(self.base_answers)

    def of(self, columns: Columns) -> CellData:
        """The same pairs in another cell; what the causal model says of them is held once."""
        found = copy.copy(self)
        found.columns, found.outputs = columns, {}
        return found

    def column(self, run: str, quantity: Quantity) -> Array:
        """Quantity of the run ``base``, ``patched`` or a source's name, ``[n]``."""
        if self.heard is not None:
            self.heard(run, quantity)
        found = np.asarray(self.columns.of_run(run)[quantity])
        return found if self.rows is None else found[self.rows]

    def held(self, run: str, quantity: Quantity) -> object:
        """The object that holds a column: the same in two cells that share it."""
        return self.columns.held(run, quantity)

    def known(self, values: Iterable[ValueRef]) -> Array | None:
        """The rows in which all ``values`` are known; None if these are all rows."""
        missing = [self.unknown[value] for value in values if value in self.unknown]
        return np.flatnonzero(~np.logical_or.reduce(missing)) if missing else None

    def among(self, rows: Array | None) -> CellData:
        """The same cell over some of its rows, in which all values are known; itself for None."""
        if rows is None:
            return self
        found = copy.copy(self)
        found.rows = rows if self.rows is None else self.rows[rows]
        found.base_answers, found.unknown = self.base_answers[rows], {}
        found.labels = None if self.labels is None else self.labels[rows]
        found.asked = None if self.asked is None else self.asked[rows]
        found.source_answers = {role: codes[rows] for role, codes in self.source_answers.items()}
        return found
