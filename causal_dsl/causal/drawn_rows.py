"""The rows of one draw statement: candidates are proposed until each row has one that is allowed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from causal_dsl.causal.balance_cells import Cells, handed_out
from causal_dsl.causal.built import BoxBuilder, Builder, store
from causal_dsl.causal.domains import show
from causal_dsl.causal.interval_bounds import Boxes, boxes_of
from causal_dsl.causal.joint import Joint, joint
from causal_dsl.causal.minimal import Partners, one_of_them, report_alone
from causal_dsl.causal.sampling import Columns, Sampler, report_rare
from causal_dsl.causal.splits import report_empty
from causal_dsl.counter import below, bits, key, permutation, unit
from causal_dsl.diagnostics import Diagnostic, Diagnostics, Span

if TYPE_CHECKING:
    from causal_dsl.causal.designs import Design, DrawStatement
    from causal_dsl.causal.predicates import Predicate
    from causal_dsl.causal.support import Support

#: Candidates in one block, and in all.
_BLOCK = 2**17
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
#: A `where` that holds less often is worth a warning.
_RARE = 1e-3
#: Rows drawn to learn which combinations of balanced values there are, where they cannot be listed.
_PILOT = 20_000
_APART = 2**40
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


#: The last one: tests that differ in their seed alone follow one another.
_latest: Listed | None = None


class RowDrawer:
    """Fills ``values[role]`` with the columns of a statement's roles; ``values`` holds those of earlier statements."""

    def __init__(
        self, design: Design, statement: DrawStatement, n: int, values: dict[str, Columns], diagnostics: Diagnostics
    ):
        self.design = design
        self.statement = statement
        self.n = n
        self.values = values
        self.diagnostics = diagnostics
        self.where = statement.where
        self.asked = self.held = 0
        mentions = self.where.mentions if self.where is not None else frozenset()
        self.context = tuple(sorted((role, name) for role, name in mentions if role not in statement.roles))
        self.wanted = {
            role: tuple(sorted({v for r, v in (*mentions, *statement.spread) if r == role})) for role in statement.roles
        }
        self.samplers = [
            Sampler(statement.model, role, statement.seed, design.templates, self.wanted[role], statement.split)
            for role in statement.roles
        ]

    def fill(self) -> bool:
        """Draw; False where a fault was reported."""
        self.target = np.zeros(self.n, np.int64)
        if self.statement.split and any(s.support is not None and not s.support.n for s in self.samplers):
            report_empty(self.statement, self.statement.span, "it is empty", self.diagnostics)
            return False
        if self.statement.spread and not self._balance():
            return False
        if self.statement.like in self.values and not self.statement.spread:
            partners = Partners(self.design, self.statement, self.values)
            if partners.listable:
                return self._pair(partners)
        self.found: list[Columns] = [{} for _ in self.samplers]
        self.builder: Builder | None = None
        if not self._reject():
            return False
        for i, (sampler, columns) in enumerate(zip(self.samplers, self.found, strict=True)):
            self.values[sampler.role] = (
                sampler.everything(columns, np.arange(self.n))
                if self.builder is None
                else self.builder.complete(i, {}, sampler, columns)
            )
        if self.where is not None and self.asked >= 1000 and self.held < self.asked * _RARE:
            self._warn_rare(self.where)
        return True

    def _unweighed(self) -> bool:
        model = self.statement.model
        self.diagnostics.report(
            "E353",
            f"inputs of `{model.name}` cannot be drawn in proportion to `{model.weight}`",
            self.statement.span,
            label=f"`{model.weight}`, or what it is computed from, has too many values to be listed",
            help="make it depend on variables of fewer values, or draw from a table that is weighted already",
        )
        return False

    def _pair(self, partners: Partners) -> bool:
        """Draw partners of the rows of an earlier run, of which all are listed."""
        found, missing = partners.draw(self.n)
        if len(missing):
            report_alone(self.design, self.statement, self.values, self.n, missing, self.diagnostics)
            return False
        self.values.update(found)
        return True

    def _warn_rare(self, where: Predicate) -> None:
        """Say that most draws were thrown away, where few different ones are left (W330)."""
        roles = self.statement.roles
        names = [(role, name) for role in roles for name in (*self.statement.model.exogenous, "template")]
        stacked = [self.values[role][name] for role, name in names if name in self.values[role]]
        different = len(np.unique(np.stack(stacked, axis=1), axis=0)) if stacked else 1
        if 2 * different <= self.n:
            label = f"on {self.held:,} of {self.asked:,} draws"
            help = f"is it what you mean? Of the {self.n:,} rows {different:,} are different"
            self.diagnostics.report("W330", "this `where` almost never holds", where.span, label=label, help=help)

    @property
    def _unit(self) -> str:
        return {1: "inputs", 2: "pairs"}.get(len(self.samplers), "combinations")

    @cached_property
    def joint(self) -> Joint | None:
        """All allowed combinations of inputs, where they can be listed."""
        if self.context:
            return None
        shared = self._shared()
        if shared is not None:
            return shared.joint
        alike = self.statement if self.statement.like else None
        return joint(self.samplers, self.where, self.statement.spread, alike)

    def _shared(self) -> Listed | None:
        """The list and its cells, which are the same whatever the seed; kept where no condition says more than the inputs do."""
        global _latest
        supports = [s.support for s in self.samplers if s.support is not None]
        if self.where is not None or not self.statement.balance or len(supports) < len(self.samplers):
            return None
        if math.prod(support.n for support in supports) > SHARED:
            return None
        asked = tuple(s.role for s in self.samplers), self.statement.balance
        known = _latest
        if (
            known is None
            or known.asked != asked
            or any(a is not b for a, b in zip(known.supports, supports, strict=True))
        ):
            every = joint(self.samplers, None, self.statement.balance)
            if every is None:
                return None
            columns = every.columns(self.samplers, self.wanted)
            balanced = [np.asarray(columns[role][name]) for role, name in self.statement.balance]
            cells = Cells(np.stack(balanced, axis=1))
            known = _latest = Listed(supports, asked, every, cells, cells.of(balanced, every.n))
        return known

    def _builder(self, balanced: bool) -> Builder | None:
        """What can be built of the conditions, with the balanced values given row by row; None where that is nothing."""
        context = {(role, name): self.values[role][name] for role, name in self.context}
        targets = dict(zip(self.statement.spread, self.cells.values[self.target].T, strict=True)) if balanced else {}
        found = Builder(self.design, self.statement, self.n, context, self.wanted, targets)
        return found if found.construction.useful else None

    @cached_property
    def boxes(self) -> Boxes | None:
        """Where the conditions may hold, of inputs that are real numbers; None where there are none, or they cannot be told apart."""
        if self.context or any(model.functions for model in self.design.models.values()):
            return None
        return boxes_of(dict.fromkeys(self.statement.roles, self.statement.model), self.where)

    def _boxed(self, builder: Builder | None) -> bool:
        """Whether rows are drawn from boxes: where nothing else can be built, or what is built leaves more to chance."""
        if self.boxes is None or self.statement.spread:
            return False
        if builder is None:
            return True
        construction = builder.construction
        return (
            not construction.exact and not construction.empty and not construction.joins and self.boxes.share < 1 / 64
        )

    def _proved_alone(self, rows: np.ndarray) -> np.ndarray:
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

    def _elsewhere(self, tried: int, pending: np.ndarray) -> bool:
        """Whether there would be something to draw in as many attempts (or in the list) if it were not for `split`."""
        if not self.statement.split:
            return False
        whole = RowDrawer(self.design, replace(self.statement, split=""), self.n, self.values, Diagnostics())
        if whole.joint is not None:
            return whole.joint.n > 0
        for start in range(0, tried, _BLOCK):
            attempts = np.arange(start, min(tried, start + _BLOCK))
            if len(whole.propose(pending[attempts % len(pending)], attempts)[0]):
                return True
        return False

    # ── proposals ───────────────────────────────────────────────────────────────────────────────

    def propose(self, rows: np.ndarray, attempts: np.ndarray) -> tuple[np.ndarray, list[Columns], dict[str, Columns]]:
        """Candidates that satisfy everything but the balance: their indices, and their columns, proposed and completed."""
        at = np.arange(len(rows))
        proposed: list[Columns] = []
        for sampler in self.samplers:
            kept, columns = sampler.propose(rows[at], attempts[at])
            if len(kept) < len(at):
                at = at[kept]
                proposed = [{name: codes[kept] for name, codes in other.items()} for other in proposed]
            proposed.append(columns)
        return self._allowed(rows, at, proposed, self.samplers)

    def _build(self, rows: np.ndarray, attempts: np.ndarray) -> tuple[np.ndarray, list[Columns], dict[str, Columns]]:
        """Like :meth:`propose`, from what can be built."""
        assert self.builder is not None
        return self._allowed(rows, *self.builder.propose(rows, attempts), self.builder.samplers)

    def _allowed(
        self, rows: np.ndarray, at: np.ndarray, proposed: list[Columns], samplers: list[Sampler]
    ) -> tuple[np.ndarray, list[Columns], dict[str, Columns]]:
        """Those of the candidates ``at`` on which the condition holds. Counted are those that were not built for it."""
        complete = {
            s.role: s.complete(c, self.wanted[s.role], len(at)) for s, c in zip(samplers, proposed, strict=True)
        }
        if self.where is not None:
            settings = dict(complete)
            for role, name in self.context:
                settings.setdefault(role, {})[name] = self.values[role][name][rows[at]]
            keep = self.where(settings, len(at))
            if samplers is self.samplers:
                self.asked, self.held = self.asked + len(keep), self.held + int(keep.sum())
            if not keep.all():
                at = at[keep]
                proposed = [{name: codes[keep] for name, codes in other.items()} for other in proposed]
                complete = {
                    role: {name: codes[keep] for name, codes in other.items()} for role, other in complete.items()
                }
        return at, proposed, complete

    def _reject(self) -> bool:
        pending = np.arange(self.n)
        tried = accepted = attempt = 0
        asked = False  # what can be built
        weighed = bool(self.statement.model.weight) and any(sampler.support is None for sampler in self.samplers)
        if weighed or (self.statement.like and self.builder is None):  # at random, no two are alike
            if self.joint is not None:
                return self._exact(pending)
            asked, self.builder = True, self._builder(bool(self.statement.spread))
            if weighed and (self.builder is None or not self.builder.construction.weighed):
                return self._unweighed()
            if self.builder is not None and not (possible := self.builder.construction.possible(pending)).all():
                return self._impossible(pending[~possible], self.builder.construction.empty)
        while len(pending):
            rate = max(accepted / tried, 1e-9) if tried else 1.0
            width = int(np.clip(1.5 / rate, 1, max(64, _BLOCK // len(pending)))) if attempt else 1
            done = np.zeros(len(pending), bool)
            step = max(1, _BLOCK // width)
            for start in range(0, len(pending), step):
                block = pending[start : start + step]
                rows, attempts = np.repeat(block, width), np.tile(np.arange(attempt, attempt + width), len(block))
                at, proposed, complete = (
                    self.propose(rows, attempts) if self.builder is None else self._build(rows, attempts)
                )
                if self.statement.spread:
                    keep = self._cell(complete, len(at)) == self.target[rows[at]]
                    at = at[keep]
                    proposed = [{name: codes[keep] for name, codes in other.items()} for other in proposed]
                first, where = _firsts(at // width)
                found = self.found if self.builder is None else self.builder.found
                for into, columns in zip(found, proposed, strict=True):
                    store(into, self.n, block[first], {name: codes[where] for name, codes in columns.items()})
                if self.builder is not None:
                    self.builder.rows[block[first]] = True
                done[start + first] = True
                tried, accepted = tried + len(rows), accepted + len(at)
            attempt += width
            pending = pending[~done]
            if not len(pending):
                return True
            if attempt >= 64 or accepted < tried / 64:
                if self.joint is not None:
                    return self._exact(pending)
                if not accepted and tried >= _DOUBTED and not asked and self.boxes is not None and self.boxes.empty:
                    return self._impossible(pending, True)
                if self.context and not asked and tried >= _HOPELESS and not self.statement.spread:
                    alone = self._proved_alone(pending[:_ASKED])
                    if len(alone):
                        return self._impossible(alone, False, len(pending) > _ASKED)
                costly = tried >= _HOPELESS if not accepted else len(pending) * tried / accepted > _COSTLY
                if costly and accepted and self.builder is None and self.statement.spread and not self.context:
                    return self._handed_out(pending, attempt)
                if costly and not asked:
                    asked, builder = True, self._builder(bool(self.statement.spread))
                    if self._boxed(builder):
                        assert self.boxes is not None
                        self.builder = BoxBuilder(self.design, self.statement, self.n, self.wanted, self.boxes)
                        tried = accepted = 0
                        continue
                else:
                    builder = None
                if builder is not None:
                    possible = builder.construction.possible(pending)
                    if not possible.all():
                        return self._impossible(pending[~possible], builder.construction.empty)
                    self.builder = builder
                    tried = accepted = 0
                    continue
                if (
                    (accepted == 0 and tried >= _patience(len(pending)))
                    or tried >= _BUDGET
                    or (accepted and tried >= PATIENCE and tried + len(pending) * tried / accepted > 2 * _BUDGET)
                ):
                    return self._give_up(tried, accepted, pending)
        return True

    def _handed_out(self, pending: np.ndarray, attempt: int) -> bool:
        """Draw for rows whose balanced values seldom come up: whatever is drawn goes to a row that wants its values, whoever it was drawn for."""
        tried = accepted = 0
        while len(pending):
            width = -(-_BLOCK // len(pending))
            rows, attempts = np.repeat(pending, width), np.tile(np.arange(attempt, attempt + width), len(pending))
            at, proposed, complete = self.propose(rows, attempts)
            taken, which = handed_out(self.target[pending], self._cell(complete, len(at)))
            for into, columns in zip(self.found, proposed, strict=True):
                store(into, self.n, pending[taken], {name: codes[which] for name, codes in columns.items()})
            tried, accepted, attempt = tried + len(rows), accepted + len(taken), attempt + width
            pending = np.delete(pending, taken)
            if tried >= _BUDGET + 8 * self.n:
                break
        return not len(pending) or self._give_up(tried, accepted, pending)

    def _impossible(self, rows: np.ndarray, empty: bool, more: bool = False) -> bool:
        """Report that nothing can be drawn, for some rows (``more``: and maybe others) or at all, which is proved."""
        place = self.where.span if self.where is not None else self.statement.span
        if self.statement.like and not self.statement.spread:
            self._alone(np.arange(self.n) if empty else rows)
            return False
        if empty or self.where is None:
            self.diagnostics.report(
                "E330", "this `where` never holds", place, label="no input satisfies it", help="ask for less"
            )
            return False
        if self.statement.spread and len(self.cells):
            alone = self._without_partner(rows)
            if not len(alone):
                self._report_balance(len(rows), int(rows[0]), place, "")
                return False
            rows = alone
        self.diagnostics.report(
            "E330",
            "this `where` never holds for some rows",
            place,
            label=f"{'at least ' * more}{len(rows):,} of {self.n:,} rows have no partner",
            notes=(f"row {int(rows[0])} is one of them",),
            help="draw all roles in one statement, or ask for less",
        )
        return False

    def _without_partner(self, rows: np.ndarray) -> np.ndarray:
        """Those of the rows that have no partner that the `where` allows, whatever the balanced values are."""
        free = self._builder(balanced=False)
        return rows[:0] if free is None else rows[~free.construction.possible(np.arange(self.n))[rows]]

    def _report_balance(self, missing: int, row: int, place: Span, tried: str) -> None:
        """Report (E333) that the values which `balance` gives to some rows are not allowed by `where` there."""
        names = ", ".join(f"{role}.{name}" for role, name in self.statement.balance)
        values = [
            self.statement.model.decode(name, np.array([int(code)]))[0]
            for (_, name), code in zip(
                self.statement.balance, self.cells.values[self.target[row]].tolist(), strict=True
            )
        ]
        given = " and ".join(
            f"{role}.{name} = {show(value)}" for (role, name), value in zip(self.statement.balance, values, strict=True)
        )
        self.diagnostics.report(
            "E333",
            f"`balance` and {'`like`' if self.statement.like else '`where`'} do not go together",
            place,
            label=f"{missing:,} of {self.n:,} rows have no partner with the balanced values that they should have{tried}",
            notes=(
                f"`balance=[{names}]` gives every combination the same number of rows, whatever was drawn before; "
                f"row {row} should have {given}",
            ),
            help="draw all roles in one statement, or balance another variable",
        )

    def _alone(self, rows: np.ndarray, tried: int = 0) -> None:
        report_alone(self.design, self.statement, self.values, self.n, rows, self.diagnostics, tried)

    def _numbered(self) -> tuple[str, ...]:
        """What `template` may be, where the `where` asks about it."""
        asked = self.where is not None and any(
            name == "template" and name not in self.design.models[role].variables for role, name in self.where.mentions
        )
        last = len(self.design.templates) - 1
        return (f"`template` is the number of a prompt line: 0 to {last}",) if asked and last >= 0 else ()

    def _value(self, role: str, name: str, row: int) -> bool | int | float | str:
        code = self.values[role][name][row]
        model = self.design.models[role]
        return int(code) if name == "template" and name not in model.variables else model.value(name, code)

    def _give_up(self, tried: int, accepted: int, pending: np.ndarray) -> bool:
        if self.statement.like and not self.statement.spread:
            self._alone(pending, tried)
            return False
        partly = bool(self.context) and len(pending) < self.n
        if self.where is not None and (partly or not self.held) and self._elsewhere(tried, pending):
            label = f"this held on none of {self.asked:,} draws from it"
            if partly:
                label = f"{len(pending):,} of {self.n:,} rows found no partner in it in {tried:,} draws"
            report_empty(self.statement, self.where.span, label, self.diagnostics)
            return False
        if partly and self.statement.spread:
            where = self.where.span if self.where else self.statement.span
            self._report_balance(len(pending), int(pending[0]), where, f", in {tried:,} draws")
            return False
        if partly:
            row = int(pending[0])
            held = [(f"{role}.{name}", self._value(role, name, row)) for role, name in self.context]
            self.diagnostics.add(
                Diagnostic(
                    "E330",
                    "for some rows nothing was found that satisfies this `where`",
                    self.where.span if self.where else self.statement.span,
                    f"{len(pending):,} of {self.n:,} rows found no partner in {tried:,} draws",
                    (),
                    (one_of_them(row, held), *self._numbered()),
                    "draw all roles in one statement, or ask for less",
                )
            )
            return False
        rare = [s.rarest() for s in self.samplers]
        worst = min((r for r in rare if r is not None), key=lambda r: r[2] / max(1, r[1]), default=None)
        if (
            self.where is not None
            and self.asked
            and (worst is None or self.held / self.asked <= worst[2] / max(1, worst[1]))
        ):
            built = (tried, accepted) if self.builder is not None else (0, 0)
            report_rare(self.where, self.asked, self.held, self.diagnostics, self._numbered(), built)
        elif worst is not None and not self.statement.spread:
            report_rare(*worst, self.diagnostics)
        elif self.statement.split and not self.statement.spread:
            report_empty(self.statement, self.statement.span, f"none of {tried:,} draws lies in it", self.diagnostics)
        else:
            self.diagnostics.report(
                "E333",
                "the balanced values hardly ever occur together",
                self.statement.span,
                label=f"{accepted:,} of {tried:,} draws could be used",
                help="balance fewer variables",
            )
        return False

    # ── from the list of all rows ───────────────────────────────────────────────────────────────

    def _exact(self, pending: np.ndarray) -> bool:
        """Draw the rows that are left from the list of all rows that are allowed."""
        every = self.joint
        assert every is not None
        self.asked, self.held = every.asked, every.n
        if not every.n and self.statement.like:
            self._alone(pending)
            return False
        if not every.n:
            assert self.where is not None
            if self._elsewhere(0, pending):
                label = f"this holds on none of its {every.asked:,} {self._unit}"
                report_empty(self.statement, self.where.span, label, self.diagnostics)
                return False
            label = f"on none of the {every.asked:,} {self._unit}"
            self.diagnostics.report(
                "E330", "this `where` never holds", self.where.span, label=label, help="ask for less"
            )
            return False
        shared = self._shared()
        if shared is not None:
            cells = shared.numbers
        elif self.statement.spread:
            cells = self._cell(every.columns(self.samplers, self.wanted), every.n)
        else:
            cells = np.zeros(every.n, np.int64)
        random = bits(key(self.statement.seed, *self.statement.roles, "listed"), pending)
        for cell in np.unique(self.target[pending]):
            among = np.flatnonzero(cells == cell)
            rows = self.target[pending] == cell
            sums = np.cumsum(every.weights[among])
            pick = among[np.searchsorted(sums, below(random[rows], int(sums[-1])), side="right")]
            for into, index in zip(self.found, every.indices, strict=True):
                store(into, self.n, pending[rows], {"#": index[pick]})
        return True

    # ── balance ─────────────────────────────────────────────────────────────────────────────────

    def built(self, rows: np.ndarray, attempts: np.ndarray) -> tuple[np.ndarray, dict[str, Columns]]:
        """Rows that the builder proposes and the condition allows: which they are, and their columns."""
        at, _, complete = self._build(rows, attempts)
        return at, complete

    def _balance(self) -> bool:
        """Find the combinations of the balanced values, and give each row the one that it must have."""
        if self.statement.strata:
            return self._stratify()
        balance = self.statement.spread
        shared = self._shared() if not self.context else None
        covering = self.statement.chosen(self.design) if self.statement.cover else None
        if shared is not None or covering is not None:
            columns = {}
        elif self.joint is not None:
            columns = self.joint.columns(self.samplers, self.wanted)
        else:
            pilot = np.arange(_PILOT)
            at, _, columns = self.propose(pilot % self.n, _APART + pilot)
            self.builder = self._builder(balanced=False) if len(at) < _PILOT / 64 else None
            if self.builder is not None:
                possible = self.builder.construction.possible(np.arange(self.n))
                if not possible.all():
                    return self._impossible(np.flatnonzero(~possible), self.builder.construction.empty)
                _, _, columns = self._build(pilot % self.n, _APART + pilot)
        self.cells = (
            shared.cells
            if shared is not None
            else Cells(covering)
            if covering is not None
            else Cells(np.stack([columns[role][name] for role, name in balance], axis=1))
        )
        k = len(self.cells)
        names = ", ".join(f"{role}.{name}" for role, name in balance)
        if not k:
            if self.joint is not None:
                return self._exact(np.arange(self.n))
            if self.boxes is not None and self.boxes.empty:
                return self._impossible(np.arange(self.n), True)
            return self._give_up(_PILOT, 0, np.arange(self.n))
        if k > self.n and covering is not None:
            self.diagnostics.report(
                "E354",
                f"{self.n:,} rows cannot hold the {k:,} that cover {names}",
                self.statement.span,
                label="each should be there equally often",
                help=f"draw n={k} or more, or cover fewer variables",
            )
            return False
        if k > self.n:
            self.diagnostics.report(
                "E333",
                f"{self.n:,} rows cannot hold {k:,} combinations of {names}",
                self.statement.span,
                label="each should be there equally often",
                help=f"draw n={k} or more, or balance fewer variables",
            )
            return False
        # Shuffled within each round of all combinations, so that any stretch of rows is balanced and none has a pattern.
        rounds = -(-self.n // k)
        order = bits(key(self.statement.seed, *self.statement.roles, "balance"), np.arange(rounds * k)).reshape(
            rounds, k
        )
        self.target = np.argsort(order, axis=1, kind="stable").reshape(-1)[: self.n]
        return True

    def _stratify(self) -> bool:
        """Give each stratum the rows that its probability says, to the nearest whole number above or below, by one random
        start for all: any row is in any stratum as often as it would be if it were drawn by itself."""
        cells, share = self.statement.chosen(self.design)
        self.cells = Cells(cells)
        numbers = self.cells.of(list(cells.T), len(cells))
        names = (self.statement.seed, *self.statement.roles, "strata")
        start = float(unit(bits(key(*names), np.zeros(1, np.int64)))[0])
        points = (np.arange(self.n) + start) / self.n * share.sum()
        stratum = np.minimum(np.searchsorted(np.cumsum(share), points, side="right"), len(share) - 1)
        self.target = numbers[stratum][permutation(key(*names, "order"), self.n)]
        return True

    def _cell(self, columns: dict[str, Columns], n: int) -> np.ndarray:
        """The number of each row's combination of balanced values; -1 for one that is not among ``cells``."""
        return self.cells.of([np.asarray(columns[role][name]) for role, name in self.statement.spread], n)


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
