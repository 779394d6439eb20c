"""A test that reads several outputs: all of them together, with the result of each by itself.

A run is right if all outputs are. What the outputs of a run are together is one code
(:class:`~causal_dsl.causal.together.Together`), so that scores, ceilings and verdicts are those of one output.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.ceilings import Ceiling
from causal_dsl.causal.cover import scope_of
from causal_dsl.causal.drawn_parts import drawn_parts
from causal_dsl.causal.together import Together
from causal_dsl.engine.measured_cells import CellRun, TestRun
from causal_dsl.measures.beside_random import beside_random, without_random
from causal_dsl.measures.evaluation import Evaluation
from causal_dsl.measures.per_pair import ANSWER
from causal_dsl.measures.quantities import Columns, Quantity
from causal_dsl.planning.circuit_runs import patched_of
from causal_dsl.planning.plan import Plan
from causal_dsl.program.derived_tests import learned
from causal_dsl.program.program import Test
from causal_dsl.score.codes import LADDER
from causal_dsl.score.contrasts import silenced
from causal_dsl.score.estimates_and_findings import Finding
from causal_dsl.score.in_its_place import in_its_place, of_random_circuits, one_cell
from causal_dsl.score.of_run import cells_of, info_of, pairs_of
from causal_dsl.score.prepared import Prepared, prepare
from causal_dsl.score.results import CellInfo, CellResult, TestResult
from causal_dsl.score.score import score_test
from causal_dsl.score.verdict import settled
from causal_dsl.score.wrong_answers import Speech, told
from causal_dsl.vocabulary.findings import FINDINGS

#: What one output may have while the test as a whole is sound: an interchange that is to move another output.
_OWN = frozenset(code for code, kind in FINDINGS.items() if kind.of_one_output)
#: What is told as information of an output that nothing is expected to move.
_RESTING = frozenset(code for code, kind in FINDINGS.items() if kind.still) | {"outside"}


@dataclass(frozen=True)
class OneOutput:
    """One output of a test: the test of it alone, its run and what was finished of it, its ceilings, its result, its words."""

    test: Test
    run: TestRun
    finished: Sequence[CellRun]
    ceilings: Mapping[str, Ceiling]
    result: TestResult
    speech: Speech


def score_several(
    whole: Test,
    outputs: Sequence[OneOutput],
    plan: Plan,
    ceilings: Mapping[str, Ceiling],
    kept: np.ndarray | None,
) -> TestResult:
    """The result of a test from those of its outputs; ``ceilings`` are those of rules that give all of them."""
    pairs = {one.test.readout.variable: pairs_of(one.test, plan, one.ceilings, kept) for one in outputs}
    prepared = {
        name: prepare(cells_of(one.finished), **given)
        for one, (name, given) in zip(outputs, pairs.items(), strict=True)
    }
    together = whole.model.accepted(whole.outputs)
    assert isinstance(together, Together)
    own, first = list(pairs.values()), outputs[0]
    joined = [
        (cell, _joined(together, [one.finished[number].columns for one in outputs]))
        for number, (cell, _) in enumerate(cells_of(first.finished))
    ]
    drawn: dict[str, Any] = {
        "ids": _ids([given["ids"] for given in own]),
        "base_answers": together.codes([given["base_answers"] for given in own]),
        "labels": None if not whole.swaps else together.codes([given["labels"] for given in own]),
        "source_answers": {
            role: together.codes([given["source_answers"][role] for given in own]) for role in own[0]["source_answers"]
        },
        "ceilings": {name: ceiling for name, ceiling in ceilings.items() if name != "informative"},
        "exhaustive": own[0]["exhaustive"],
        "kept": kept,
        "cover": own[0]["cover"],
        "accepted": together,
        "outputs": prepared,
    }
    found = score_test(
        whole.scores,
        joined,
        **drawn,
        info=_info([info_of(one.test, one.finished) for one in outputs]),
        seconds=sum(one.run.seconds for one in outputs),
        speech=_speech(together, outputs),
        scope=scope_of(whole.design),
        parts=drawn_parts(whole.design),
        fits=learned(whole),
    )
    circuits = any(cell.circuit is not None for cell in first.result.cells)
    env = prepare(joined, **drawn).estimator.env if circuits else None
    results = {one.test.readout.variable: one.result for one in outputs}
    cells = [
        _with_findings(cell, {name: result.cells[number].findings for name, result in results.items()})
        for number, cell in enumerate(found.cells)
    ]
    if env is not None:
        cells = [
            _with_circuit(cell, whole, number, outputs, prepared, env, together) for number, cell in enumerate(cells)
        ]
    more = _carried({name: result.findings for name, result in results.items()}, found.findings)
    return replace(found, cells=tuple(cells), findings=(*found.findings, *more), outputs=results)


def _with_circuit(
    cell: CellResult,
    whole: Test,
    number: int,
    outputs: Sequence[OneOutput],
    prepared: Mapping[str, Prepared],
    env: Evaluation,
    together: Together,
) -> CellResult:
    """A cell with its circuit, and its scores of all outputs with random circuits in the place of that."""
    circuit = outputs[0].result.cells[number].circuit
    ablation = {one.values: one.circuit for one in whole.cells}[outputs[0].finished[number].node.cell]
    if circuit is None or ablation is None:
        return cell
    each = [in_its_place(one.finished[number].columns, patched_of(ablation)) for one in outputs]
    there = []
    for columns in zip(*each, strict=False):
        frames = {name: one.frames[number].of(own) for (name, one), own in zip(prepared.items(), columns, strict=True)}
        evaluation = one_cell(env, number, _joined(together, columns), frames)
        there.append((evaluation, dict(zip(prepared, columns, strict=True))))
    values = {name: estimate.value for name, estimate in cell.scores.items()}
    checks = [check for one in outputs if (own := one.result.cells[number].circuit) is not None for check in own.checks]
    random = of_random_circuits(beside_random(whole.scores), there, values)
    apart = without_random(whole.scores, random) if circuit.sizes else ()
    circuit = replace(circuit, random=random, apart=apart, checks=()).without_contrast(silenced(cell.findings))
    found = circuit.findings()  # what outputs' checks find is told already
    circuit = replace(circuit, checks=tuple(dict.fromkeys(checks)))
    return replace(cell, circuit=circuit, findings=(*cell.findings, *found))


def _joined(together: Together, columns: Sequence[Columns]) -> Columns:
    """The outputs of a run as one answer."""

    def answer(runs: Sequence[Mapping[Quantity, np.ndarray]]) -> MutableMapping[Quantity, np.ndarray]:
        return {ANSWER: together.codes([run[ANSWER] for run in runs])} if all(ANSWER in run for run in runs) else {}

    return Columns(answer([one.base for one in columns]), answer([one.patched for one in columns]))


def _ids(of_outputs: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The inputs of each role: what is the same for one output may differ for another, which is read at a later token."""
    from causal_dsl.causal.groups import groups_of

    return {role: groups_of([ids[role] for ids in of_outputs]) for role in of_outputs[0]}


def _info(of_outputs: Sequence[Sequence[CellInfo]]) -> list[CellInfo]:
    """The information on each cell: the largest noise of any output; it reaches what any output reaches."""
    found = []
    for cell in zip(*of_outputs, strict=True):
        floors = [one.noise_floor for one in cell if one.noise_floor is not None]
        fired = tuple(
            min(same, key=lambda one: one.unreachable) for same in zip(*(c.interventions for c in cell), strict=True)
        )
        found.append(CellInfo(fired, max(floors, default=None), cell[0].off_manifold, cell[0].averages))
    return found


def _speech(together: Together, outputs: Sequence[OneOutput]) -> Speech:
    names = [one.test.readout.variable for one in outputs]

    def value(code: int) -> str:
        own = zip(names, together.kinds[code], outputs, strict=True)
        return ", ".join(f"{name} = {told(kind, one.speech)}" for name, kind, one in own)

    return Speech(value, base=outputs[0].speech.base, inputs=outputs[0].speech.inputs)


def _with_findings(cell: CellResult, of_outputs: Mapping[str, Sequence[Finding]]) -> CellResult:
    return settled(replace(cell, findings=(*cell.findings, *_carried(of_outputs, cell.findings))))


def _carried(of_outputs: Mapping[str, Sequence[Finding]], known: Sequence[Finding]) -> list[Finding]:
    """The findings of single outputs, told of which; what is said of all of them is said once."""
    said = {finding.text for finding in known}
    common = set.intersection(*({finding.text for finding in found} for found in of_outputs.values()))
    resting = {finding.code for finding in known if finding.code in _RESTING and finding.severity == "info"}
    more: dict[str, Finding] = {}
    for name, found in of_outputs.items():
        # An output that the interchange moves in no pair by the causal model is not what the test is about.
        apart = any(finding.code == "uninformative" for finding in found)
        for finding in found:
            if finding.code in LADDER or finding.text in said or (finding.code == "wrong_answers"):
                continue
            text = finding.text if finding.text in common else f"`{name}`: {finding.text}"
            if finding.code == "uninformative":
                text = f"`{name}`: {finding.text} This test is no evidence about `{name}`."
            forbids = finding.forbids and finding.code not in _OWN
            quiet = (apart and finding.code in _OWN) or finding.code in resting
            one = replace(finding, text=text, forbids=forbids, level="info" if quiet else finding.level)
            if text not in more or (one.severity == "alarm" and more[text].severity != "alarm"):
                more[text] = one
    return list(more.values())


__all__ = ["OneOutput", "score_several"]
