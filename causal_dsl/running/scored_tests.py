"""The computed columns of a test to its result: each output scored, with all that stands beside its scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from causal_dsl.checked import Checked
from causal_dsl.controls.beside_alignments import with_alignment
from causal_dsl.controls.beside_circuits import with_circuits, with_runs
from causal_dsl.controls.more_pairs import more_pairs
from causal_dsl.controls.probing import with_places, with_probes
from causal_dsl.controls.unpatched_sources import wrong_sources
from causal_dsl.engine.execute import Execution
from causal_dsl.fitting.fit_report import with_controls
from causal_dsl.fitting.library import Library
from causal_dsl.network.network import Network
from causal_dsl.program.identity import NetworkKey
from causal_dsl.program.program import Test
from causal_dsl.running.discovering import with_found
from causal_dsl.running.optimising import Constants, with_constants
from causal_dsl.score.agreement import with_agreement
from causal_dsl.score.attribution_checks import with_attributions
from causal_dsl.score.gradient_checks import with_gradient_checks
from causal_dsl.score.missing import as_far_as_measured, not_measured
from causal_dsl.score.of_run import score_run
from causal_dsl.score.own_failures import with_outputs, with_own_failures
from causal_dsl.score.path_choices import with_choices
from causal_dsl.score.rest_kept import with_rest_kept
from causal_dsl.score.results import TestResult
from causal_dsl.score.several import OneOutput, score_several
from causal_dsl.score.speech import speech_of
from causal_dsl.score.stillness import as_meant
from causal_dsl.score.tied import with_ties
from causal_dsl.score.truth import kept_of
from causal_dsl.score.verdict import settled


def scored_test(
    test: Test,
    execution: Execution,
    checked: Checked,
    networks: Mapping[NetworkKey, Network],
    library: Library,
    constants: Constants,
) -> TestResult:
    """The result of a test; where nothing of it was finished, as one that was not measured."""
    plan, tokens = execution.plan, networks[test.network.key].tokens
    finished = _finished(test, execution)
    if finished is None:
        return not_measured(test, checked.ceilings.get(test.name, {}))
    kept = kept_of(test, plan, {one.name: execution.runs[one.name].cells[0].columns for one in test.each})
    outputs = []
    for one in test.each:
        run = with_alignment(with_runs(execution.runs[one.name], execution), execution)
        ceilings = checked.ceilings.get(one.name, {})
        cells = [run.cells[number] for number in finished]
        scored = as_far_as_measured(score_run(run, cells, plan, ceilings, checked.answers[one.name], tokens, kept), one)
        scored = with_rest_kept(scored, one)
        scored = with_controls(scored, one, execution, checked, library, kept)
        if one.readout.metric is None:
            scored = with_probes(scored, one, execution)
        else:
            scored = with_places(scored, one, execution)
        columns, apart = [(cell.columns,) for cell in cells], partial(wrong_sources, (one,), execution)
        again = partial(more_pairs, one, execution)
        scored = with_own_failures(scored, (one,), plan, columns, kept, apart, again)
        scored = with_agreement(with_found(with_circuits(scored, run, execution, kept, ceilings), checked.found))
        scored = with_choices(scored, one)
        scored = with_constants(scored, constants.plan.scores[one.name], constants.courses)
        scored = with_attributions(scored, one, [cell.columns for cell in cells], kept)
        scored = with_gradient_checks(scored, one, finished, [cell.columns for cell in cells], kept)
        if not test.parts:
            scored = with_ties(scored, test, plan.draw_of(one))
        scored = as_meant(scored, one.scores.expectations)
        scored = replace(scored, cells=tuple(map(settled, scored.cells)))
        speech = speech_of(one, plan, checked.answers[one.name], tokens)
        outputs.append(OneOutput(one, run, cells, ceilings, scored, speech))
    if not test.parts:
        return outputs[0].result
    whole = score_several(test, outputs, plan, checked.ceilings.get(test.name, {}), kept)
    whole = replace(whole, gradients=tuple(check for one in outputs for check in one.result.gradients))
    together = list(zip(*([cell.columns for cell in one.finished] for one in outputs), strict=True))
    whole = as_far_as_measured(whole, test)
    apart = partial(wrong_sources, test.each, execution)
    whole = with_outputs(with_own_failures(whole, test.each, plan, together, kept, apart, lambda _: None))
    whole = with_ties(whole, test, plan.draw_of(test.each[0]))
    return as_meant(whole, test.scores.expectations)


def _finished(test: Test, execution: Execution) -> list[int] | None:
    """The numbers of the cells that were finished, for every output that is read; None where there are none."""
    runs = [with_runs(execution.runs[one.name], execution).cells for one in test.each]
    found = [number for number, cells in enumerate(zip(*runs, strict=True)) if all(cell.done.all() for cell in cells)]
    return found if found or not runs[0] else None


__all__ = ["scored_test"]
