"""Candidates for the rows of one draw statement: proposed at random, listed, or built, and kept where the conditions hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.balance_cells import Cells, RowCells
from causal_dsl.causal.built import BoxBuilder, Builder
from causal_dsl.causal.condition_functions import Columns
from causal_dsl.causal.interval_bounds import Boxes, boxes_of
from causal_dsl.causal.joint import Joint, joint
from causal_dsl.causal.sampling import Sampler

if TYPE_CHECKING:
    from causal_dsl.causal.designs import Design, DrawStatement
    from causal_dsl.causal.input_list import Support

#: Candidates in one block.
BLOCK = 2**17
#: A `where` that holds less often is worth a warning.
_RARE = 1e-3
#: Combinations up to which a list is kept for the next draw.
SHARED = 2**18


@dataclass(frozen=True, eq=False)
class Listed:
    """All combinations of some inputs, which are told apart as objects, with the balanced cell of each ``[n]``."""

    supports: list[Support]
    asked: tuple[tuple[str, ...], tuple[tuple[str, str], ...]]
    joint: Joint
    cells: Cells
    numbers: np.ndarray


#: The last ones, as many as have ``_KEPT`` combinations together: tests that differ in their seed alone have one list.
_latest: list[Listed] = []
_KEPT = 2 * SHARED


class RowCandidates:
    """The candidates for the ``n`` rows of a statement, given ``values`` of the roles of earlier statements.

    ``wanted`` are the variables of each role on which acceptance depends, those ``beside`` it also asked for. ``asked`` and
    ``held`` count on how many candidates at random the `where` was evaluated, and on how many it held.
    """

    def __init__(
        self,
        design: Design,
        statement: DrawStatement,
        n: int,
        values: Mapping[str, Columns],
        beside: Iterable[tuple[str, str]] = (),
    ):
        self.design, self.statement, self.n, self.values = design, statement, n, values
        self.where = statement.where
        self.asked = self.held = 0
        mentions = self.where.mentions if self.where is not None else frozenset()
        self.context = tuple(sorted((role, name) for role, name in mentions if role not in statement.roles))
        names = (*mentions, *statement.spread, *beside)
        self.wanted = {role: tuple(sorted({v for r, v in names if r == role})) for role in statement.roles}
        self.samplers = [
            Sampler(statement.model, role, statement.seed, design.templates, self.wanted[role], statement.split)
            for role in statement.roles
        ]

    # ── lists ───────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def joint(self) -> Joint | None:
        """All allowed combinations of inputs, where they can be listed."""
        if self.context:
            return None
        shared = self.shared()
        if shared is not None:
            return shared.joint
        alike = self.statement if self.statement.like else None
        return joint(self.samplers, self.where, self.statement.spread, alike)

    def shared(self) -> Listed | None:
        """The list and its cells, which are the same whatever the seed; kept where no condition says more than the inputs do."""
        supports = [s.support for s in self.samplers if s.support is not None]
        if self.where is not None or not self.statement.balance or len(supports) < len(self.samplers):
            return None
        if math.prod(support.n for support in supports) > SHARED:
            return None
        asked = tuple(s.role for s in self.samplers), self.statement.balance
        for known in _latest:
            if known.asked == asked and all(a is b for a, b in zip(known.supports, supports, strict=True)):
                return known
        every = joint(self.samplers, None, self.statement.balance)
        if every is None:
            return None
        columns = every.columns(self.samplers, self.wanted)
        balanced = [np.asarray(columns[role][name]) for role, name in self.statement.balance]
        cells = Cells(np.stack(balanced, axis=1))
        _latest.insert(0, Listed(supports, asked, every, cells, cells.of(balanced, every.n)))
        while sum(known.joint.n for known in _latest) > _KEPT:
            del _latest[-1]
        return _latest[0]

    @property
    def empty(self) -> bool:
        """Whether the part of the inputs that is drawn from has none."""
        return bool(self.statement.split) and any(s.support is not None and not s.support.n for s in self.samplers)

    @property
    def unit(self) -> str:
        """The name of a combination of inputs in messages."""
        return {1: "inputs", 2: "pairs"}.get(len(self.samplers), "combinations")

    # ── what can be built ───────────────────────────────────────────────────────────────────────

    def builder(self, row_cells: RowCells | None = None) -> Builder | None:
        """The construction of the conditions, with the balanced values given row by row; None where nothing can be built."""
        context = {(role, name): self.values[role][name] for role, name in self.context}
        targets = {} if row_cells is None else dict(zip(self.statement.spread, row_cells.codes.T, strict=True))
        found = Builder(self.design, self.statement, self.n, context, self.wanted, targets)
        return found if found.construction.useful else None

    @cached_property
    def boxes(self) -> Boxes | None:
        """Where the conditions may hold, of inputs that are real numbers; None where there are none, or they cannot be told apart."""
        if self.context or any(model.functions for model in self.design.models.values()):
            return None
        return boxes_of(dict.fromkeys(self.statement.roles, self.statement.model), self.where)

    def boxed(self, builder: Builder | None) -> BoxBuilder | None:
        """Rows drawn from boxes: where nothing else can be built, or what is built leaves more to chance."""
        if self.boxes is None or self.statement.spread:
            return None
        if builder is not None:
            construction = builder.construction
            if construction.exact or construction.empty or construction.joins or self.boxes.share >= 1 / 64:
                return None
        return BoxBuilder(self.design, self.statement, self.n, self.wanted, self.boxes)

    def proved_alone(self, rows: np.ndarray) -> np.ndarray:
        """Those of some rows for which no real numbers satisfy the condition, given what is drawn before."""
        if any(model.functions for model in self.design.models.values()):
            return rows[:0]
        roles, alone = dict.fromkeys(self.statement.roles, self.statement.model), []
        for row in rows.tolist():
            given = {(role, name): float(self.values[role][name][row]) for role, name in self.context}
            boxes = boxes_of(roles, self.where, given)
            if boxes is not None and boxes.empty:
                alone.append(row)
        return np.array(alone, np.int64)

    def elsewhere(self, tried: int, pending: np.ndarray) -> bool:
        """Whether there would be something to draw in as many attempts (or in the list) if it were not for `split`."""
        if not self.statement.split:
            return False
        whole = RowCandidates(self.design, replace(self.statement, split=""), self.n, self.values)
        if whole.joint is not None:
            return whole.joint.n > 0
        for start in range(0, tried, BLOCK):
            attempts = np.arange(start, min(tried, start + BLOCK))
            if len(whole.propose(pending[attempts % len(pending)], attempts)[0]):
                return True
        return False

    # ── how often the condition holds ───────────────────────────────────────────────────────────

    @cached_property
    def sure(self) -> bool:
        """Whether no candidate at random can be at fault: the inputs were listed, and the condition can be asked about all of them."""
        listed = all(s.support is not None and s.support.n for s in self.samplers)
        called = any(model.functions for model in self.design.models.values())
        return listed and not called and (self.where is None or not self.where.condition.guards)

    def count(self, asked: int, held: int) -> None:
        self.asked, self.held = self.asked + asked, self.held + held

    def may_be_rare(self, more: int = 0) -> bool:
        """Whether the condition held on so few candidates that it is worth a warning, or would if it held on none of so many more."""
        return self.where is not None and self.held < (self.asked + more) * _RARE

    # ── proposals ───────────────────────────────────────────────────────────────────────────────

    def propose(
        self, rows: np.ndarray, attempts: np.ndarray, counted: bool = True
    ) -> tuple[np.ndarray, list[Columns], dict[str, Columns]]:
        """Candidates at random that satisfy everything but the balance: their indices, and their columns, proposed and completed."""
        at = np.arange(len(rows))
        proposed: list[Columns] = []
        for sampler in self.samplers:
            every = len(at) == len(rows)
            kept, columns = sampler.propose(rows if every else rows[at], attempts if every else attempts[at])
            if len(kept) < len(at):
                at = at[kept]
                proposed = [{name: codes[kept] for name, codes in other.items()} for other in proposed]
            proposed.append(columns)
        return self._allowed(rows, at, proposed, self.samplers, counted)

    def build(
        self, builder: Builder, rows: np.ndarray, attempts: np.ndarray
    ) -> tuple[np.ndarray, list[Columns], dict[str, Columns]]:
        """Like :meth:`propose`, from what can be built."""
        return self._allowed(rows, *builder.propose(rows, attempts), builder.samplers, False)

    def _allowed(
        self, rows: np.ndarray, at: np.ndarray, proposed: list[Columns], samplers: list[Sampler], counted: bool
    ) -> tuple[np.ndarray, list[Columns], dict[str, Columns]]:
        """Those of the candidates ``at`` on which the condition holds."""
        complete = {
            s.role: s.complete(c, self.wanted[s.role], len(at)) for s, c in zip(samplers, proposed, strict=True)
        }
        if self.where is not None:
            settings = dict(complete)
            for role, name in self.context:
                settings.setdefault(role, {})[name] = self.values[role][name][rows[at]]
            keep = self.where(settings, len(at))
            if counted:
                self.count(len(keep), int(keep.sum()))
            if not keep.all():
                keep = np.flatnonzero(keep)  # once, not once a column
                at = at[keep]
                # A column that was proposed is the same object among the complete ones.
                kept: dict[int, np.ndarray] = {}
                for codes in (codes for other in (*proposed, *complete.values()) for codes in other.values()):
                    if id(codes) not in kept:
                        kept[id(codes)] = codes[keep]
                proposed = [{name: kept[id(codes)] for name, codes in other.items()} for other in proposed]
                complete = {
                    role: {name: kept[id(codes)] for name, codes in other.items()} for role, other in complete.items()
                }
        return at, proposed, complete

    def cell(self, cells: Cells, columns: Mapping[str, Columns], n: int) -> np.ndarray:
        """The number of each row's combination of balanced values; -1 for one that is not among ``cells``."""
        return cells.of([np.asarray(columns[role][name]) for role, name in self.statement.spread], n)


__all__ = ["BLOCK", "RowCandidates"]
