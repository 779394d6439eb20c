"""The claim of a test where its `where` does not hold: the interchange in other pairs, and what no variable claims in other inputs.

A `where` that fixes an input, or that leaves out some of its values, leaves out all that shows with others. So the place may hold a
function of several inputs, and a backup may read two copies of one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from causal_dsl.causal.condition_functions import Predicate
from causal_dsl.causal.designs import Drawn
from causal_dsl.diagnostics import SpecError
from causal_dsl.inputs.protocol import Inputs
from causal_dsl.planning.probe_rows import FLOOR, FREE, LEAST, is_small, made_test, prompts_of, rows_of_tokens
from causal_dsl.planning.unclaimed import unclaimed
from causal_dsl.program.free_draws import beyond_where
from causal_dsl.program.probed import Beyond
from causal_dsl.program.program import Cell, Test
from causal_dsl.program.whole_maps import writes_all
from causal_dsl.vocabulary.values.from_run import FromRun

if TYPE_CHECKING:
    from causal_dsl.planning.plan import Plan

#: Of prompts that cost, the pairs in which the interchange is tried, as a share of those of the test, and so many where that is less.
_SHARE, _FLOOR = 0.05, FLOOR // 4
#: Pairs in which the interchange is tried; inputs that are looked at, and how many others each of them is paired with.
_PAIRS, _INPUTS, _PARTNERS = 512, 256, 64


def beyond(plan: Plan, test: Test, number: int, cell: Cell) -> Iterator[Test]:
    """The claim of a cell, in pairs and inputs that the test does not draw. Of prompts, each of which costs, what no variable claims only
    beside a test of one cell."""
    costly = plan.inputs[test.network.key].costly
    if _unfit(plan, test, cell):
        return
    found = _drawn(test)
    if found is None:
        return
    drawn, outside = found
    rows = np.flatnonzero(outside)[: _affordable(plan, test)]
    if len(rows) >= LEAST:
        values = {role: {n: column[rows] for n, column in columns.items()} for role, columns in drawn.values.items()}
        given = Drawn(len(rows), values, {role: ids[rows] for role, ids in drawn.ids.items()}, False)
        one = made_test(
            test, "beyond", number, given, (Cell((), cell.interventions),), Beyond(number), "beyond the `where`"
        )
        if not costly or _prompts(plan, test, one) is not None:
            yield one
    if costly:
        if test.unlike == 1 and outside.any() and _narrowed(test, drawn):
            made = unclaimed(plan, test, number, cell, drawn)[0]
            yield from (one for one in made if _in_same_places(plan, test, cell, one))
    elif _narrowed(test, drawn):
        yield from unclaimed(plan, test, number, cell, drawn)[0]


def _affordable(plan: Plan, test: Test) -> int:
    """In how many pairs the interchange of each cell is tried: in a small network as many as are wanted; elsewhere each costs, and there are few."""
    inputs = plan.inputs[test.network.key]
    if is_small(inputs):
        return min(_PAIRS, FREE // 16 // test.unlike)
    short = rows_of_tokens(inputs)
    return min(_PAIRS, short // 16 if short else max(_FLOOR, int(_SHARE * plan.draw_of(test).n))) // test.unlike


def _prompts(plan: Plan, test: Test, made: Test) -> tuple[Inputs, np.ndarray] | None:
    """The prompts of a control, by themselves; None where they cannot be made."""
    known = plan.inputs[test.network.key]
    scratch = type(known)(known.facts, known.tokens)
    assert made.given is not None
    try:
        return scratch, np.unique(
            [scratch.add(test.alignment, made.given, role, test.span) for role in made.given.values]
        )
    except SpecError:  # a `where` may leave out what is no prompt
        return None


def _in_same_places(plan: Plan, test: Test, cell: Cell, made: Test) -> bool:
    """Whether the prompts of a control can be made, are as long as those of its test, and have its places at the same tokens."""
    known, mine = plan.inputs[test.network.key], prompts_of(plan, test)
    found = _prompts(plan, test, made)
    if found is None:
        return False
    scratch, theirs = found
    try:
        if set(scratch.lengths[theirs].tolist()) != set(known.lengths[mine].tolist()):
            return False
        positions = {place.position for i in cell.interventions for place in i.places}
        return all(
            {known.where(at, int(k)) for k in mine} == {scratch.where(at, int(k)) for k in theirs} for at in positions
        )
    except SpecError:  # a place of the test is not in them
        return False


def not_beyond(plan: Plan, test: Test, cell: Cell) -> str:
    """Why the claim of a cell is not tried where the `where` of its test does not hold; empty where it is, or where there is no such `where`."""
    if not any(s.said is not None and all(role.isidentifier() for role in s.roles) for s in test.design.statements):
        return ""
    return _unfit(plan, test, cell) or ("" if _drawn(test) else "the causal model gives no other inputs")


def _unfit(plan: Plan, test: Test, cell: Cell) -> str:
    if why := _unfit_cell(test, cell):
        return why
    inputs = plan.inputs[test.network.key]
    if not (inputs.costly or is_small(inputs)):
        return "a run of this network costs too much"
    return "" if _affordable(plan, test) >= LEAST else f"fewer than {LEAST} pairs can be run for it in each cell"


def _unfit_cell(test: Test, cell: Cell) -> str:
    facts = test.network.facts
    if len({id(statement.model) for statement in test.design.statements}) > 1:
        return "its inputs are those of several causal models"
    if any(not i.variable or i.add or not isinstance(i.value, FromRun) for i in cell.interventions):
        return "it writes more than variables"
    if not all(writes_all(i, facts) for i in cell.interventions):
        return "a variable is written through a feature"
    return ""


def _drawn(test: Test) -> tuple[Drawn, np.ndarray] | None:
    return beyond_where(test, 2 * _PAIRS)


def _narrowed(test: Test, drawn: Drawn) -> bool:
    """Whether the `where` leaves out inputs, whatever they are paired with, and not pairs alone."""
    conditions = [s.said for s in test.design.statements if s.said is not None]
    n, roles = min(drawn.n, _INPUTS), list(drawn.values)
    found = np.zeros(n, bool)
    for role in roles:
        for step in range(_PARTNERS):
            rows = {other: np.arange(n) if other == role else (np.arange(n) + step) % drawn.n for other in roles}
            found |= _passes(conditions, drawn, rows, n)
    return not found.all()


def _passes(conditions: list[Predicate], drawn: Drawn, rows: dict[str, np.ndarray], n: int) -> np.ndarray:
    values = {role: {name: column[rows[role]] for name, column in drawn.values[role].items()} for role in rows}
    passed = np.ones(n, bool)
    for where in conditions:
        passed &= where(values, n)
    return passed


__all__ = ["beyond", "not_beyond"]
