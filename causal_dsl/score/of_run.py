"""The columns of a run to the result of its test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from causal_dsl.causal.ceilings import Ceiling
from causal_dsl.causal.cover import cover_of, scope_of
from causal_dsl.engine.execute import CellRun, TestRun
from causal_dsl.planning.plan import Plan
from causal_dsl.program.answers import Answers
from causal_dsl.program.tokens import Tokens
from causal_dsl.score.results import CellInfo, Fired, TestResult
from causal_dsl.score.score import score_test
from causal_dsl.score.speech import speech_of
from causal_dsl.score.truth import asked_of, kept_of, labels_of


def score_run(
    run: TestRun,
    finished: Sequence[CellRun],
    plan: Plan,
    ceilings: Mapping[str, Ceiling],
    answers: Answers,
    tokens: Tokens | None,
) -> TestResult:
    """The result of a test from the columns of its finished cells; ``tokens`` show answers that were said, if there are any."""
    test = run.test
    drawn = plan.draw_of(test)
    output, ids = test.readout.variable, plan.ids_of(test)
    roles = ("base", *(role for role in test.roles if role != "base"))
    kept = kept_of(test, drawn, finished[0].columns)
    info = []
    interventions = {cell.values: cell.interventions for cell in test.cells}
    for cell in finished:
        texts = [i.text for i in interventions[cell.node.cell] for _ in i.places]
        fired = tuple(
            Fired(text, rows, change / rows if rows else None, dead)
            for text, (rows, change, dead) in zip(texts, cell.fired, strict=True)
        )
        info.append(CellInfo(fired, cell.noise_floor, cell.outside))
    return score_test(
        test.scores,
        [(dict(cell.node.cell), cell.columns) for cell in finished],
        ids={role: ids[role] for role in roles},
        base_answers=drawn.values["base"][output],
        labels=labels_of(test, drawn),
        asked=asked_of(test, drawn),
        source_answers={role: drawn.values[role][output] for role in dict.fromkeys(role for _, role in test.swaps)},
        ceilings={n: c for n, c in ceilings.items() if n != "informative"},
        exhaustive=drawn.exhaustive,
        kept=kept,
        info=info,
        seconds=run.seconds,
        cover=cover_of(test.design, drawn),
        speech=speech_of(test, plan, answers, tokens),
        scope=scope_of(test.design),
        part=any(test.design.splits.values()),
        accepted=test.model.accepted(output),
    )
