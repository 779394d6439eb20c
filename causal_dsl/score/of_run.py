"""The columns of a run to the result of its test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from causal_dsl.causal.ceilings import Ceiling
from causal_dsl.causal.cover import cover_of, scope_of
from causal_dsl.causal.drawn_parts import drawn_parts
from causal_dsl.engine.measured_cells import CellRun, TestRun
from causal_dsl.measures.quantities import Columns
from causal_dsl.planning import graph as g
from causal_dsl.planning.plan import Plan
from causal_dsl.program.answers import Answers
from causal_dsl.program.derived_tests import learned
from causal_dsl.program.program import Test
from causal_dsl.program.tokens import Tokens
from causal_dsl.score.results import CellInfo, Fired, TestResult
from causal_dsl.score.score import score_test
from causal_dsl.score.speech import speech_of
from causal_dsl.score.truth import asked_of, labels_of, unknown_of
from causal_dsl.vocabulary.values.arithmetic import Combine


def score_run(
    run: TestRun,
    finished: Sequence[CellRun],
    plan: Plan,
    ceilings: Mapping[str, Ceiling],
    answers: Answers,
    tokens: Tokens | None,
    kept: np.ndarray | None,
) -> TestResult:
    """The result of a test from the columns of its finished cells; ``tokens`` show answers that were said, if there are any.
    ``kept`` are the pairs that its filter keeps, [n] (None: there is none)."""
    test = run.test
    return score_test(
        test.scores,
        cells_of(finished),
        **pairs_of(test, plan, ceilings, kept),
        info=info_of(test, finished),
        seconds=run.seconds,
        speech=speech_of(test, plan, answers, tokens),
        scope=scope_of(test.design),
        parts=drawn_parts(test.design),
        fits=learned(test),
    )


def cells_of(finished: Sequence[CellRun]) -> list[tuple[dict[str, Any], Columns]]:
    return [(dict(cell.node.cell), cell.columns) for cell in finished]


def pairs_of(test: Test, plan: Plan, ceilings: Mapping[str, Ceiling], kept: np.ndarray | None) -> dict[str, Any]:
    """The arguments of :func:`~causal_dsl.score.score.score_test` on the pairs of a test, for whatever it measures."""
    drawn, output, ids = plan.draw_of(test), test.readout.variable, plan.ids_of(test)
    roles = ("base", *(role for role in test.roles if role != "base"))
    return {
        "ids": {role: ids[role] for role in roles},
        "base_answers": drawn.values["base"][output],
        "labels": labels_of(test, drawn),
        "asked": asked_of(test, drawn),
        "source_answers": {role: drawn.values[role][output] for role in dict.fromkeys(role for _, role in test.swaps)},
        "ceilings": {n: c for n, c in ceilings.items() if n != "informative"},
        "exhaustive": drawn.exhaustive,
        "kept": kept,
        "cover": cover_of(test.design, drawn),
        "accepted": test.model.accepted(output),
        "unknown": unknown_of(test, drawn),
    }


def info_of(test: Test, finished: Sequence[CellRun]) -> list[CellInfo]:
    """The information on each cell beside its columns."""
    info = []
    interventions = {cell.values: cell.interventions for cell in test.cells}
    for cell in finished:
        texts = [i.text for i in interventions[cell.node.cell] for _ in i.places]
        read = cell.node.read("patched")
        writes = read.run.writes if read is not None and isinstance(read.run, g.Resume) else ()
        acted = [each for each, write in zip(cell.fired, writes, strict=True) if not isinstance(write.value, g.Noted)]
        fired = tuple(
            Fired(text, rows, change / rows if rows else None, dead)
            for text, (rows, change, dead) in zip(texts, acted, strict=True)
        )
        made = [part for write in writes for part in write.value.walk()]
        averages = not any(part.given or isinstance(part, Combine) for part in made)
        info.append(CellInfo(fired, cell.noise_floor, cell.off_manifold, averages))
    return info


__all__ = ["cells_of", "info_of", "pairs_of", "score_run"]
