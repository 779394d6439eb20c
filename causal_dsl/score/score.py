"""From columns to a test's result: scores, intervals, expectations, findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from causal_dsl.causal.accepted import SINGLE, Accepted
from causal_dsl.causal.draw import count_distinct
from causal_dsl.causal.drawn_parts import DrawnPart
from causal_dsl.measures.context import Reported, TestContext, TestScores
from causal_dsl.measures.known_answers import LABEL
from causal_dsl.measures.of_numbers import Explained
from causal_dsl.measures.per_cell import Best, CellScore, Chosen, PairMean
from causal_dsl.measures.per_pair import FixedNumber
from causal_dsl.measures.quantities import Columns, ValueRef
from causal_dsl.score.cells import found_in, with_verdict
from causal_dsl.score.contrasts import contrasts
from causal_dsl.score.estimate import Estimator
from causal_dsl.score.estimates_and_findings import Finding
from causal_dsl.score.failed_pairs import failed_pairs
from causal_dsl.score.format_numbers import show_cell
from causal_dsl.score.judge import judge
from causal_dsl.score.make_findings import (
    ceiling_unknown,
    choice_finding,
    choosing_findings,
    design_finding,
    filter_finding,
    leak_finding,
    near_bound,
    part_finding,
    scope_finding,
    told_part,
)
from causal_dsl.score.numbered import numbers_together, with_number_verdict
from causal_dsl.score.prepared import Prepared, prepare
from causal_dsl.score.results import CellInfo, CellResult, ReportResult, TestResult
from causal_dsl.score.samples import few_inputs
from causal_dsl.score.setting import FailedPair
from causal_dsl.score.stillness import at_rest, nothing_expected
from causal_dsl.score.sweeps import multiple, numbers_of, rises
from causal_dsl.score.unanswered import answered, unknown_finding
from causal_dsl.score.verdict import by_design, top_of
from causal_dsl.score.wrong_answers import PLAIN, Speech, wrong_answers, wrong_finding

if TYPE_CHECKING:
    from causal_dsl.causal.ceilings import Ceiling
    from causal_dsl.causal.cover import Cover, DrawScope


#: Of a test as many failing pairs are told, of all cells that they are told of.
MOST_TOLD = 300


def score_test(
    scores: TestScores,
    cells: Sequence[tuple[Mapping[str, Any], Columns]],
    *,
    ids: Mapping[str, np.ndarray],
    base_answers: np.ndarray,
    labels: np.ndarray | None = None,
    asked: np.ndarray | None = None,
    source_answers: Mapping[str, np.ndarray] | None = None,
    ceilings: Mapping[str, Ceiling] | None = None,
    exhaustive: bool = False,
    kept: np.ndarray | None = None,
    info: Sequence[CellInfo] = (),
    seconds: float = 0.0,
    cover: Cover | None = None,
    speech: Speech = PLAIN,
    scope: Sequence[DrawScope] = (),
    parts: Sequence[DrawnPart] = (),
    fits: bool = False,
    accepted: Accepted = SINGLE,
    outputs: Mapping[str, Prepared] = MappingProxyType({}),
    unknown: Mapping[ValueRef, np.ndarray] = MappingProxyType({}),
) -> TestResult:
    """Score a test.

    cells:          the parameters of each cell and its columns, all over the same n pairs in the same order
    ids:            input ids of each role, ``[n]``, the base first: equal id, equal input
    base_answers:   what the causal model answers on the bases, codes ``[n]``; ``source_answers`` likewise by role
    labels:         what it answers under the intervention, codes ``[n]``; None where no variable is interchanged
    asked:          which attribute each base asks about (:mod:`causal_dsl.causal.attributes`)
    ceilings:       of the draws; empty where no variable is interchanged
    exhaustive:     the pairs are all that there are: scores are exact
    kept:           which pairs ``where solved(…)`` keeps, booleans ``[n]``. Scores and intervals are over these, each
                    unfiltered score stands beside as ``<name>_unfiltered``; iia_star has the ceilings of these
    info:           what the run says of each cell, in the order of ``cells``
    cover:          how far the rows are all that can be drawn, where they were drawn; None: the rows share inputs for
                    reasons that are not known, and intervals are about inputs that were not drawn
    speech:         how what the network says is put into words
    scope:          what share of the draws each `where` lets through
    parts:          the parts of the inputs that the rows are drawn from (a split); empty for all inputs
    fits:           the test writes through features, for which something is fitted or read on other inputs
    accepted:       which answers the causal model's codes accept: one each, or those of a set
    outputs:        the same pairs, prepared for each output by itself, where the test reads several
    unknown:        of values that are not known in some rows: in which, booleans ``[n]``
    """
    context = scores.context
    names = [dict(cell) for cell, _ in cells]
    n = len(base_answers)
    sources = dict(source_answers or {})
    prepared = prepare(
        cells,
        ids=ids,
        base_answers=base_answers,
        labels=labels,
        asked=asked,
        source_answers=sources,
        ceilings=ceilings,
        exhaustive=exhaustive,
        kept=kept,
        cover=cover,
        accepted=accepted,
        outputs=outputs,
        unknown=unknown,
    )
    given, of_kept, rows = prepared.ceilings, prepared.of_kept, prepared.rows
    frames, estimator, everything = prepared.frames, prepared.estimator, prepared.everything
    weights = estimator.weights

    wanted = scores.cell_scores
    whole = [reported for reported in scores.reports if reported.value.over_cells]
    truths = [expectation.truth for expectation in scores.expectations]
    estimator.prepare(
        [*wanted.values(), *contrasts(wanted.values()), *(r.value for r in whole), *_parts(truths)] if cells else []
    )
    if everything is not None:
        everything.prepare(list(wanted.values()))
    judged = [judge(expectation, estimator, of_kept or given) for expectation in scores.expectations]

    known = dict(of_kept or given)
    iia = next((value for name, value in wanted.items() if name == "iia" and isinstance(value, PairMean)), None)
    joint = estimator.together(iia) if iia is not None and len(cells) > 1 and labels is not None else []
    r2 = next((value for name, value in wanted.items() if name == "r2" and isinstance(value, Explained)), None)
    of_numbers = numbers_together(estimator, r2) if r2 is not None and len(cells) > 1 else []
    design = by_design(known) if labels is not None else ""
    risen = rises(estimator, iia) if iia is not None and design and len(cells) > 1 else []
    of = f" in {told_part(parts)}" if parts else ""
    passing = " that pass the `where`" if any(not one.value for one in scope) else ""
    all_of = all_of_them(weights is not None, rows is not None) + (
        " and have an expected answer" if LABEL in unknown else ""
    )
    all_of += of
    # What is outside of a circuit that carries all moves nothing.
    outside = context.circuit is not None and context.circuit.outside
    still = not context.interchange and (outside or nothing_expected(scores.expectations))
    results = []
    for c, name in enumerate(names):
        found = {score: estimator.estimate(value, c) for score, value in wanted.items()}
        if everything is not None:
            found |= {f"{score}_unfiltered": everything.estimate(value, c) for score, value in wanted.items()}
        told = info[c] if c < len(info) else CellInfo()
        cell = found_in(name, c, found, wanted, estimator, context, told, speech)
        if labels is not None and r2 is not None:
            cell = with_number_verdict(cell, known, of_numbers, c)
        elif labels is not None and iia is not None:
            cell = with_verdict(cell, known, joint[c] if joint else None, risen[c] if risen else None, all_of, passing)
        elif still:
            holds = all(
                result.passed or (result.failed_cells and name not in result.failed_cells) for result, _ in judged
            )
            cell = at_rest(cell, holds and not outside)
        results.append(cell)

    findings = []
    if rows is not None:
        single = results[0].scores if len(results) == 1 else {}
        findings.append(filter_finding(n, len(rows), single.get("iia"), single.get("iia_unfiltered")))
    findings += [scope_finding(one) for one in scope]
    if weights is not None or exhaustive:
        findings += [part_finding(one, fits) for one in parts]
    if cells and unknown:
        findings += unknown_finding(frames[0], wanted)
    if labels is not None:  # several sources together may well decide the answer: that is no leak
        findings += leak_finding({n: c for n, c in known.items() if n != "source_only" or len(sources) < 2})
    findings += _of_all(results, known, design, joint, estimator, context)
    best = 0
    if iia is not None and labels is not None and len(cells) > 1 and estimator.n:
        best = int(np.argmax(np.nan_to_num(estimator.point(iia), nan=-1)))
    wrong = (
        wrong_answers(answered(frames[best], labels is not None), labels is not None, speech)
        if cells and context.number is None and context.stated
        else ()
    )
    failures: list[FailedPair] = []
    for c in dict.fromkeys([best, *_judged_in(judged, names)]) if wrong else ():
        failures += failed_pairs(answered(frames[c], labels is not None), labels is not None, speech, names[c])
    named = show_cell(names[best]) if labels is not None and len(cells) > 1 else ""
    runs = answered(frames[best], labels is not None).n if wrong else estimator.n
    findings += wrong_finding(wrong, runs, named, speech, weights is not None)
    if cells:
        values = [*truths, *(reported.value for reported in scores.reports)]
        findings += _choices(values, estimator)
    for result, _ in judged:
        findings += [finding for measured in result.measured if (finding := near_bound(measured)) is not None]
    return TestResult(
        name=context.name,
        line=context.span.line if context.span.source.text else 0,
        n=n,
        kept=n if rows is None else len(rows),
        ceilings=given,
        ceilings_kept=of_kept,
        cells=tuple(results),
        expectations=tuple(result for result, _ in judged),
        reports=tuple(_reported(reported, estimator) for reported in whole) if cells else (),
        findings=tuple(dict.fromkeys(findings)),
        seconds=seconds,
        exhaustive=exhaustive,
        distinct=count_distinct(ids),
        parameters=tuple(names[0]) if names else (),
        asked=tuple(scores.asked),
        units={name: score.unit.name for name, score in wanted.items()},
        wrong=wrong,
        failures=tuple(failures[:MOST_TOLD]),
        covered=weights is not None,
        weights=weights,
        part=bool(parts),
        diagnostics=tuple(diagnostic for _, diagnostic in judged if diagnostic is not None),
    )


def all_of_them(drawn: bool, filtered: bool) -> str:
    """Why exact scores cover all pairs: each pair was taken once, or all were ``drawn``; all pairs, or those that pass a filter."""
    if drawn:
        return "which include all that can be drawn" + (" and pass the filter" if filtered else "")
    return "which are all that pass the filter" if filtered else "which are all there are"


def _of_all(
    results: Sequence[CellResult],
    known: Mapping[str, Ceiling],
    design: str,
    joint: Sequence[tuple[float, float] | None],
    estimator: Estimator,
    context: TestContext,
) -> list[Finding]:
    """The findings that are made once of a test, not of each cell."""
    found: list[Finding] = []
    if design and len(results) > 1:
        found.append(design_finding(design, bool(numbers_of(estimator.cells))))
    top = top_of(known)
    if joint and top is not None and not design:
        found += multiple([cell.scores["iia"] for cell in results], joint, top[1])
    found += ceiling_unknown(known)
    if results and not estimator.exhaustive:
        found += few_inputs(estimator, context.roles)
    return found


def _parts(truths: Sequence[CellScore]) -> list[CellScore]:
    """The expectations, and all scores in them that are shown with an interval."""
    return [part for truth in truths for part in truth.walk()]


def _reported(reported: Reported, estimator: Estimator) -> ReportResult:
    line = reported.span.line if reported.span.source.text else 0
    if isinstance(reported.value, Chosen):
        estimate = estimator.estimate(reported.value)
        index, _ = estimator.chosen(reported.value)
        bare = type(estimate)(None, n=estimate.n)
        return ReportResult(reported.text, line, bare, None if index is None else estimator.env.cells[index])  # type: ignore[arg-type]
    return ReportResult(reported.text, line, estimator.estimate(reported.value))


def _choices(values: Sequence[CellScore | FixedNumber], estimator: Estimator) -> list[Finding]:
    parts = [part for value in values if isinstance(value, CellScore) for part in value.walk()]
    best = {}
    for part in parts:
        if isinstance(part, Best) and (found := estimator.best(part)) is not None:
            best[part] = (show_cell(estimator.cells[found[0]]), found[1], found[2])
    findings = choosing_findings([v for v in values if isinstance(v, CellScore)], len(estimator.cells), best)
    for part in dict.fromkeys(parts):
        if isinstance(part, Chosen):
            index, stable = estimator.chosen(part)
            if index is not None:
                equal = estimator.equals(part, index)
                findings.append(choice_finding(part, estimator.cells[index], stable, equal, len(estimator.cells)))
    return findings


def _judged_in(judged: Sequence[Any], names: Sequence[Mapping[str, Any]]) -> list[int]:
    """The cells in which an expectation was decided that does not hold."""
    cells = [one.cell for result, _ in judged if not result.passed for one in result.measured if one.held is False]
    return [number for number, name in enumerate(names) if dict(name) in cells]
