"""The laws of a plan: each breaks where a plan is made wrong on purpose, and all hold of every plan that is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import networkx as nx
import numpy as np
import pytest

import causal_dsl as cd
from causal_dsl.base.faults import OwnFault
from causal_dsl.planning import graph as g
from causal_dsl.planning import pass_layout
from causal_dsl.planning.chunk_to_memory import chunk_to_memory
from causal_dsl.planning.liveness import Accesses, PassRows, Schedule, schedule
from causal_dsl.planning.memory import Budget
from causal_dsl.planning.plan import CellScores, Plan
from causal_dsl.planning.steps import Block
from causal_dsl.planning.switches import Switch, turned_on
from causal_dsl.planning.verify import BESIDE_STEPS, LAWS, MADE_FROM, verify
from causal_dsl.vocabulary.locations import Site
from tests.equality import gpt2

SPEC = gpt2(
    "left @ layer[l].resid_post[b]",
    align="at(l in 0:3)",
    shapes=("arrow", "circle", "cross"),
    tests="""
test one on at {
  base, source ~ equality(n=20, seed=0)
  do(left <- source)
  report iia
}
test two on at(l=0) {
  base, other ~ equality(n=9, seed=9)
  do(layer[2].mlp_out[last] = mean)
  report mean(kl)
}
""",
)


@pytest.fixture
def plan() -> Plan:
    return cd.plan(cd.parse(SPEC))


def first(plan: Plan, kind: type) -> g.Node:
    return next(g.of_kind(plan.graph, kind))


class OtherGraph(CellScores):
    """Scores with a graph that is not made from them."""

    def __init__(self, scores: CellScores, graph: nx.DiGraph):
        super().__init__(scores)
        self.made = graph

    @property
    def graph(self) -> nx.DiGraph:  # type: ignore[override]
        return self.made


def with_graph(plan: Plan, graph: nx.DiGraph) -> Plan:
    return replace(plan, scores=OtherGraph(plan.scores, graph))


def with_node(plan: Plan, node: g.Node) -> Plan:
    graph = plan.graph.copy()
    g.add(graph, node)
    return with_graph(plan, graph)


def label_of_a_run(plan: Plan) -> Plan:
    return with_node(plan, g.Label(first(plan, g.Forward), "same", ()))  # type: ignore[arg-type]


def lost_edge(plan: Plan) -> Plan:
    graph = plan.graph.copy()
    graph.remove_edge(*next(iter(graph.edges)))
    return with_graph(plan, graph)


def another_network(plan: Plan) -> Plan:
    resume = next(r for r in g.of_kind(plan.graph, g.Resume) if next(r.writes[0].value.find(g.Capture), None))
    write = resume.writes[0]
    there = replace(write.value.run.network, target="another")
    capture = replace(write.value, run=replace(write.value.run, network=there))
    return replace(
        with_node(plan, replace(resume, writes=(replace(write, value=capture),))),
        inputs={**plan.inputs, there: plan.inputs[resume.base.network]},
        rows={**plan.rows, capture.run: plan.rows[write.value.run]},
    )


def a_row_of_no_input(plan: Plan) -> Plan:
    run = first(plan, g.Forward)
    return replace(plan, rows={**plan.rows, run: np.full_like(plan.rows[run], 10_000)})  # type: ignore[index]


def no_such_layer(plan: Plan) -> Plan:
    resume = first(plan, g.Resume)
    write = resume.writes[0]  # type: ignore[union-attr]
    place = replace(write.place, site=replace(write.place.site, layer=99))
    return with_node(plan, replace(resume, writes=(replace(write, place=place),)))  # type: ignore[type-var]


def a_key_of_a_vector(plan: Plan) -> Plan:
    resume = first(plan, g.Resume)
    write = resume.writes[0]  # type: ignore[union-attr]
    place = replace(write.place, key=write.place.position)
    return with_node(plan, replace(resume, writes=(replace(write, place=place),)))  # type: ignore[type-var]


def a_lost_cell(plan: Plan) -> Plan:
    return replace(plan, scores=CellScores({**plan.scores, "one": plan.scores["one"][1:]}))


def a_run_in_no_step(plan: Plan) -> Plan:
    return replace(plan, steps=tuple(replace(step, resumes=step.resumes[1:]) for step in plan.steps))


def single_tokens_of_whole_rows(plan: Plan) -> Plan:
    steps = (replace(step, rules=replace(step.rules, trim=False, thin=True)) for step in plan.steps)
    return replace(plan, steps=tuple(steps))


def a_block_twice(plan: Plan) -> Plan:
    blocks = (Block(0, 1, 2), Block(0, 1, 2), Block(1, 2, 2))
    return replace(plan, steps=tuple(replace(step, blocks=blocks) for step in plan.steps))


def a_vector_that_comes_too_late(plan: Plan) -> Plan:
    """Of a run that is written in the same pass: what it has in the last layer is written in the first."""
    (step,) = plan.steps
    inner = step.resumes[0]
    write = inner.writes[0]
    late = g.Capture(inner, replace(write.place, site=Site("resid_post", 2)))
    first = replace(write, place=replace(write.place, site=Site("resid_pre", 0)), value=late)
    changed = replace(inner, writes=(first,))
    scores = {
        name: [
            replace(
                node, reads=tuple((role, replace(r, run=changed) if r.run == inner else r) for role, r in node.reads)
            )
            for node in nodes
        ]
        for name, nodes in plan.scores.items()
    }
    return replace(plan, scores=CellScores(scores), steps=(replace(step, resumes=(changed, *step.resumes[1:])),))


#: A plan that breaks it, for each law in its order.
BREAKS: tuple[Callable[[Plan], Plan], ...] = (
    label_of_a_run,
    lost_edge,
    another_network,
    a_row_of_no_input,
    no_such_layer,
    a_key_of_a_vector,
    a_lost_cell,
    a_run_in_no_step,
    single_tokens_of_whole_rows,
    a_block_twice,
    a_vector_that_comes_too_late,
)
#: No plan breaks the last law: its passes follow from it.
OF_PLANS = LAWS[:-1]


@pytest.mark.parametrize(
    ("law", "break_it"), list(zip(OF_PLANS, BREAKS, strict=True)), ids=[b.__name__ for b in BREAKS]
)
def test_a_plan_that_is_made_wrong_is_found_out(law, break_it: Callable[[Plan], Plan], plan: Plan) -> None:  # type: ignore[no-untyped-def]
    assert verify(plan, "cut") is plan
    broken = break_it(plan)
    assert next(law.broken(broken), None) is not None
    with pytest.raises(OwnFault, match=law.says):
        verify(broken, "cut")


@pytest.mark.parametrize("break_it", BREAKS[:9], ids=[b.__name__ for b in BREAKS[:9]])
def test_a_switch_that_breaks_a_law_is_found_out(break_it: Callable[[Plan], Plan], plan: Plan) -> None:
    """As the first that is turned on, and after one that kept all laws."""
    kept, breaks = Switch("kept", "", lambda plan: replace(plan)), Switch("breaks", "", break_it)
    assert turned_on(plan, (kept, kept)).steps == plan.steps
    for switches in ((breaks,), (kept, breaks)):
        with pytest.raises(OwnFault):
            turned_on(plan, switches)


def test_laws_that_are_not_asked_again_read_no_steps(plan: Plan) -> None:
    class Heard:
        def __getattr__(self, name: str) -> Any:
            read.add(name)
            return getattr(plan, name)

    for law in LAWS:
        read: set[str] = set()
        assert next(law.broken(Heard()), None) is None  # type: ignore[arg-type]
        assert ("steps" in read) == law.steps, law.says
        assert law.steps or read <= {*BESIDE_STEPS, "graph"}, law.says


def test_a_part_that_no_block_holds_is_found_out(plan: Plan) -> None:
    for blocks in ((Block(0, 1, 2),), (Block(0, 1, 1, 0, 1), Block(0, 1, 1, 2, None)), ()):
        wrong = replace(plan, steps=tuple(replace(step, blocks=blocks) for step in plan.steps))
        with pytest.raises(OwnFault, match="its blocks do not hold each of"):
            verify(wrong, "cut")


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("budget", [60_000, 120_000, 1_000_000])
def test_plans_that_are_cut_to_memory_keep_the_laws(budget: int, plan: Plan) -> None:
    assert verify(chunk_to_memory(plan, dict.fromkeys(plan.networks, Budget(budget))), "cut")


def test_a_token_that_no_layer_computes_is_found_out(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that never enter, and vectors that are kept of no layer: a pass of another schedule than its rows need."""
    for lost, what in (
        ("writes", "is written and can reach what is read at layer"),
        ("reads", "is read at layer"),
    ):

        def without(rows: PassRows, *more: Any, lost: str = lost) -> Schedule:
            return schedule(replace(rows, **{lost: Accesses.none()}), *more)

        monkeypatch.setattr(pass_layout, "schedule", without)
        with pytest.raises(OwnFault, match=f"{LAWS[-1].says}.*{what}"):
            verify(plan, "cut")


def test_every_kind_of_node_is_in_the_table(plan: Plan) -> None:
    assert set(map(type, plan.graph.nodes)) <= set(MADE_FROM) | {
        kind for kind in map(type, plan.graph.nodes) if issubclass(kind, tuple(MADE_FROM))
    }
    assert nx.is_directed_acyclic_graph(plan.graph)


def test_a_plan_that_breaks_a_law_is_not_run(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    from causal_dsl.checking import checking

    monkeypatch.setattr(checking, "turned_on", lambda plan, switches: a_run_in_no_step(plan))
    with pytest.raises(OwnFault, match="is in no step"):
        cd.run(cd.parse(SPEC))
