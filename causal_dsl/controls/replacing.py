"""An ablation beside other ways of taking its place away, on the same pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from causal_dsl.causal.cover import Cover
from causal_dsl.controls.interchanging import moved
from causal_dsl.engine.measured_cells import CellRun, TestRun
from causal_dsl.measures.quantities import Quantity
from causal_dsl.planning.other_values import ANEW
from causal_dsl.program.probed import Replaced
from causal_dsl.program.program import Test
from causal_dsl.score.estimates_and_findings import Estimate
from causal_dsl.score.paired import difference, share
from causal_dsl.score.replacements import OtherValues, is_open, replacement_findings
from causal_dsl.score.results import CellResult
from causal_dsl.score.stillness import not_at_rest

_ANSWER = Quantity("answer")


def with_replaced(
    cell: CellResult,
    probe: Replaced,
    test: Test,
    own: CellRun,
    run: TestRun,
    cover: Cover | None,
    changed: Callable[[], np.ndarray | None],
) -> CellResult:
    """The cell, told what the other ways move. ``cover``: of the test's rows, where they are all there are. The same inputs then weigh
    as much here as there. ``changed``: in which pairs [m] the test writes another value than the other input has, if that is known.
    """
    rows = probe.rows
    ids = {"base": test.given.ids["base"]} if test.given is not None else {}
    hits = {probe.own: moved(own.columns)[rows]}
    hits |= {name: moved(one.columns) for name, one in zip(probe.names, run.cells, strict=True)}
    weights = _weights(probe, cover, len(own.columns.base[_ANSWER]))

    def of(name: str, some: np.ndarray | slice) -> Estimate:
        mine = {role: column[some] for role, column in ids.items()}
        return share(hits[name][some], mine) if weights is None else _exact(hits[name][some], weights[some])

    def apart(one: np.ndarray, other: np.ndarray, some: np.ndarray | slice) -> Estimate:
        mine = {role: column[some] for role, column in ids.items()}
        if weights is None:
            return difference(one[some], other[some], mine)
        return _exact(one[some].astype(float) - other[some], weights[some])

    every = slice(None)
    found = OtherValues(
        probe.own,
        {name: of(name, every) for name in hits},
        {name: apart(hits[name], hits[probe.own], every) for name in probe.names},
    )
    if {ANEW, "resample"} <= hits.keys():
        short = apart(hits["resample"].astype(float) - hits[ANEW], hits[probe.own], every)
        found = replace(found, short=short)
    some = changed() if is_open(found) else None
    if some is not None and some.any():
        found = replace(
            found, changed=(of(ANEW, some), of("resample", some), apart(hits["resample"], hits[ANEW], some))
        )
    matters = replacement_findings(found)
    cell = not_at_rest(cell) if matters else cell
    return replace(cell, replaced=found, findings=(*cell.findings, *matters))


def _weights(probe: Replaced, cover: Cover | None, n: int) -> np.ndarray | None:
    """How much each pair of a probe weighs [m], where it pairs all inputs of a test whose rows are all there are."""
    if cover is None or len(np.unique(probe.rows)) ** 2 != len(probe.rows):
        return None
    each = np.ones(n) if cover.weights is None else cover.weights
    return each[probe.rows] * each[probe.others]


def _exact(values: np.ndarray, weights: np.ndarray) -> Estimate:
    return Estimate(float((values * weights).sum() / weights.sum()), n=len(values), method="exact")


__all__ = ["with_replaced"]
