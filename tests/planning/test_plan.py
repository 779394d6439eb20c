"""The plan: equal work is one node, its cost is what counting by hand gives, and it prints in three forms."""

from __future__ import annotations

import json

import networkx as nx
import pytest

import causal_dsl as cd
from causal_dsl.planning import graph as g
from causal_dsl.planning.cost import cost_of, stop_layer, work_of

SPEC = """
domain Shape = {"arrow", "circle", "cross"}
causal equality {
  a, b, c, d ~ Shape
  left  := a == b
  right := c == d
  output same := left == right
}
network net = zoo("equality-gpt2")
align at(l in 0:3) : equality -> net {
  prompt "{a} {b} {c} {d} ="
  left  @ layer[l].resid_post[b]
  right @ layer[l].resid_pre[d]
  same  @ next_token
}
test one on at {
  base, source ~ equality(n=50, seed=0)
  do(left <- source)
  report iia
}
test two on at(1) {
  base, source ~ equality(n=50, seed=0)
  do(left <- source)
  report iia
}
test three on at(l=0) {
  base, other ~ equality(n=50, seed=9)
  do(right <- other, layer[2].mlp_out[last] = mean)
  report mean(kl)
}
"""


@pytest.fixture(scope="module")
def plan():  # type: ignore[no-untyped-def]
    return cd.plan(cd.parse(SPEC))


def test_equal_work_is_one_node(plan) -> None:  # type: ignore[no-untyped-def]
    resumes = list(g.of_kind(plan.graph, g.Resume))
    # `two` is the cell l=1 of `one`: 3 cells of one, 1 of three, none of two
    assert len(resumes) == 4
    assert len(list(g.of_kind(plan.graph, g.Draw))) == 2
    assert len(list(g.of_kind(plan.graph, g.Score))) == 5
    assert nx.is_directed_acyclic_graph(plan.graph)


def test_every_node_stands_after_what_it_needs(plan) -> None:  # type: ignore[no-untyped-def]
    for node in plan.graph.nodes:
        assert set(node.inputs) == set(plan.graph.predecessors(node))


def test_source_runs_stop_at_the_deepest_site_that_is_read(plan) -> None:  # type: ignore[no-untyped-def]
    stops = {(f.role, f.draw.text): stop_layer(plan, f) for f in g.of_kind(plan.graph, g.Forward)}
    assert stops["base", "base, source ~ equality(n=50, seed=0)"] == 3  # its answer is read
    assert stops["source", "base, source ~ equality(n=50, seed=0)"] == 3  # resid_post of layer 2
    assert stops["other", "base, other ~ equality(n=50, seed=9)"] == 0  # resid_pre of layer 0 needs no layer


def test_cost_counts_each_prompt_once_and_each_intervention_whole(plan) -> None:  # type: ignore[no-untyped-def]
    inputs = plan.inputs["net"]
    prompts = {inputs.ids(i) for f, rows in plan.rows.items() for i in rows.tolist() if stop_layer(plan, f)}
    work = work_of(plan)
    clean = sum(work[f].layer_tokens for f in g.of_kind(plan.graph, g.Forward))
    assert clean == len(prompts) * 5 * 3  # five tokens, three layers
    patched = sum(work[r].layer_tokens for r in g.of_kind(plan.graph, g.Resume))
    assert patched == 4 * 50 * 5 * 3
    cost = cost_of(plan)
    assert cost.layer_tokens == clean + patched
    assert cost.naive_layer_tokens == 5 * 50 * 3 * 5 * 3  # base, source and patched run of 5 cells


def test_it_prints_as_text_mermaid_and_json(plan) -> None:  # type: ignore[no-untyped-def]
    text = plan.text(explain=True)
    assert "test one" in text and "layer-tokens" in text and "share forwards" in text
    mermaid = plan.mermaid()
    assert mermaid.startswith("flowchart LR") and mermaid.count("-->") == plan.graph.number_of_edges()
    document = json.loads(json.dumps(plan.to_json()))
    again = nx.node_link_graph(document["graph"], edges="edges", directed=True)
    assert again.number_of_nodes() == plan.graph.number_of_nodes()
    assert {data["kind"] for _, data in again.nodes(data=True)} >= {
        "draw",
        "forward",
        "capture",
        "write",
        "resume",
        "read",
        "score",
    }


def test_a_span_of_another_length_names_the_row() -> None:
    spec = SPEC.replace("layer[l].resid_post[b]", "layer[l].resid_post[all]").replace(
        '{a} {b} {c} {d} ="', '{a} {b} {c} {d} ="\n  prompt "{a} {b} {c} {d} = ="'
    )
    with pytest.raises(cd.SpecError) as caught:
        cd.plan(cd.parse(spec))
    diagnostic = caught.value.diagnostics[0]
    assert diagnostic.code == "E539" and "row" in diagnostic.notes[0]
