"""A test's result with what rode beside it: what no variable claims, and an ablation's places taken away otherwise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from causal_dsl.engine.columns import Columns, Quantity
from causal_dsl.engine.execute import CellRun, Execution, TestRun
from causal_dsl.planning.probes import Replaced, Unmapped
from causal_dsl.program.locations import Place, Position, Site
from causal_dsl.program.program import Test
from causal_dsl.score.paired import difference, share
from causal_dsl.score.results import CellResult, Finding, TestResult
from causal_dsl.score.unmapped import (
    NATURAL,
    OtherValues,
    Taken,
    Unclaimed,
    moves,
    replacement_findings,
    unmapped_findings,
)

_ANSWER = Quantity("answer")


def with_probes(result: TestResult, test: Test, execution: Execution) -> TestResult:
    """The result, its cells told of what was run beside them; as it is where nothing was."""
    if not test.controls and test.intervenes:
        off = Finding("controls_off", "It stands without the interventions that run beside a test (`controls=none`).")
        return replace(result, findings=(*result.findings, off))
    run = execution.runs[test.name]
    cells = list(result.cells)
    for probe_test in execution.plan.tests:
        probe = probe_test.probe
        if probe is None or probe_test.control[0] != test.name:
            continue
        values = dict(run.cells[probe.cell].node.cell)
        at = next((i for i, cell in enumerate(cells) if cell.cell == values), None)
        theirs = execution.runs[probe_test.name]
        if at is None or not all(cell.done.all() for cell in theirs.cells):
            continue
        if isinstance(probe, Unmapped):
            cells[at] = _unclaimed(cells[at], probe, probe_test, theirs, execution)
        elif isinstance(probe, Replaced):
            cells[at] = _replaced(cells[at], probe, probe_test, run.cells[probe.cell], theirs)
    return replace(result, cells=tuple(cells))


def _unclaimed(cell: CellResult, probe: Unmapped, test: Test, run: TestRun, execution: Execution) -> CellResult:
    """Over the pairs in which the network answers both inputs right: there it can have no error of its own to pass on."""
    drawn = execution.plan.draw_of(test)
    output = test.readout.variable
    columns = run.cells[0].columns
    base, other = columns.base[_ANSWER], columns.sources["other"][_ANSWER]
    right = base == drawn.values["base"][output]
    both = right & (other == drawn.values["other"][output])
    natural = max(NATURAL, 1 - float(right.mean()))
    ids = {role: drawn.ids[role][both] for role in ("base", "other")}
    taken = tuple(
        Taken(units, _told(probe, units), share((one.columns.patched[_ANSWER] != base)[both], ids))
        for units, one in zip(probe.units, run.cells, strict=True)
    )
    strict = probe.why != "through" or moves(taken[0], natural)
    found = Unclaimed(
        _site(probe.site), probe.placed, probe.varied, probe.why, probe.tokens, output, taken, natural,
        tuple(strict or i == 0 for i in range(len(taken))),
    )  # fmt: skip
    return replace(cell, unclaimed=found, findings=(*cell.findings, *unmapped_findings(found)))


def _site(site: Site) -> str:
    return str(Place(site))


def _told(probe: Unmapped, units: tuple[int, ...]) -> str:
    if probe.tokens:
        position = Position("several", parts=tuple(Position("index", index=unit) for unit in units))
        return str(Place(probe.site, position))
    return str(Place(replace(probe.site, dims=units)))


def _replaced(cell: CellResult, probe: Replaced, test: Test, own: CellRun, run: TestRun) -> CellResult:
    rows = probe.rows
    ids = {"base": test.given.ids["base"]} if test.given is not None else {}
    hits = {probe.own: _moved(own.columns)[rows]}
    hits |= {name: _moved(one.columns) for name, one in zip(probe.names, run.cells, strict=True)}
    found = OtherValues(
        probe.own, {name: share(moved, ids) for name, moved in hits.items()},
        {name: difference(hits[name], hits[probe.own], ids) for name in probe.names},
    )  # fmt: skip
    return replace(cell, replaced=found, findings=(*cell.findings, *replacement_findings(found)))


def _moved(columns: Columns) -> np.ndarray:
    """Where the answer is another one than the base's."""
    base, patched = columns.base[_ANSWER], columns.patched[_ANSWER]
    return patched != base


__all__ = ["with_probes"]
