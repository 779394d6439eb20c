"""The controls that were not tried beside a test, and why: the findings `not_tried`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from causal_dsl.engine.execute import Execution
from causal_dsl.engine.measured_cells import TestRun
from causal_dsl.planning.beyond import not_beyond
from causal_dsl.planning.in_parts import unparted
from causal_dsl.planning.other_values import other_values
from causal_dsl.planning.probe_rows import is_small
from causal_dsl.planning.unclaimed import untried
from causal_dsl.planning.unit_sets import tried_to
from causal_dsl.planning.written_apart import unwritten
from causal_dsl.program.probed import Unmapped
from causal_dsl.program.program import Test
from causal_dsl.score.codes import FULL
from causal_dsl.score.estimates_and_findings import Finding
from causal_dsl.score.results import CellResult
from causal_dsl.score.unmapped import Unclaimed
from causal_dsl.score.untried_findings import (
    alike_only_finding,
    coordinates_finding,
    early_finding,
    inside_finding,
    not_beyond_finding,
    unheld_finding,
    unparted_finding,
    unplaced_finding,
    untaken_finding,
    untried_finding,
    unwritten_finding,
)
from causal_dsl.score.verdict import demote
from causal_dsl.vocabulary.locations import Place


def not_tried(
    test: Test, execution: Execution, cells: Sequence[CellResult], early: Sequence[tuple[int, Unmapped]] = ()
) -> tuple[Finding, ...]:
    """The findings on controls that were not run beside a test whose ``cells`` these are: beside an interchange where its verdict is a full one, and beside an
    ablation in any case. ``early``: of which cell the rest of a layer was not judged, for a later one has what is missing there."""
    if not test.intervenes:
        return ()
    plan, run = execution.plan, execution.runs[test.name]
    found: dict[Finding, None] = {}
    if test.swaps:
        full = [cell for cell in cells if cell.verdict is not None and demote(cell.verdict, cell.findings).code in FULL]
        for cell in full:
            number = _number(run, cell)
            if not cell.unclaimed and (why := untried(plan, test, number)):
                found[untried_finding(why)] = None
            how, why = unwritten(plan, test, test.cells[number])
            if why:
                found[unwritten_finding([variable for variable, _ in test.swaps], how, why)] = None
            if why := not_beyond(plan, test, test.cells[number]):
                found[not_beyond_finding(why)] = None
            name, why = unparted(plan, test, test.cells[number])
            if why:
                found[unparted_finding(name, why)] = None
        for at, probe in early:
            if cells[at] in full:
                found[early_finding(str(Place(probe.site)), probe.placed)] = None
        found |= {coordinates_finding(one): None for cell in full for one in cell.unclaimed if one.through}
        found |= dict.fromkeys(_untaken([sets for cell in full for sets in _sets(cell)]))
        if not is_small(plan.inputs[test.network.key]):
            found |= dict.fromkeys(_alike_only(test, full))
    else:
        for number, node in enumerate(test.cells):
            if why := other_values(plan, test, number, node)[1]:
                found[unheld_finding(why)] = None
    if unplaced := [probe.name for probe in plan.unplaced if probe.control[0] == test.name]:
        found[unplaced_finding(unplaced)] = None
    return tuple(found)


def _number(run: TestRun, cell: CellResult) -> int:
    return next(n for n, one in enumerate(run.cells) if dict(one.node.cell) == cell.cell)


def _sets(cell: CellResult) -> Iterator[tuple[Unclaimed, int]]:
    """The layers of a cell at which units were taken, and up to how many in all sets of so many."""
    layers = dict.fromkeys(
        (one.site, one.placed, one.why)
        for one in cell.unclaimed
        if one.why != "other" and not one.through and not one.numbers
    )
    for layer in layers:
        mine = [o for o in cell.unclaimed if (o.site, o.placed, o.why) == layer and not o.numbers]
        inside = mine[0].inside and not any(
            o.numbers and (o.site, o.placed) == (mine[0].site, mine[0].placed) for o in cell.unclaimed
        )
        yield (
            replace(mine[0], inside=inside),
            tried_to(mine[0].taken[0].units, [t.units for one in mine for t in one.taken if not t.mixed]),
        )


def _alike_only(test: Test, full: Sequence[CellResult]) -> Iterator[Finding]:
    """Of which layers parts were taken only from inputs in which the answer needs the same beside the placed variables."""
    for one in dict.fromkeys(
        (one.site, one.placed) for cell in full for one in cell.unclaimed if _needs_more(test, one, cell)
    ):
        yield alike_only_finding(*one, test.readout.variable)


def _needs_more(test: Test, one: Unclaimed, cell: CellResult) -> bool:
    """Whether the answer may need more than the placed variables, and what differs in that was not tried: else any other input is."""
    if one.why == "decided" or one.through or (one.tokens and set(one.varied) == set(test.model.exogenous)):
        return False
    return not any((o.site, o.placed, o.why) == (one.site, one.placed, "other") for o in cell.unclaimed)


def _untaken(layers: Sequence[tuple[Unclaimed, int]]) -> Iterator[Finding]:
    """Of which sets of units not all were taken; one sentence a test; and that numbers inside a token were taken all together. All units together, and so all but one of two, always are."""
    short = [(upto, one) for one, upto in layers if upto < len(one.taken[0].units) - 1 or not upto]
    if short:
        upto, least = min(short, key=lambda pair: pair[0])
        alike = {(one.site, len(one.taken[0].units), one.cut) for _, one in short}
        yield untaken_finding(least if len(alike) == 1 else None, upto, [one for _, one in short])
    elif any(one.inside for one, _ in layers):
        yield inside_finding()


__all__ = ["not_tried"]
