"""Why a draw statement has no rows, or few different ones: one message for each reason, where it was found."""

from __future__ import annotations

import numpy as np

from causal_dsl.causal.balance_cells import Cells, RowCells
from causal_dsl.causal.domains import show
from causal_dsl.causal.joint import Joint
from causal_dsl.causal.left_out import left_out
from causal_dsl.causal.minimal import one_of_them, report_alone
from causal_dsl.causal.row_candidates import RowCandidates
from causal_dsl.causal.sampling import NEVER, report_rare
from causal_dsl.causal.splits import report_empty
from causal_dsl.diagnostics import Diagnostics, Span

#: Combinations of balanced values that no row has, of which the message gives the values.
_SHOWN = 4


class NoRows:
    """Reports into ``diagnostics`` what is wrong with the candidates of a statement. ``row_cells``: what is balanced, once that is known."""

    def __init__(self, candidates: RowCandidates, diagnostics: Diagnostics):
        self.candidates, self.statement, self.n = candidates, candidates.statement, candidates.n
        self.where, self.context = candidates.where, candidates.context
        self.diagnostics = diagnostics
        self.row_cells: RowCells | None = None

    @property
    def _place(self) -> Span:
        return self.where.span if self.where is not None else self.statement.span

    @property
    def _alike(self) -> bool:
        """Whether what is missing are partners of the rows of an earlier run."""
        return bool(self.statement.like) and not self.statement.spread

    # ── proved ──────────────────────────────────────────────────────────────────────────────────

    def report_empty_part(self) -> None:
        """The part of the inputs that is drawn from has none."""
        report_empty(self.statement.model, self.statement.split, self.statement.span, "it is empty", self.diagnostics)

    def report_unweighed(self) -> None:
        """Inputs that have weights can be neither listed nor built (E353)."""
        model = self.statement.model
        self.diagnostics.report(
            "E353",
            f"inputs of `{model.name}` cannot be drawn in proportion to `{model.weight}`",
            self.statement.span,
            label=f"`{model.weight}`, or what it is computed from, has too many values to be listed",
            help="make it depend on variables of fewer values, or draw from a table that is weighted already",
        )

    def report_impossible(self, rows: np.ndarray, empty: bool, more: bool = False) -> None:
        """Nothing can be drawn, for some rows (``more``: and maybe others) or at all, which is proved."""
        if self._alike:
            self.report_alone(np.arange(self.n) if empty else rows)
            return
        if empty or self.where is None:
            self._never("no input satisfies it")
            return
        if self.row_cells is not None and len(self.row_cells.cells):
            alone = self._without_partner(rows)
            if not len(alone):
                self._report_balance(self.row_cells, len(rows), int(rows[0]), "")
                return
            rows = alone
        self.diagnostics.report(
            "E330",
            "this `where` never holds for some rows",
            self._place,
            label=f"{'at least ' * more}{len(rows):,} of {self.n:,} rows have no partner",
            notes=(f"row {int(rows[0])} is one of them",),
            help="draw all roles in one statement, or ask for less",
        )

    def report_none_listed(self, every: Joint, rows: np.ndarray) -> None:
        """The list of all rows that are allowed has none."""
        if self.statement.like:
            self.report_alone(rows)
            return
        assert self.where is not None
        if self.candidates.elsewhere(0, rows):
            label = f"this holds on none of its {every.asked:,} {self.candidates.unit}"
            report_empty(self.statement.model, self.statement.split, self.where.span, label, self.diagnostics)
            return
        self._never(f"on none of the {every.asked:,} {self.candidates.unit}")

    def report_alone(self, rows: np.ndarray, tried: int = 0) -> None:
        """Some rows have no partner that is like them."""
        one = self.candidates
        report_alone(one.design, self.statement, one.values, self.n, rows, self.diagnostics, tried)

    def report_too_many_cells(self, cells: int, covering: bool) -> None:
        """There are fewer rows than combinations of balanced values (E333), or of those that cover others (E354)."""
        names = ", ".join(f"{role}.{name}" for role, name in self.statement.spread)
        code, title, what = (
            ("E354", f"{self.n:,} rows cannot hold the {cells:,} that cover {names}", "cover")
            if covering
            else ("E333", f"{self.n:,} rows cannot hold {cells:,} combinations of {names}", "balance")
        )
        self.diagnostics.report(
            code,
            title,
            self.statement.span,
            label="each should be there equally often",
            help=f"draw n={cells} or more, or {what} fewer variables",
        )

    # ── not found ───────────────────────────────────────────────────────────────────────────────

    def report_not_found(self, tried: int, accepted: int, pending: np.ndarray, built: bool) -> None:
        """Rows ``pending`` found no candidate in so many; ``built``: these were built for the conditions."""
        if self._alike:
            self.report_alone(pending, tried)
            return
        one = self.candidates
        partly = bool(self.context) and len(pending) < self.n
        if self.where is not None and (partly or not one.held) and one.elsewhere(tried, pending):
            label = f"this held on none of {one.asked:,} draws from it"
            if partly:
                label = f"{len(pending):,} of {self.n:,} rows found no partner in it in {tried:,} draws"
            report_empty(self.statement.model, self.statement.split, self.where.span, label, self.diagnostics)
        elif partly and self.statement.spread and self.row_cells is not None:
            self._report_balance(self.row_cells, len(pending), int(pending[0]), f", in {tried:,} draws")
        elif partly:
            row = int(pending[0])
            held = [(f"{role}.{name}", self._value(role, name, row)) for role, name in self.context]
            self.diagnostics.report(
                "E330",
                "for some rows nothing was found that satisfies this `where`",
                self._place,
                label=f"{len(pending):,} of {self.n:,} rows found no partner in {tried:,} draws",
                notes=(one_of_them(row, held), *self._numbered()),
                help="draw all roles in one statement, or ask for less",
            )
        else:
            self._report_rarest(tried, accepted, built)

    def _report_rarest(self, tried: int, accepted: int, built: bool) -> None:
        """Of the conditions that candidates have to satisfy, the one that holds least often."""
        one = self.candidates
        rare = [s.rarest() for s in one.samplers]
        worst = min((r for r in rare if r is not None), key=lambda r: r[2] / max(1, r[1]), default=None)
        if (
            self.where is not None
            and one.asked
            and (worst is None or one.held / one.asked <= worst[2] / max(1, worst[1]))
        ):
            counts = (tried, accepted) if built else (0, 0)
            report_rare(self.where, one.asked, one.held, self.diagnostics, self._numbered(), counts)
        elif worst is not None and not self.statement.spread:
            report_rare(*worst, self.diagnostics)
        elif self.statement.split and not self.statement.spread:
            report_empty(
                self.statement.model,
                self.statement.split,
                self.statement.span,
                f"none of {tried:,} draws lies in it",
                self.diagnostics,
            )
        else:
            self.diagnostics.report(
                "E333",
                "the balanced values hardly ever occur together",
                self.statement.span,
                label=f"{accepted:,} of {tried:,} draws could be used",
                help="balance fewer variables",
            )

    def warn_if_rare(self) -> None:
        """Most draws were thrown away, where few different ones are left (W330)."""
        one = self.candidates
        if one.asked < 1000 or not one.may_be_rare():
            return
        names = [(r, name) for r in self.statement.roles for name in (*self.statement.model.exogenous, "template")]
        stacked = [one.values[role][name] for role, name in names if name in one.values[role]]
        different = len(np.unique(np.stack(stacked, axis=1), axis=0)) if stacked else 1
        if 2 * different <= self.n:
            label = f"on {one.held:,} of {one.asked:,} draws"
            help = f"is it what you mean? Of the {self.n:,} rows {different:,} are different"
            self.diagnostics.report("W330", "this `where` almost never holds", self._place, label=label, help=help)

    def warn_of_left_out(self, cells: Cells, drawn: int) -> None:
        """Combinations of balanced values that no row has (W331). ``drawn``: how many draws the combinations were found in, where the inputs
        cannot be listed."""
        found = left_out(self.candidates, cells)
        if found is None:
            return
        model = self.statement.model
        shown = [
            " and ".join(
                f"{role}.{name} = {show(model.decode(name, np.array([code]))[0])}"
                for (role, name), code in zip(found.names, row, strict=True)
            )
            for row in found.rows[:_SHOWN]
        ]
        told = (f"no row has {'; or '.join(shown)}{'; …' if len(found.rows) > _SHOWN else ''}",) if shown else ()
        rest = (
            f"each of the other {len(cells):,} has the same number of rows"
            if len(cells) > 1
            else "all rows have the other one"
        )
        help = f"is it what you mean? {rest[0].upper()}{rest[1:]}"
        if not found.listed:
            help += ". Another `seed` may draw them, and a test of their own does, if its `where` asks for these values"
        self.diagnostics.report(
            "W331",
            f"`balance` leaves out {found.count:,} of {found.every:,} combinations of {', '.join(f'{role}.{name}' for role, name in self.statement.spread)}",
            self._place,
            label="the conditions allow none of them" if found.listed else f"none of them came up in {drawn:,} draws",
            notes=told,
            help=help,
        )

    # ── parts of messages ───────────────────────────────────────────────────────────────────────

    def _never(self, label: str) -> None:
        self.diagnostics.report("E330", "this `where` never holds", self._place, label=label, help=NEVER)

    def _without_partner(self, rows: np.ndarray) -> np.ndarray:
        """Those of the rows that have no partner that the `where` allows, whatever the balanced values are."""
        free = self.candidates.builder()
        return rows[:0] if free is None else rows[~free.construction.possible(np.arange(self.n))[rows]]

    def _report_balance(self, row_cells: RowCells, missing: int, row: int, tried: str) -> None:
        """Report (E333) that the values which `balance` gives to some rows are not allowed by `where` there."""
        balance = self.statement.balance
        names = ", ".join(f"{role}.{name}" for role, name in balance)
        given = " and ".join(
            f"{role}.{name} = {show(self.statement.model.decode(name, np.array([int(code)]))[0])}"
            for (role, name), code in zip(balance, row_cells.codes[row].tolist(), strict=True)
        )
        self.diagnostics.report(
            "E333",
            f"`balance` and {'`like`' if self.statement.like else '`where`'} do not go together",
            self._place,
            label=f"{missing:,} of {self.n:,} rows have no partner with the balanced values that they should have{tried}",
            notes=(
                f"`balance=[{names}]` gives every combination the same number of rows, whatever was drawn before; "
                f"row {row} should have {given}",
            ),
            help="draw all roles in one statement, or balance another variable",
        )

    def _numbered(self) -> tuple[str, ...]:
        """The values that ``template`` may have, where the `where` asks about it."""
        design = self.candidates.design
        asked = self.where is not None and any(
            name == "template" and name not in design.models[role].variables for role, name in self.where.mentions
        )
        last = len(design.templates) - 1
        return (f"`template` is the number of a prompt line: 0 to {last}",) if asked and last >= 0 else ()

    def _value(self, role: str, name: str, row: int) -> bool | int | float | str:
        code = self.candidates.values[role][name][row]
        model = self.candidates.design.models[role]
        return int(code) if name == "template" and name not in model.variables else model.value(name, code)


__all__ = ["NoRows"]
