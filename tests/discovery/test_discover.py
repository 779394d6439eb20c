"""Circuits that a run finds: on programs whose circuit is known, on inputs of their own, and written to files that are read."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from causal_dsl import api
from causal_dsl.api import Options
from causal_dsl.program.discovery import pruned
from causal_dsl.program.edge_sets import EdgeSet, edge_name, every_edge
from causal_dsl.program.idle_edges import idle_edges
from causal_dsl.vocabulary.network_facts import Facts
from tests.engine.tiny import spec_of

ROOT = Path(__file__).parents[2]
#: Of compiled programs, the components that their specs say the answer is made by, and a test of each.
TRUE = {
    "frac_prevs": (
        ["embed", "layer[0].mlp_out", "layer[1].head[0]"],
        "share",
        "base.answer != source.answer",
    ),
    "hist": (["embed", "layer[0].head[0]", "layer[0].mlp_out"], "hist", "base.answer != source.answer"),
}
TEST = """
circuit found : program = discover({what}, method={method}{keep})
metric gained = logit(answer) - logit(source.answer)
test judged on there {{
  base, source ~ {model}(n=64, seed=0) where {where}
  do(outside(found) <- source)
  report faithfulness(gained)
}}
"""


def judged(name: str, what: str, method: str, keep: int | None = None) -> object:
    """The one cell of a test of a circuit that is found in a compiled program."""
    kept = "" if keep is None else f", keep={keep}, by=absolute"
    text = (ROOT / "specs" / "tracr" / f"{name}.causal").read_text()
    text = text[: text.index("\ntest ")]
    _, model, where = TRUE[name]
    (test,) = api.run(
        api.parse(text + TEST.format(what=what, method=method, keep=kept, model=model, where=where))
    ).tests
    return test.cells[0]


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("name", TRUE)
@pytest.mark.parametrize(
    ("what", "method"),
    [("nodes", "eap_ig(steps=5)"), ("nodes", "exact"), ("nodes", "eap_ig(steps=3, path=activations)")],
)
def test_at_the_true_size_the_true_circuit_is_found(name: str, what: str, method: str) -> None:
    true = TRUE[name][0]
    cell = judged(name, what, method, len(true))
    (found,) = cell.circuit.found  # type: ignore[attr-defined]
    best = sorted(found.scores, key=lambda one: -abs(found.scores[one]))[: len(true)]
    assert sorted(best) == sorted(true)
    assert cell.scores["faithfulness(gained)"].value == pytest.approx(1.0, abs=1e-3)  # type: ignore[attr-defined]
    assert found.stability == 1.0


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("method", ["eap", "eap_ig(steps=5)", "exact"])
def test_at_the_true_size_all_true_edges_are_found(method: str) -> None:
    """The MLP tells letters, and the head takes their mean: as its value, and not as its query or key."""
    cell = judged("frac_prevs", "edges", method, 3)
    (found,) = cell.circuit.found  # type: ignore[attr-defined]
    best = sorted(found.scores, key=lambda one: -abs(found.scores[one]))[:3]
    assert set(best) == {
        "embed -> layer[0].mlp_in",
        "layer[0].mlp_out -> layer[1].head[0].v",
        "layer[1].head[0] -> logits",
    }
    assert cell.circuit.size.edges == 3  # type: ignore[attr-defined]
    assert cell.scores["faithfulness(gained)"].value == pytest.approx(1.0, abs=1e-3)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_a_circuit_is_found_on_inputs_on_which_it_is_not_judged(tmp_path: Path) -> None:
    """The test is of another part than the pairs by which the circuit is found; scores are kept as a file that is read again."""
    more = """
circuit found(k in [0.25, 0.5]) : net = discover(nodes, method=eap, keep=k, by=signed)
metric gap = logit(o) - logit(source.o)
test t on a(l=0, p=last) {
  base, source ~ m(n=12, seed=3, controls=none) where base.template == source.template
  do(outside(found) <- source)
  report faithfulness(gap)
}
"""
    spec = api.parse(spec_of("llama", more))
    checked = api.check(spec)
    checked.raise_errors()
    assert checked.searches is not None and checked.plan is not None and checked.program is not None
    names = checked.program.models["m"].exogenous

    def inputs(plan: object) -> set[tuple[int, ...]]:
        found = set()
        for drawn in plan.drawn.values():  # type: ignore[attr-defined]
            for values in drawn.values.values():
                found |= set(zip(*(values[name].tolist() for name in names), strict=True))
        return found

    assert inputs(checked.searches) and not inputs(checked.searches) & inputs(checked.plan)
    (test,) = api.run(spec, Options(out=tmp_path)).tests
    one, other = (cell.circuit for cell in test.cells)
    assert one is not None and other is not None and one.found[0].scores == other.found[0].scores
    assert (one.size.nodes, other.size.nodes) == (4, 8)
    scores = one.found[0].scores
    (kept,) = tmp_path.rglob("circuits/*.json")
    assert json.loads(kept.read_text())["nodes"] == scores
    again = more.replace("discover(nodes, method=eap, ", f'json("{kept.name}", ')
    (tmp_path / kept.name).write_bytes(kept.read_bytes())
    again = again.replace("m(n=12, seed=3, controls=none)", "m(n=12, seed=3, controls=none, split=test)")
    (same,) = api.run(api.parse(spec_of("llama", again), folder=tmp_path)).tests
    for mine, theirs in zip(test.cells, same.cells, strict=True):
        assert mine.scores["faithfulness(gap)"].value == theirs.scores["faithfulness(gap)"].value
    told = one.to_json()["found"][0]
    assert told["pairs"] == 12 and told["by"] == "signed" and told["correlation"] is not None
    assert 0 <= told["stability"] <= 1  # type: ignore[operator]


@pytest.mark.slow
@pytest.mark.parametrize("path", ["inputs", "activations"])
def test_gradients_of_edges_along_a_path_are_held_against_what_they_add_up_to(path: str) -> None:
    """With many steps they are near it; with two the report says how far they are, and no more."""
    more = """
metric gap = logit(o) - logit(source.o)
circuit found : net = discover(edges, method=eap_ig(steps=STEPS, path=PATH), keep=12, by=signed)
test t on a(l=0, p=last) {
  base, source ~ m(n=6, seed=3, controls=none) where base.template == source.template
  do(outside(found) <- source)
  report faithfulness(gap)
}
"""
    apart = {}
    for steps in (2, 16):
        text = spec_of("llama", more.replace("STEPS", str(steps)).replace("PATH", path))
        results = api.run(api.parse(text))
        circuit = results.tests[0].cells[0].circuit
        assert circuit is not None and circuit.found[0].held is not None
        says, apart[steps], scale = circuit.found[0].held
        assert ("more steps may bring them closer" in says) == (apart[steps] > 0.1 * scale), steps
        assert "against" in says and scale > 1e-3
        if path == "inputs":  # the one number that it is all about: what the metric falls by
            ends = circuit.found[0].ends
            assert scale == pytest.approx(abs(ends[0] - ends[1]))
    assert apart[16] < 0.05 * scale and apart[16] < apart[2]


def test_edges_without_a_path_are_dropped() -> None:
    facts = Facts("language", layers=3, heads=2, kv_heads=1)
    edges = [
        "embed -> layer[0].head[0].q",
        "layer[0].head[0] -> layer[1].mlp_in",
        "layer[1].mlp_out -> logits",
        "embed -> layer[1].head[1].k",  # nothing that reads it gives anything on
        "layer[0].mlp_out -> layer[2].head[0].v",  # nothing reaches its sender
        "layer[2].head[0] -> logits",
    ]
    assert pruned(edges, facts) == edges[:3]
    # of a key that query heads share each may give it on
    shared = ["embed -> layer[1].head[0].k", "layer[1].head[1] -> logits"]
    assert pruned(shared, facts) == shared


@pytest.mark.parametrize("kinds", [("embed", "head", "mlp"), ("head",), ("embed", "mlp")])
def test_edges_of_which_is_warned_are_those_that_a_search_drops(kinds: tuple[str, ...]) -> None:
    facts, told = Facts("language", layers=3, heads=4, kv_heads=2), 0
    every = every_edge(facts, kinds)
    assert every is not None
    for seed in range(30):
        drawn = random.Random(seed)
        some = [edge for edge in every if drawn.random() < 0.03 * (1 + seed % 4)]
        names = [edge_name(node, port) for node, port, _ in some]
        idle = {edge_name(*edge) for edge in idle_edges(EdgeSet.of(every.ports, some), facts, kinds, source=True)}
        assert idle == set(names) - set(pruned(names, facts, kinds))
        # what is no value of the run is carried from wherever it is put
        ends = {edge_name(*edge) for edge in idle_edges(EdgeSet.of(every.ports, some), facts, kinds, source=False)}
        assert ends <= idle
        told += len(ends) if kinds == ("head",) else len(idle - ends)
    assert told


@pytest.mark.slow
@pytest.mark.parametrize("method", ["eap", pytest.param("acdc(threshold=0.001, loss=fall)", marks=pytest.mark.slow)])
def test_edges_that_were_found_are_read_again_from_their_file(method: str, tmp_path: Path) -> None:
    """The file has a score for each edge, of which those are kept that were, and of these the ones that lie on a path."""
    rule = ", keep=12, by=signed" if method == "eap" else ""
    more = """
circuit found : net = FOUND
metric gap = logit(o) - logit(source.o)
test t on a(l=0, p=last) {
  base, source ~ m(n=6, seed=3, split=test, controls=none) where base.template == source.template
  do(outside(found) <- source)
  report faithfulness(gap)
}
"""
    spec = api.parse(spec_of("llama", more.replace("FOUND", f"discover(edges, method={method}{rule})")))
    (mine,) = api.run(spec, Options(out=tmp_path)).tests[0].cells
    (kept,) = tmp_path.rglob("circuits/*.json")
    scores = json.loads(kept.read_text())["edges"]
    count = 12 if method == "eap" else sum(score >= 0.001 for score in scores.values())
    assert 0 < count < len(scores)
    (tmp_path / kept.name).write_bytes(kept.read_bytes())
    again = more.replace("FOUND", f'json("{kept.name}", keep={count}, by=signed)')
    (theirs,) = api.run(api.parse(spec_of("llama", again), folder=tmp_path)).tests[0].cells
    assert mine.circuit is not None and theirs.circuit is not None
    best = sorted(scores, key=lambda name: (-scores[name], name))[:count]
    assert set(theirs.circuit.lines) == set(best) >= set(mine.circuit.lines)
    # what lies on no path carries nothing that the base run would not, so the scores are the same
    assert theirs.scores["faithfulness(gap)"].value == pytest.approx(mine.scores["faithfulness(gap)"].value, abs=1e-4)


@pytest.mark.parametrize(
    "method", ["exact", *(pytest.param(one, marks=pytest.mark.slow) for one in ("eap", "eap_ig(steps=2)"))]
)
def test_scores_that_are_all_rounding_are_told_of(method: str) -> None:
    """A sum that cancels moves by rounding alone, whatever is patched: which nodes come first is luck then, and said."""
    more = f"""
circuit found : net = discover(nodes, method={method}, keep=3, by=absolute)
metric flat = (logit(o) - logit(source.o)) - (logit(o) - logit(source.o)) + 1
metric gap = logit(o) - logit(source.o)
test t on a(l=0, p=last) {{
  base, source ~ m(n=8, seed=3, controls=none) where base.template == source.template
  do(outside(found) <- source)
  report faithfulness(flat)
}}
"""
    (one,) = api.run(api.parse(spec_of("llama", more))).tests
    (said,) = [one.text for one in one.cells[0].findings if one.code == "scores_still"]
    assert f"`{method.split(chr(40))[0]}" in said and "which nodes are kept says nothing" in said
    (one,) = api.run(api.parse(spec_of("llama", more.replace("faithfulness(flat)", "faithfulness(gap)")))).tests
    assert not [one for one in one.cells[0].findings if one.code == "scores_still"]
