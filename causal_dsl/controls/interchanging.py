"""The measurements beside a test's interchange: of each of its variables apart, and in pairs beyond its `where`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from causal_dsl.causal.designs import Drawn
from causal_dsl.causal.groups import groups_of
from causal_dsl.engine.measured_cells import CellRun, TestRun
from causal_dsl.measures.quantities import Columns, Quantity
from causal_dsl.program.probed import Apart
from causal_dsl.program.program import Test
from causal_dsl.score.apart import WrittenApart, apart_findings
from causal_dsl.score.codes import FULL
from causal_dsl.score.only_there import beyond_findings
from causal_dsl.score.results import CellResult
from causal_dsl.score.results_beside import BeyondWhere
from causal_dsl.score.truth import has_answer
from causal_dsl.score.unmapped import of_pairs

_ANSWER = Quantity("answer")


def with_apart(cell: CellResult, probe: Apart, test: Test, drawn: Drawn, run: TestRun) -> CellResult:
    """The cell, told whether each of its variables is right by itself (`joint_only`)."""
    found = []
    for swaps, node, one in zip(probe.swaps, test.cells, run.cells, strict=True):
        hits, moved, asked, _ = _interchanged(test, drawn, swaps, one)
        places = ", ".join(str(place) for i in node.interventions for place in i.places)
        found.append(WrittenApart(swaps, places, of_pairs(hits, False), of_pairs(moved, False), asked))
    told = apart_findings(found, cell.scores["iia"], list(dict.fromkeys(v for swaps in probe.swaps for v, _ in swaps)))
    return replace(cell, apart=tuple(found), findings=(*cell.findings, *told))


def with_beyond(cell: CellResult, own: Test, test: Test, drawn: Drawn, run: TestRun) -> CellResult:
    """The cell, told whether its interchange is right in pairs that do not pass the `where` of its test ``own`` (`only_there`)."""
    hits, _, _, among = _interchanged(test, drawn, own.swaps, run.cells[0])
    accepted, output = test.model.accepted(test.readout.variable), test.readout.variable
    answers = drawn.values["base"][output]
    known = has_answer(test, answers)
    right = accepted.right(run.cells[0].columns.base[_ANSWER], answers)[known]
    of = groups_of(list(drawn.ids.values()))
    distinct = [len(np.unique(of[rows])) for rows in (known, among)]
    found = BeyondWhere(of_pairs(right, False), of_pairs(hits, False), distinct[0], distinct[1])
    full = cell.verdict is not None and cell.verdict.code in FULL
    told = beyond_findings(found, cell.scores["iia"]) if full else []
    return replace(cell, beyond=found, findings=(*cell.findings, *told))


def _interchanged(
    test: Test, drawn: Drawn, swaps: Sequence[tuple[str, str]], run: CellRun
) -> tuple[np.ndarray, np.ndarray, int, np.ndarray]:
    """Of the pairs of which the network answers all inputs right (there it can have no error of its own to pass on): which give the
    answer of the causal model under an interchange, in which the answer moves, in how many the model says that it does, and which of all pairs
    these are."""
    output, columns = test.readout.variable, run.columns
    accepted = test.model.accepted(output)
    right = accepted.right(columns.base[_ANSWER], drawn.values["base"][output])
    for _, role in swaps:
        if role != "base":
            right &= accepted.right(columns.sources[role][_ANSWER], drawn.values[role][output])
    settings = {name: drawn.values["base"][name] for name in test.model.exogenous}
    label = test.model.evaluate(settings, {v: drawn.values[role][v] for v, role in swaps}, [output])[output]
    hits = accepted.right(columns.patched[_ANSWER], label)
    right &= has_answer(test, label)
    asked = int(accepted.apart(label, drawn.values["base"][output])[right].sum())
    return hits[right], moved(columns)[right], asked, right


def moved(columns: Columns) -> np.ndarray:
    """Where the answer [n] is another one than the base's."""
    patched: np.ndarray = columns.patched[_ANSWER]
    return patched != columns.base[_ANSWER]


__all__ = ["moved", "with_apart", "with_beyond"]
