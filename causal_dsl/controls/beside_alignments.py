"""A test's run with what ran beside it for measures of its whole alignment (:mod:`causal_dsl.planning.alignment_runs`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from causal_dsl.engine.execute import Execution
from causal_dsl.engine.measured_cells import TestRun
from causal_dsl.measures.quantities import BesideRun, Quantity
from causal_dsl.planning.alignment_runs import ASKED
from causal_dsl.program.probed import AlignmentRuns


def with_alignment(run: TestRun, execution: Execution) -> TestRun:
    """A run whose cells have the columns of the runs beside them."""
    others = [t for t in execution.plan.tests if t.control[0] == run.test.name and isinstance(t.probe, AlignmentRuns)]
    if not others:
        return run
    beside: list[dict[str, BesideRun]] = [{} for _ in run.cells]
    done = [cell.done for cell in run.cells]
    seconds = run.seconds
    for other in others:
        probe, theirs = other.probe, execution.runs[other.name]
        assert isinstance(probe, AlignmentRuns)
        seconds += theirs.seconds
        for (number, name), expected, one in zip(probe.names, probe.expected, theirs.cells, strict=True):
            columns = _of_base(one.columns.patched or one.columns.base)
            found = BesideRun(columns, expected, probe.row, probe.weight, run.n, probe.exact)
            lacking = np.bincount(probe.row, ~np.asarray(one.done), minlength=run.n) > 0
            for i in range(len(run.cells)) if number is None else (number,):
                beside[i][name] = found
                done[i] = np.asarray(done[i]) & ~lacking
    cells = [
        replace(cell, columns=replace(cell.columns, beside=more), done=there)
        for cell, more, there in zip(run.cells, beside, done, strict=True)
    ]
    return replace(run, cells=cells, seconds=seconds)


def _of_base(columns: Mapping[Quantity, np.ndarray]) -> dict[Quantity, np.ndarray]:
    """The columns under the names that the test's metrics have for them: the reference is its base."""
    found = {}
    for quantity, numbers in columns.items():
        ref = quantity.of
        if ref is not None and ref.role == ASKED:
            quantity = replace(quantity, of=replace(ref, role="base"))
        found[quantity] = numbers
    return found


__all__ = ["with_alignment"]
