"""A test's result with what is known of its learned features: how they were fitted, and what their controls score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from causal_dsl.causal.designs import Drawn
from causal_dsl.engine.execute import Execution
from causal_dsl.engine.measured_cells import CellRun
from causal_dsl.fitting.library import Library
from causal_dsl.measures.cell_data import CellData
from causal_dsl.measures.quantities import Columns, Quantity, margin_quantities
from causal_dsl.program.derived_tests import learned
from causal_dsl.program.program import Test
from causal_dsl.program.read_features import FeatureRef, family
from causal_dsl.score.controls import (
    Beside,
    Control,
    ControlPart,
    FeatureInfo,
    Learned,
    learned_findings,
    margin,
    several,
)
from causal_dsl.score.estimate import Estimator
from causal_dsl.score.estimates_and_findings import Estimate, Finding
from causal_dsl.score.paired import difference
from causal_dsl.score.results import TestResult
from causal_dsl.score.truth import has_answer, labels_of
from causal_dsl.score.verdict import settled

if TYPE_CHECKING:
    from causal_dsl.checked import Checked


def with_controls(
    result: TestResult,
    test: Test,
    execution: Execution,
    checked: Checked,
    library: Library,
    kept: np.ndarray | None,
) -> TestResult:
    """The result with features and controls in its cells; unchanged where nothing is learned. ``kept`` are the pairs
    that its filter keeps, [n] (None: there is none)."""
    if not learned(test):
        return result
    plan = execution.plan
    drawn, ids, output = plan.draw_of(test), plan.ids_of(test), test.readout.variable
    labels = labels_of(test, drawn)
    if labels is not None and test.readout.gaps:  # they are compared where it is known what is right
        known = has_answer(test, labels)
        kept = kept if known.all() else known if kept is None else kept & known
    run = execution.runs[test.name]
    rows = None if kept is None else np.flatnonzero(kept)
    noop = checked.ceilings.get(test.name, {}).get("noop")
    controls = [one for one in plan.tests if one.control[0] == test.name and one.probe is None]
    as_trained = [one for one in controls if _as_trained(one, test, execution)]
    controls = [one for one in controls if one not in as_trained]
    untold = [_untold(test)] if as_trained or (test.network.held and _asks(test)) else []
    cells = []
    numbers = {frozenset(one.node.cell): i for i, one in enumerate(run.cells)}
    for cell in result.cells:
        number = numbers[frozenset(cell.cell.items())]
        own = run.cells[number]
        refs = [f for i in test.cells[number].interventions for f in i.features if f.fitted in library.fits]
        if not refs:  # nothing was fitted: what is written cannot reach the answer
            cells.append(cell)
            continue
        differ = (
            np.zeros(0, bool)
            if labels is None
            else test.model.accepted(output).apart(labels, drawn.values["base"][output])
        )
        differ = differ if kept is None else differ & kept
        differ = differ & has_answer(test, drawn.values["base"][output]) if len(differ) else differ
        found: dict[str, list[ControlPart]] = {}
        infos = tuple(_info(ref, library) for ref in dict.fromkeys(refs))
        # As wide as its place, a feature writes all of it, as any other of its size does: one that is drawn, or fitted to other labels.
        whole = all(info.size >= info.width for info in infos)
        for control in controls:
            if whole and control.control[1].startswith(("random", "shuffled")):
                continue
            theirs = execution.runs[control.name].cells[number]
            if theirs.done.all():
                name = "random subspace" if control.control[1].startswith("random") else control.control[1]
                part = _scored(theirs, own, control, drawn, ids, labels, result, differ, rows)
                found.setdefault(name, []).append(part)
        told = Learned(
            infos,
            _margin(own.columns, output, differ),
            {name: several(name, parts) for name, parts in found.items()},
            max((library.outside.get(ref.fitted, 0.0) for ref in refs), default=None),
            _beside(test, execution, number, drawn, labels, kept, controls),
        )
        more = (
            learned_findings(cell.scores["iia"], None if noop is None else noop.value, told)
            if "iia" in cell.scores
            else []
        )
        cells.append(settled(replace(cell, learned=told, findings=(*cell.findings, *more))))
    return replace(result, cells=tuple(cells), findings=(*result.findings, *untold))


def _as_trained(control: Test, test: Test, execution: Execution) -> bool:
    """Whether a control runs on an untrained network that has every weight of the trained one: drawing them anew changed none."""
    if not control.network.key.untrained:
        return False
    theirs, mine = (list(execution.networks[one.network.key].model.parameters()) for one in (control, test))
    return len(theirs) == len(mine) and all(map(torch.equal, theirs, mine))


def _asks(test: Test) -> bool:
    """Whether a test has features for which an untrained network is a control."""
    refs = [feature for cell in test.cells for i in cell.interventions for feature in i.features]
    return any(ref.labelled for ref in refs) and any(ref.fitting.controls != "none" for ref in refs)


def _untold(test: Test) -> Finding:
    if test.network.held:
        return Finding(
            "not_tried",
            f"No feature is compared with the same fit on an untrained network: with {test.network.held} no untrained copy of "
            f"`{test.network.name}` is made, because it would be all in one memory.",
        )
    return Finding(
        "not_tried",
        f"No feature is compared with the same fit on an untrained network: drawing the weights of `{test.network.name}` anew changes "
        "none of them (the page of E714 says how a network draws them).",
    )


def _beside(
    test: Test,
    execution: Execution,
    number: int,
    drawn: Drawn,
    labels: np.ndarray | None,
    kept: np.ndarray | None,
    controls: list[Test],
) -> Beside | None:
    """The feature and the whole vector where the counterfactual answer is the source's own, and not the base's."""
    whole = next((one for one in controls if one.control[1] == "whole vector"), None)
    roles = {role for _, role in test.swaps}
    if whole is None or labels is None or len(roles) != 1:
        return None
    output = test.readout.variable
    accepted = test.model.accepted(output)
    own, base = (drawn.values[role][output] for role in (next(iter(roles)), "base"))
    where = (labels == own) & accepted.apart(labels, base)
    where = (where if kept is None else where & kept) & has_answer(test, base)
    cells = [execution.runs[name].cells[number] for name in (test.name, whole.name)]
    if not where.any() or not cells[1].done.all():
        return None
    answer = Quantity("answer")
    iia = [float(accepted.right(cell.columns.patched[answer][where], labels[where]).mean()) for cell in cells]
    moved = [_margin(cell.columns, output, where) for cell in cells]
    return Beside(iia[0], iia[1], moved[0], moved[1], int(where.sum()))


def _margin(columns: Columns, output: str, differ: np.ndarray) -> float | None:
    label, base = margin_quantities(output)
    if label not in columns.patched or label not in columns.base:
        return None
    before, after = ((run[label], run[base]) for run in (columns.base, columns.patched))
    return margin(before, after, differ)


def _scored(
    cell: CellRun,
    own: CellRun,
    control: Test,
    drawn: Drawn,
    ids: Mapping[str, np.ndarray],
    labels: np.ndarray | None,
    result: TestResult,
    differ: np.ndarray,
    rows: np.ndarray | None,
) -> ControlPart:
    """The iia of a control on the pairs of its test (``rows`` of them where it is filtered), its margin, and how far its
    test's own is above."""
    output = control.readout.variable
    accepted = control.model.accepted(output)
    frame = CellData(cell.columns, drawn.values["base"][output], labels, {}, rows, accepted=accepted)
    roles = ("base", *(role for role in control.roles if role != "base"))
    estimator = Estimator(
        [frame],
        [{}],
        {role: ids[role][slice(None) if rows is None else rows] for role in roles},
        result.exhaustive,
        None,
    )
    estimate = estimator.estimate(control.scores.always["iia"], 0)
    apart = Estimate(None)
    if labels is not None:
        answer, picked = Quantity("answer"), slice(None) if rows is None else rows
        mine, theirs = (accepted.right(one.columns.patched[answer], labels)[picked] for one in (own, cell))
        apart = difference(mine, theirs, estimator.ids, result.exhaustive)
    return ControlPart(estimate, _margin(cell.columns, output, differ), apart)


def _info(ref: FeatureRef, library: Library) -> FeatureInfo:
    feature, told = library.maps[ref.map], library.fits[ref.fitted]
    gates = feature.gates()
    size = ref.block[1] - ref.block[0] if ref.block else feature.effective_size()
    best = min(told.checks, default=None) if gates is None else (told.checks[-1] if told.checks else None)
    return FeatureInfo(
        feature.describe() + (f"[{ref.block[0]}:{ref.block[1]}]" if ref.block else ""),
        str(ref.place),
        ref.variables,
        size,
        feature.width,
        told.pairs,
        told.inputs,
        told.steps,
        told.restarts,
        best,
        told.losses,
        None if gates is None else (gates.total, gates.open, gates.undecided),
        feature.nonlinear,
        ref.trained,
        ref.labelled,
        told.seen is not None,
        ref.fitting.controls != "none",
        all(family(part).file is not None for part in ref.chain),
        told.kept_as,
        told.moved is not False,
        told.unanswered,
    )


__all__ = ["Control", "with_controls"]
