"""What scores are computed on: the columns of a cell with the causal model's answers, and arithmetic that knows NaN.

Truth is a number too: 1, 0, or NaN for *cannot be judged*, which no ``not`` and no ``or`` turns into a pass.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any, Protocol

import numpy as np

from causal_dsl.causal.accepted import SINGLE, Accepted
from causal_dsl.measures.quantities import Columns, Quantity, ValueRef
from causal_dsl.measures.weighted_sums import Array, Matrix, Numbers, SomeNumbers, SomeRows, Sums
from causal_dsl.quick_dataclasses import dataclass


class Evaluable(Protocol):
    """A score or a constant: ``evaluate(env)`` is ``[R, C]`` or ``[R, 1]``."""

    def evaluate(self, env: Evaluation) -> Array: ...


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
        """What holds a column: the same object in two cells that share it."""
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


def _all_rows(score: Any) -> None:
    return None


@dataclass
class Evaluation:
    """All cells of a test under R rows of weights, over which ``sums`` sum up.

    ``choosing`` marks the pairs on which ``best`` chooses its cell. ``ceiling`` is that of output_only: a number
    where it is known exactly or for other pairs than these, and a column (1 where the best rule is right) where
    it is resampled with the pairs.
    """

    frames: Sequence[CellData]
    cells: Sequence[Mapping[str, Any]]
    sums: Sums
    choosing: Array | None = None
    ceiling: float | Array | None = None
    memo: dict[Any, Array] = field(default_factory=dict)
    #: the same cells at the read-out of each output, where a test reads several
    outputs: Mapping[str, Evaluation] = field(default_factory=dict)
    #: the cell that the choosing half picks, by score: the same under all weights
    picked: dict[Any, int | None] = field(default_factory=dict)
    #: the rows in which all that a score needs is known, where these are not all
    rows_of: Callable[[Any], Array | None] = _all_rows

    @property
    def count(self) -> int:
        """R, the number of rows of weights."""
        return self.sums.count

    def under(self, sums: Sums) -> Evaluation:
        outputs = {name: env.under(sums) for name, env in self.outputs.items()}
        return dataclasses.replace(self, sums=sums, memo={}, outputs=outputs)

    def pick(self, score: Evaluable) -> int | None:
        """The cell in which a score is highest on the choosing half; None where there is no such half or a cell is undefined on it."""
        if self.choosing is None or not self.choosing.any() or self.choosing.all():
            return None
        if score not in self.picked:
            scores = self.under(Matrix(self.choosing[None].astype(np.float64))).of(score)[0]
            self.picked[score] = None if np.isnan(scores).any() else int(np.argmax(scores))
        return self.picked[score]

    def of(self, score: Evaluable) -> Array:
        """The score, computed once under these weights."""
        if score not in self.memo:
            rows = self.rows_of(score)
            env = (
                self
                if rows is None
                else dataclasses.replace(
                    self, sums=SomeRows(self.sums, rows, self.frames[0].n), memo={}, rows_of=_all_rows
                )
            )
            self.memo[score] = score.evaluate(env)
        return self.memo[score]

    def pairs(self, score: Any, cell: int) -> int:
        """The number of pairs that the score of a cell is over."""
        rows = self.rows_of(score)
        if rows is None:
            return int(score.count(self, cell))
        return int(
            score.count(
                dataclasses.replace(self, frames=[frame.among(rows) for frame in self.frames], rows_of=_all_rows), cell
            )
        )

    def total(self, numbers: Numbers) -> Array:
        """Weighted sums over pairs of one number a pair in each cell, ``[R, C]``."""
        return self.sums.totals(self.frames, numbers)

    def ordered(self, numbers: SomeNumbers, which: str = "median") -> Array:
        """Weighted medians (``min``, ``max``) over pairs in each cell, ``[R, C]``."""
        return self.sums.ordered(self.frames, numbers, which)


# ── arithmetic that knows NaN ───────────────────────────────────────────────────────────────────


def divide(a: Array, b: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(b == 0, np.nan, np.divide(a, b))


def _truth(compare: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    def judged(a: Array, b: Array) -> Array:
        known = np.isfinite(a) & np.isfinite(b)
        return np.where(known, compare(a, b), np.nan)

    return judged


def _and(a: Array, b: Array) -> Array:
    return np.where((a == 0) | (b == 0), 0.0, a * b)


OPERATORS: dict[str, Callable[..., Array]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": divide,
    "negative": np.negative,
    "==": _truth(np.equal),
    "!=": _truth(np.not_equal),
    "<": _truth(np.less),
    "<=": _truth(np.less_equal),
    ">": _truth(np.greater),
    ">=": _truth(np.greater_equal),
    "and": _and,
    "or": lambda a, b: 1 - _and(1 - a, 1 - b),
    "not": lambda a: 1 - a,
}
