"""Candidates that are looked at before their turn comes: a thousand at once take hardly longer than ten."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.balance_cells import RowCells
from causal_dsl.causal.built import store
from causal_dsl.causal.condition_functions import Columns
from causal_dsl.causal.row_candidates import BLOCK, RowCandidates

#: Candidates that are looked at first. Each look after it is of twice as many.
FIRST = 2**11


@dataclass(frozen=True, eq=False)
class _Look:
    """The candidates of attempts ``start`` to ``stop`` of some rows, numbered row by row, and in a row attempt by attempt.

    ``held`` are the numbers of those on which the condition holds; ``at`` the numbers, and ``proposed`` the columns, of those that
    have the balanced values of their row, too.
    """

    rows: np.ndarray
    start: int
    stop: int
    held: np.ndarray
    at: np.ndarray
    proposed: Sequence[Columns]

    def between(self, rows: np.ndarray, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of the first candidate of each row, and of the one after its last."""
        first = np.searchsorted(self.rows, rows) * (self.stop - self.start) - self.start
        return first + start, first + stop


class Lookahead:
    """The candidates of few rows of a statement. What is taken, and what is counted, is what would be if each had its turn.

    A row takes the first candidate that it may have, however many are looked at. They are looked at only where no
    candidate can be at fault (``candidates.sure``).
    """

    def __init__(self, candidates: RowCandidates, row_cells: RowCells | None, found: list[Columns]):
        self._candidates, self._row_cells, self._found = candidates, row_cells, found
        self._look: _Look | None = None
        self._size = FIRST

    def take(self, pending: np.ndarray, attempt: int, width: int) -> tuple[np.ndarray, int]:
        """Of each pending row, take the first of ``width`` candidates that it may have: which rows have one, and how many candidates
        they may have in all, or some of these, once every row has one."""
        there, several = np.zeros(len(pending), bool), 0
        start, stop = attempt, attempt + width
        while start < stop:
            look = self._at(pending, start)
            turn = min(look.stop, stop)
            first, after = look.between(pending, start, turn)
            low, high = np.searchsorted(look.at, first), np.searchsorted(look.at, after)
            new = np.flatnonzero((high > low) & ~there)
            for into, columns in zip(self._found, look.proposed, strict=True):
                store(
                    into, self._candidates.n, pending[new], {name: codes[low[new]] for name, codes in columns.items()}
                )
            there[new] = True
            several += int((high - low).sum())
            if self._candidates.where is not None:
                held = np.searchsorted(look.held, after) - np.searchsorted(look.held, first)
                self._candidates.count(len(pending) * (turn - start), int(held.sum()))
            start = turn
            if there.all() and not self._candidates.may_be_rare(len(pending) * (stop - start)):
                break
        return np.flatnonzero(there), several

    def _at(self, pending: np.ndarray, attempt: int) -> _Look:
        if self._look is None or not self._look.start <= attempt < self._look.stop:
            width = max(1, self._size // len(pending))
            self._size = min(2 * self._size, BLOCK)
            rows, attempts = np.repeat(pending, width), np.tile(np.arange(attempt, attempt + width), len(pending))
            held, proposed, complete = self._candidates.propose(rows, attempts, counted=False)
            at = held
            if self._row_cells is not None:
                cells = self._candidates.cell(self._row_cells.cells, complete, len(held))
                keep = np.flatnonzero(cells == self._row_cells.of_rows[rows[held]])
                at = held[keep]
                proposed = [{name: codes[keep] for name, codes in other.items()} for other in proposed]
            self._look = _Look(pending, attempt, attempt + width, held, at, proposed)
        return self._look


__all__ = ["FIRST", "Lookahead"]
