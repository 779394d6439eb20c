"""The rows of one draw statement: candidates are proposed until each row has one that is allowed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from causal_dsl.base.counter import below, bits, key, permutation, unit
from causal_dsl.causal.balance_cells import Cells, RowCells, handed_out
from causal_dsl.causal.built import Builder, store
from causal_dsl.causal.condition_functions import Columns
from causal_dsl.causal.domains import Finite
from causal_dsl.causal.lookahead import FIRST, Lookahead
from causal_dsl.causal.minimal import Partners
from causal_dsl.causal.no_rows import NoRows
from causal_dsl.causal.row_candidates import BLOCK, RowCandidates
from causal_dsl.diagnostics import Diagnostics

if TYPE_CHECKING:
    from causal_dsl.causal.designs import Design, DrawStatement

#: Candidates in all.
_BUDGET = 30_000_000
#: Candidates after which a `where` that has held for none is said never to hold.
PATIENCE = 2_000_000
#: Candidates after which rows are built where none was allowed, and how many more that would be left to try where some
#: were. (Rows that are found sooner are found by chance: their numbers belong to published seeds.)
_HOPELESS = 2**18
_COSTLY = 4_000_000
#: Candidates, none of them allowed, after which it is asked whether any real numbers could be.
_DOUBTED = 2**14
#: Rows of which it is asked whether real numbers could be their partners.
_ASKED = 64
#: Rows drawn to learn which combinations of balanced values there are, where they cannot be listed.
_PILOT = 20_000
_APART = 2**40


class RowDrawer:
    """Fills ``values[role]`` with the columns of a statement's roles; ``values`` holds those of earlier statements."""

    def __init__(
        self, design: Design, statement: DrawStatement, n: int, values: dict[str, Columns], diagnostics: Diagnostics
    ):
        self.design = design
        self.statement = statement
        self.n = n
        self.values = values
        self.candidates = RowCandidates(design, statement, n, values)
        self.faults = NoRows(self.candidates, diagnostics)
        self.row_cells: RowCells | None = None
        self.builder: Builder | None = None
        self.found: list[Columns] = []

    def fill(self) -> bool:
        """Draw; False where a fault was reported."""
        if self.candidates.empty:
            self.faults.report_empty_part()
            return False
        if self.statement.spread:
            self.row_cells = self._stratified() if self.statement.strata else self._balanced()
            self.faults.row_cells = self.row_cells
            if self.row_cells is None:
                return False
        if self.statement.like in self.values and not self.statement.spread:
            partners = Partners(self.design, self.statement, self.values)
            if partners.listable:
                return self._pair(partners)
        samplers = self.candidates.samplers
        free = self.statement.where is None and not self.statement.spread and not self.statement.like
        if free and all(s.support is not None and s.support.n for s in samplers):  # whatever is proposed is taken
            rows, once = np.arange(self.n), np.zeros(self.n, np.int64)
            self.found = [sampler.propose(rows, once)[1] for sampler in samplers]
        else:
            self.found = [{} for _ in samplers]
            if not self._reject():
                return False
        for i, (sampler, columns) in enumerate(zip(samplers, self.found, strict=True)):
            self.values[sampler.role] = (
                sampler.everything(columns, np.arange(self.n))
                if self.builder is None
                else self.builder.complete(i, {}, sampler, columns)
            )
        self.faults.warn_if_rare()
        return True

    def _pair(self, partners: Partners) -> bool:
        """Draw partners of the rows of an earlier run, of which all are listed."""
        found, missing = partners.draw(self.n)
        if len(missing):
            self.faults.report_alone(missing)
            return False
        self.values.update(found)
        return True

    # ── candidate by candidate ──────────────────────────────────────────────────────────────────

    def _reject(self) -> bool:
        candidates = self.candidates
        pending = np.arange(self.n)
        ahead = Lookahead(candidates, self.row_cells, self.found) if candidates.sure else None
        tried = accepted = attempt = 0
        asked = False  # what can be built
        weighed = bool(self.statement.model.weight) and any(sampler.support is None for sampler in candidates.samplers)
        if weighed or self.statement.like:  # at random, no two are alike
            if candidates.joint is not None:
                return self._exact(pending)
            asked, self.builder = True, candidates.builder(self.row_cells)
            if weighed and (self.builder is None or not self.builder.construction.weighed):
                self.faults.report_unweighed()
                return False
            if self.builder is not None and not (possible := self.builder.construction.possible(pending)).all():
                self.faults.report_impossible(pending[~possible], self.builder.construction.empty)
                return False
        while len(pending):
            rate = max(accepted / tried, 1e-9) if tried else 1.0
            width = int(min(max(1.5 / rate, 1), max(64, BLOCK // len(pending)))) if attempt else 1
            done = np.zeros(len(pending), bool)
            step = max(1, BLOCK // width)
            for start in range(0, len(pending), step):
                block = pending[start : start + step]
                early = ahead if self.builder is None and len(block) == len(pending) <= FIRST else None
                taken, more = (self._take if early is None else early.take)(block, attempt, width)
                done[start + taken] = True
                tried, accepted = tried + len(block) * width, accepted + more
            attempt += width
            pending = pending[~done]
            if not len(pending):
                return True
            if attempt >= 64 or accepted < tried / 64:
                if candidates.joint is not None:
                    return self._exact(pending)
                doubted = not accepted and tried >= _DOUBTED and not asked
                if doubted and candidates.boxes is not None and candidates.boxes.empty:
                    self.faults.report_impossible(pending, True)
                    return False
                if candidates.context and not asked and tried >= _HOPELESS and not self.statement.spread:
                    alone = candidates.proved_alone(pending[:_ASKED])
                    if len(alone):
                        self.faults.report_impossible(alone, False, len(pending) > _ASKED)
                        return False
                costly = tried >= _HOPELESS if not accepted else len(pending) * tried / accepted > _COSTLY
                if (
                    costly
                    and accepted
                    and self.builder is None
                    and self.row_cells is not None
                    and not candidates.context
                ):
                    return self._handed_out(self.row_cells, pending, attempt)
                if costly and not asked:
                    asked, builder = True, candidates.builder(self.row_cells)
                    boxed = candidates.boxed(builder)
                    if boxed is None and builder is not None:
                        possible = builder.construction.possible(pending)
                        if not possible.all():
                            self.faults.report_impossible(pending[~possible], builder.construction.empty)
                            return False
                    if boxed is not None or builder is not None:
                        self.builder = builder if boxed is None else boxed
                        tried = accepted = 0
                        continue
                if (
                    (accepted == 0 and tried >= _patience(len(pending)))
                    or tried >= _BUDGET
                    or (accepted and tried >= PATIENCE and tried + len(pending) * tried / accepted > 2 * _BUDGET)
                ):
                    self.faults.report_not_found(tried, accepted, pending, self.builder is not None)
                    return False
        return True

    def _take(self, block: np.ndarray, attempt: int, width: int) -> tuple[np.ndarray, int]:
        """Draw ``width`` candidates for each row of a block, and take the first that is allowed: which rows have one, and how many were
        allowed in all."""
        rows = np.repeat(block, width) if width > 1 else block
        attempts = attempt + np.arange(len(rows)) % width
        at, proposed, complete = (
            self.candidates.propose(rows, attempts)
            if self.builder is None
            else self.candidates.build(self.builder, rows, attempts)
        )
        if self.row_cells is not None:
            cells = self.candidates.cell(self.row_cells.cells, complete, len(at))
            keep = np.flatnonzero(cells == self.row_cells.of_rows[rows[at]])
            at = at[keep]
            proposed = [{name: codes[keep] for name, codes in other.items()} for other in proposed]
        first, where = _firsts(at // width if width > 1 else at)
        found, rows = self.found if self.builder is None else self.builder.found, block[first]
        for into, columns in zip(found, proposed, strict=True):
            store(into, self.n, rows, {name: codes[where] for name, codes in columns.items()})
        if self.builder is not None:
            self.builder.rows[rows] = True
        return first, len(at)

    def _handed_out(self, row_cells: RowCells, pending: np.ndarray, attempt: int) -> bool:
        """Draw for rows whose balanced values seldom come up: whatever is drawn goes to a row that wants its values, whoever it was drawn for."""
        tried = accepted = 0
        while len(pending):
            width = -(-BLOCK // len(pending))
            rows, attempts = np.repeat(pending, width), np.tile(np.arange(attempt, attempt + width), len(pending))
            at, proposed, complete = self.candidates.propose(rows, attempts)
            drawn = self.candidates.cell(row_cells.cells, complete, len(at))
            taken, which = handed_out(row_cells.of_rows[pending], drawn)
            for into, columns in zip(self.found, proposed, strict=True):
                store(into, self.n, pending[taken], {name: codes[which] for name, codes in columns.items()})
            tried, accepted, attempt = tried + len(rows), accepted + len(taken), attempt + width
            pending = np.delete(pending, taken)
            if tried >= _BUDGET + 8 * self.n:
                break
        if len(pending):
            self.faults.report_not_found(tried, accepted, pending, False)
        return not len(pending)

    # ── from the list of all rows ───────────────────────────────────────────────────────────────

    def _exact(self, pending: np.ndarray) -> bool:
        """Draw the rows that are left from the list of all rows that are allowed."""
        every = self.candidates.joint
        assert every is not None
        self.candidates.asked, self.candidates.held = every.asked, every.n
        if not every.n:
            self.faults.report_none_listed(every, pending)
            return False
        wanted = np.zeros(self.n, np.int64) if self.row_cells is None else self.row_cells.of_rows
        shared = self.candidates.shared()
        if shared is not None:
            cells = shared.numbers
        elif self.row_cells is not None:
            columns = every.columns(self.candidates.samplers, self.candidates.wanted)
            cells = self.candidates.cell(self.row_cells.cells, columns, every.n)
        else:
            cells = np.zeros(every.n, np.int64)
        random = bits(key(self.statement.seed, *self.statement.roles, "listed"), pending)
        for cell in np.flatnonzero(np.bincount(wanted[pending])):
            among = np.flatnonzero(cells == cell)
            rows = wanted[pending] == cell
            sums = np.cumsum(every.weights[among])
            pick = among[np.searchsorted(sums, below(random[rows], int(sums[-1])), side="right")]
            for into, index in zip(self.found, every.indices, strict=True):
                store(into, self.n, pending[rows], {"#": index[pick]})
        return True

    # ── balance ─────────────────────────────────────────────────────────────────────────────────

    def _balanced(self) -> RowCells | None:
        """Find the combinations of the balanced values, and give each row the one that it must have; None where a fault was reported."""
        cells, built = self._cells()
        if cells is None:
            return None
        k, every = len(cells), np.arange(self.n)
        if not k:
            joint, boxes = self.candidates.joint, self.candidates.boxes
            if joint is not None:
                self.candidates.asked, self.candidates.held = joint.asked, joint.n
                self.faults.report_none_listed(joint, every)
            elif boxes is not None and boxes.empty:
                self.faults.report_impossible(every, True)
            else:
                self.faults.report_not_found(_PILOT, 0, every, built)
            return None
        if k > self.n:
            self.faults.report_too_many_cells(k, bool(self.statement.cover))
            return None
        if self.statement.balance:
            self.faults.warn_of_left_out(cells, _PILOT)
        # Shuffled within each round of all combinations, so that any stretch of rows is balanced and none has a pattern.
        rounds = -(-self.n // k)
        order = bits(key(self.statement.seed, *self.statement.roles, "balance"), np.arange(rounds * k)).reshape(
            rounds, k
        )
        return RowCells(cells, np.argsort(order, axis=1, kind="stable").reshape(-1)[: self.n])

    def _cells(self) -> tuple[Cells | None, bool]:
        """The combinations of the balanced values, None where a fault was reported; and whether candidates were built to find them."""
        candidates = self.candidates
        if self.statement.cover:
            return Cells(self.statement.chosen(self.design)), False
        shared = None if candidates.context else candidates.shared()
        if shared is not None:
            return shared.cells, False
        builder = None
        if candidates.joint is not None:
            columns = candidates.joint.columns(candidates.samplers, candidates.wanted)
        else:
            pilot = np.arange(_PILOT)
            if (few := self._few(pilot[:FIRST])) is not None:
                return few, False
            at, _, columns = candidates.propose(pilot % self.n, _APART + pilot)
            builder = candidates.builder() if len(at) < _PILOT / 64 else None
            if builder is not None:
                possible = builder.construction.possible(np.arange(self.n))
                if not possible.all():
                    self.faults.report_impossible(np.flatnonzero(~possible), builder.construction.empty)
                    return None, True
                _, _, columns = candidates.build(builder, pilot % self.n, _APART + pilot)
        stacked = np.stack([columns[role][name] for role, name in self.statement.spread], axis=1)
        return Cells(stacked), builder is not None

    def _few(self, pilot: np.ndarray) -> Cells | None:
        """The combinations of the balanced values, where the first of the candidates that would be looked at have all that there can be."""
        candidates, spread = self.candidates, self.statement.spread
        domains = [self.statement.model.variables[name].domain for _, name in spread]
        most = math.prod(domain.size if isinstance(domain, Finite) else len(pilot) for domain in domains)
        if candidates.where is not None or not candidates.sure or 8 * most > len(pilot):
            return None
        _, _, columns = candidates.propose(pilot % self.n, _APART + pilot)
        cells = Cells(np.stack([columns[role][name] for role, name in spread], axis=1))
        return cells if len(cells) == most else None

    def _stratified(self) -> RowCells:
        """Give each stratum the rows that its probability says, to the nearest whole number above or below, by one random
        start for all: any row is in any stratum as often as it would be if it were drawn by itself."""
        found, share = self.statement.chosen(self.design)
        cells = Cells(found)
        numbers = cells.of(list(found.T), len(found))
        names = (self.statement.seed, *self.statement.roles, "strata")
        start = float(unit(bits(key(*names), np.zeros(1, np.int64)))[0])
        points = (np.arange(self.n) + start) / self.n * share.sum()
        stratum = np.minimum(np.searchsorted(np.cumsum(share), points, side="right"), len(share) - 1)
        return RowCells(cells, numbers[stratum][permutation(key(*names, "order"), self.n)])


def _patience(rows: int) -> int:
    """Candidates after which, if none was allowed, so many rows are given up: if the budget sufficed for them, 6 would be expected
    among so many, and none would be found once in exp(6) cases."""
    return max(_HOPELESS, min(PATIENCE, 6 * _BUDGET // rows))


def _firsts(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different row numbers, and where each stands first; proposals come in order, and then nothing is sorted."""
    if (rows[1:] < rows[:-1]).any():
        return np.unique(rows, return_index=True)
    where = np.flatnonzero(np.concatenate([[True], rows[1:] != rows[:-1]])) if len(rows) else np.zeros(0, np.int64)
    return rows[where], where
