"""The evaluation of scores: the columns of a cell with the causal model's answers, and arithmetic that knows NaN.

Truth is a number too: 1, 0, or NaN for *cannot be judged*, which no ``not`` and no ``or`` turns into a pass.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, Protocol

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.measures.cell_data import CellData
from causal_dsl.measures.weighted_sums import Array, Matrix, Numbers, SomeNumbers, SomeRows, Sums


class Evaluable(Protocol):
    """A score or a constant: ``evaluate(env)`` is ``[R, C]`` or ``[R, 1]``."""

    def evaluate(self, env: Evaluation) -> Array: ...


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
