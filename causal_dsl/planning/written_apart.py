"""The variables of a test that interchanges several, each by itself, and from different runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from causal_dsl.base.counter import Stream
from causal_dsl.causal.designs import Drawn
from causal_dsl.planning.probe_rows import (
    FLOOR,
    FREE,
    LEAST,
    MANY,
    SEED,
    SHARE,
    is_small,
    made_test,
    prompts_of,
    spans_of,
)
from causal_dsl.program.overlap import overlap
from causal_dsl.program.probed import Apart
from causal_dsl.program.program import Cell, Intervention, Test
from causal_dsl.program.whole_maps import writes_all
from causal_dsl.vocabulary.network_facts import Facts
from causal_dsl.vocabulary.values.from_run import FromRun

if TYPE_CHECKING:
    from causal_dsl.planning.plan import Plan


#: The role of a source that stands in another row.
ANOTHER = "another source"


def written_apart(plan: Plan, test: Test, number: int, cell: Cell) -> Iterator[Test]:
    """Each variable of a test that interchanges several by itself; and, where all come from one run, from different ones.

    What is written together is right whichever of the places holds which variable.
    """
    if not _several(test, cell):
        return
    by_name = {i.variable: i for i in cell.interventions}
    drawn = plan.draw_of(test)
    cells = [tuple(i for i in cell.interventions if i.variable == variable) for variable, _ in test.swaps]
    swaps: list[tuple[tuple[str, str], ...]] = [(swap,) for swap in test.swaps]
    roles = {role for _, role in test.swaps}
    if len(roles) == 1 and not _unlike(plan, test, cell):
        mixed = tuple((v, role if k % 2 == 0 else ANOTHER) for k, (v, role) in enumerate(test.swaps))
        cells.append(tuple(_from(by_name[variable], role) for variable, role in mixed))
        swaps.append(mixed)
    m = _rows(plan, test, len(cells))
    if m < LEAST:
        return
    stream = Stream(SEED, number)
    chosen = stream.some(drawn.n, m)
    picked = {role: chosen for role in ("base", *sorted(roles - {"base"}))}
    if len(swaps) > len(test.swaps):
        picked[ANOTHER] = np.roll(stream.shuffled(chosen), 1)
    of = {role: next(iter(roles)) if role == ANOTHER else role for role in picked}
    values = {role: {n: c[rows] for n, c in drawn.values[of[role]].items()} for role, rows in picked.items()}
    given = Drawn(m, values, {role: drawn.ids[of[role]][rows] for role, rows in picked.items()}, False)
    parts = tuple(Cell((("part", k + 1),), one) for k, one in enumerate(cells))
    yield made_test(test, "apart", number, given, parts, Apart(number, tuple(swaps)))


def unwritten(plan: Plan, test: Test, cell: Cell) -> tuple[str, str]:
    """The controls of this kind that are not run beside a cell, and why; nothing where all of them are, or where there are none."""
    if not _several(test, cell):
        return "", ""
    one_run = len({role for _, role in test.swaps}) == 1
    unlike = _unlike(plan, test, cell) if one_run else ""
    if _rows(plan, test, len(test.swaps) + (one_run and not unlike)) < LEAST:
        return (
            "each by itself",
            f"fewer than {LEAST} pairs of inputs can be run for it at a fifth of the cost of the test",
        )
    return ("from different sources", unlike) if unlike else ("", "")


def _several(test: Test, cell: Cell) -> bool:
    """Whether a cell writes several variables, each at places of its own."""
    by_name = {i.variable for i in cell.interventions}
    known = all(i.variable and isinstance(i.value, FromRun) and not i.add for i in cell.interventions)
    if len(test.swaps) < 2 or not known or by_name != {variable for variable, _ in test.swaps}:
        return False
    # variables at one place are said to be that place's
    return not any(_one_place(a, b, test.network.facts) for a, b in combinations(cell.interventions, 2))


def _unlike(plan: Plan, test: Test, cell: Cell) -> str:
    """Why a prompt of another row cannot be taken as a source; empty where it can."""
    if not _one_length(plan, test):
        return "the prompts differ in their number of tokens"
    return "" if spans_of(plan, test, cell) is not None else "a place has more tokens in one prompt than in another"


def _rows(plan: Plan, test: Test, cells: int) -> int:
    n = plan.draw_of(test).n
    rows = int(SHARE / 2 * n)
    small = is_small(plan.inputs[test.network.key])
    rows = max(rows, (FREE // 4 if small else FLOOR // 2) // test.unlike)
    return min(rows // cells, MANY, n)


def _one_place(one: Intervention, other: Intervention, facts: Facts) -> bool:
    """Whether two variables are written at a place that both have, as whole vectors."""
    whole = writes_all(one, facts) and writes_all(other, facts)
    return whole and any(overlap(a, b, facts) for a in one.places for b in other.places)


def _from(intervention: Intervention, role: str) -> Intervention:
    assert isinstance(intervention.value, FromRun)
    return replace(
        intervention, value=replace(intervention.value, role=role), text=f"{intervention.variable} <- {role}"
    )


def _one_length(plan: Plan, test: Test) -> bool:
    return len(set(plan.inputs[test.network.key].lengths[prompts_of(plan, test)].tolist())) == 1
