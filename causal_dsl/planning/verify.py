"""The laws of a plan at each stage, as a table that is run.

A plan goes through three stages: ``lowered`` (a step for each run, as one would write it by hand), ``economised`` (some
switches are on) and ``cut`` (its steps are cut to memory, and it is about to be executed). Each law holds from its stage on. What
breaks one is a mistake of this package (:class:`causal_dsl.base.faults.OwnFault`), never of a spec. Passes are laid out for the last two
laws (:mod:`causal_dsl.planning.live_places`): before a plan is executed with the first pairs of each draw, in tests with all blocks.
The sweep holds them of each block again as it runs it. They say nothing of whole forward passes, which compute everything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from causal_dsl.base.faults import OwnFault, strict
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.planning import graph as g
from causal_dsl.planning.live_places import not_live, used_too_early
from causal_dsl.planning.steps import Step, layers_of, taken
from causal_dsl.program.components import missing, trims
from causal_dsl.vocabulary.written import Value

if TYPE_CHECKING:
    from causal_dsl.planning.plan import Plan

Stage = Literal["lowered", "economised", "cut"]
STAGES: tuple[Stage, ...] = get_args(Stage)

#: What each kind of node is made from. A value that is written may stand wherever :class:`Value` does.
MADE_FROM: dict[type, tuple[type, ...]] = {
    g.DrawNode: (),
    g.Label: (g.DrawNode,),
    g.Forward: (g.DrawNode,),
    g.Capture: (g.Forward, g.Resume),
    g.Average: (g.Capture,),
    Value: (Value,),
    g.WriteNode: (Value,),
    g.Resume: (g.Forward, g.WriteNode),
    g.ReadNode: (g.Forward, g.Resume),
    g.ScoreNode: (g.Label, g.ReadNode),
}


@dataclass(frozen=True)
class Law:
    """``broken`` gives a line for each place at which the law does not hold; ``steps``: whether it reads the steps of a plan."""

    since: Stage
    says: str
    broken: Callable[[Plan], Iterator[str]]
    steps: bool = True


def _kinds(plan: Plan) -> Iterator[str]:
    for node in plan.graph.nodes:
        made = next((kind for kind in MADE_FROM if isinstance(node, kind)), None)
        if made is None:
            yield f"{type(node).__name__} is not a kind of node"
        elif any(not isinstance(inner, MADE_FROM[made]) for inner in node.inputs):
            yield f"{node} is made from {', '.join(type(inner).__name__ for inner in node.inputs)}"


def _edges(plan: Plan) -> Iterator[str]:
    import networkx as nx  # a plan that is only checked has no graph

    for node in plan.graph.nodes:
        if set(node.inputs) != set(plan.graph.predecessors(node)):
            yield str(node)
    if not nx.is_directed_acyclic_graph(plan.graph):
        yield "there is a circle"


def _one_network(plan: Plan) -> Iterator[str]:
    for run in g.of_kind(plan.graph, g.Forward):
        if run.network not in plan.inputs:
            yield f"{run}: nothing is known of its network"
    for resume in g.of_kind(plan.graph, g.Resume):
        for capture in taken(resume):
            if capture.forward.network != resume.base.network:
                yield f"{resume} takes from {capture.forward.network.name}"


def _rows(plan: Plan) -> Iterator[str]:
    for run in g.of_kind(plan.graph, g.Forward):
        rows = plan.rows.get(run)
        if rows is None or len(rows) != plan.drawn[run.draw].n:
            yield f"{run}: {'no rows' if rows is None else f'{len(rows)} rows'} of {plan.drawn[run.draw].n}"
        elif len(rows) and not (rows.min() >= 0 and rows.max() < len(plan.inputs[run.network])):
            yield f"{run}: a row of an input that there is not"
    for resume in g.of_kind(plan.graph, g.Resume):
        n = plan.drawn[resume.base.draw].n
        for write in resume.writes:
            for capture in write.value.find(g.Capture):
                if plan.drawn[capture.forward.draw].n != n:
                    yield f"{resume}: {capture} has {plan.drawn[capture.forward.draw].n} rows, its base {n}"


def _places(plan: Plan) -> Iterator[str]:
    for resume in g.of_kind(plan.graph, g.Resume):
        facts = plan.inputs[resume.base.network].facts
        for place in (*(write.place for write in resume.writes), *(capture.place for capture in taken(resume))):
            site = place.site
            why = missing(site.component, facts)
            if why is None and site.layer is not None and facts.layers is not None:
                why = None if 0 <= site.layer < layers_of(facts) else "there is no such layer"
            if why is not None:
                yield f"{place}: {why}"


def _keys(plan: Plan) -> Iterator[str]:
    for resume in g.of_kind(plan.graph, g.Resume):
        for write in resume.writes:
            here = write.place
            if here.key is not None and (here.site.component != "pattern" or write.feature is not None):
                yield f"{here} names the token that is looked at"
            for capture in write.value.find(g.Capture):
                if (capture.place.key is None) != (here.key is None):
                    yield f"{here} takes {capture.place}"


def _scores(plan: Plan) -> Iterator[str]:
    for test in plan.tests:
        if [score.cell for score in plan.scores.get(test.name, ())] != [cell.values for cell in test.cells]:
            yield f"`{test.name}` has not a score for each of its cells"


def _stepped(plan: Plan) -> Iterator[str]:
    wanted = {read.run for test in plan.tests for score in plan.scores[test.name] for _, read in score.reads}
    done = Counter(run for step in plan.steps for run in (*step.forwards, *step.resumes))
    yield from (f"{run} is in no step" for run in wanted - done.keys())
    yield from (f"{run} is in {times} steps" for run, times in done.items() if times > 1)
    for step in plan.steps:
        for run in (*step.forwards, *(resume.base for resume in step.resumes)):
            if run.network != step.network:
                yield f"{step} runs {run.network.name}"


def _economies(plan: Plan) -> Iterator[str]:
    for step in plan.steps:
        rules = step.rules
        if rules.trim and trims(plan.inputs[step.network].facts) is not None:
            yield f"{step} trims the rows of a network that needs them whole"
        if rules.thin and not rules.trim:
            yield f"{step} runs single tokens of rows that are not trimmed"


def _blocks(plan: Plan) -> Iterator[str]:
    for step in plan.steps:
        draws = {run.draw for run in (*step.forwards, *(resume.base for resume in step.resumes))}
        for n in {plan.drawn[draw].n for draw in draws}:
            if not _covered(step, n):
                yield f"{step}: its blocks do not hold each of {n} pairs and each intervention once"


def _covered(step: Step, n: int) -> bool:
    """Whether the blocks of a step hold each pair of a draw of ``n``, with each intervention, once."""
    some = max(1, len(step.resumes))
    parts = []
    for block in step.blocks:
        pairs = block.pairs(n)
        parts.append(
            (pairs.start, pairs.stop, block.first, block.last if step.resumes and block.last is not None else some)
        )
    rows, columns = (
        np.unique([0, most, *(e for part in parts for e in part[at : at + 2])]) for at, most in ((0, n), (2, some))
    )
    held = np.zeros((len(rows) - 1, len(columns) - 1), int)
    for start, stop, first, last in parts:
        (top, bottom), (left, right) = np.searchsorted(rows, (start, stop)), np.searchsorted(columns, (first, last))
        held[top:bottom, left:right] += 1
    return bool((held == 1).all())


def _in_time(plan: Plan) -> Iterator[str]:
    for step in plan.steps:
        if not step.why:
            yield from used_too_early(step)


def _live(plan: Plan) -> Iterator[str]:
    for step in plan.steps:
        if not step.why:
            yield from not_live(plan, step, every=strict())


LAWS: tuple[Law, ...] = (
    Law("lowered", "a node is made from nodes of the kinds that its kind is made from", _kinds, steps=False),
    Law("lowered", "the edges of the graph are what its nodes are made from, and go one way", _edges, steps=False),
    Law("lowered", "a run names one network, and takes vectors of no other", _one_network, steps=False),
    Law("lowered", "a run has a row for each pair, and each row an input", _rows, steps=False),
    Law("lowered", "a place is one that its network has", _places, steps=False),
    Law(
        "lowered",
        "weights to named tokens are taken from weights to named tokens, and have no features",
        _keys,
        steps=False,
    ),
    Law("lowered", "a test has a score for each of its cells", _scores, steps=False),
    Law("lowered", "a run that is read is in one step, and a step runs one network", _stepped),
    Law("economised", "a step leaves out only what its network allows", _economies),
    Law("cut", "the blocks of a step hold each pair with each intervention once", _blocks),
    Law("cut", "nothing is used before it is computed", _in_time),
    Law("cut", "tokens are live where they are read or written", _live),
)


#: The fields that laws read beside the steps.
BESIDE_STEPS = ("tests", "drawn", "inputs", "rows", "scores")


def verify(plan: Plan, stage: Stage, held: Plan | None = None) -> Plan:
    """The plan itself, once all laws of ``stage`` and of those before it hold; raises :class:`OwnFault` otherwise.

    All laws of ``stage`` hold of ``held``: where the plan differs from it in its steps alone, only laws of steps are asked again."""
    stepped = held is not None and all(getattr(plan, name) is getattr(held, name) for name in BESIDE_STEPS)
    for law in LAWS:
        if STAGES.index(law.since) <= STAGES.index(stage) and (law.steps or not stepped):
            broken = next(law.broken(plan), None)
            if broken is not None:
                raise OwnFault(f"of a plan that is {stage}: {law.says}. It does not hold: {broken}")
    return plan


__all__ = ["BESIDE_STEPS", "LAWS", "MADE_FROM", "STAGES", "Law", "Stage", "verify"]
