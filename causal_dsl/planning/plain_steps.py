"""The steps of a plan before any switch: every intervention by itself, from the first layer to the last."""

from __future__ import annotations

from causal_dsl.planning import graph as g
from causal_dsl.planning.plan import Plan
from causal_dsl.planning.steps import EDGES, Step


def plain_steps(plan: Plan) -> tuple[Step, ...]:
    """A step for every run whose answer is read, and one for every intervention."""
    runs: dict[g.Forward | g.Resume, None] = {}
    for test in plan.tests:
        for score in plan.scores[test.name]:
            runs |= {read.run: None for _, read in score.reads}
    steps = []
    for run in runs:
        if isinstance(run, g.Forward):
            steps.append(Step(run.network, forwards=(run,)))
        else:
            why = EDGES if any(write.to is not None for write in run.writes) else ""
            steps.append(Step(run.base.network, resumes=(run,), why=why))
    return tuple(steps)
