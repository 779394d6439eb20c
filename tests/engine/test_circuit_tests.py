"""Hypothesis tests of circuits, random circuits beside every score, and ratios that say nothing, through runs."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from causal_dsl import api
from causal_dsl.measures.names import OF_CIRCUITS
from causal_dsl.report.html.fragments import fragment
from causal_dsl.report.text import text as report_of
from causal_dsl.score.circuit_results import like_random
from causal_dsl.score.format_numbers import show
from causal_dsl.score.results import CellResult
from tests.engine.test_circuits import ByHand as HooksByHand
from tests.engine.test_circuits import spec
from tests.engine.tiny import execution_of, network_of
from tests.measures.by_formula import equivalence_p, minimality_p

PROGRAM = """
domain Letter = {"a", "b", "c"}
causal reversed {
  a, b, c, d ~ Letter
  output answer : Letter := a
}
network program = zoo("tracr-reverse")
align there : reversed -> program {
  prompt "BOS {a} {b} {c} {d}"
  answer @ next_token
}
circuit planted : program {
  parts = MEMBERS
}
metric gap = logit(answer) - logit(source.answer)
test t on there {
  base, source ~ reversed(n=64, seed=0) where base.answer != source.answer
  do(outside(planted) <- source)
  report equivalence_test(gap), minimality_test(gap), faithfulness(gap)
}
metric level = logit("a")
test u on there {
  base, source ~ reversed(n=64, seed=0)
  do(outside(planted) <- source)
  report independence_test(level)
}
"""


def planted(members: str) -> tuple[CellResult, dict[str, float]]:
    """The result of a circuit, and the p-value of each test."""
    cells = [test.cells[0] for test in api.run(api.parse(PROGRAM.replace("MEMBERS", members))).tests]
    found = {name.partition("_")[0]: one for cell in cells for name, one in cell.scores.items() if "_test(" in name}
    assert all(one.value is not None and one.low is None for one in found.values())
    return cells[0], {name: float(one.value or 0) for name, one in found.items()}


@pytest.mark.slow
def test_a_planted_circuit_is_rejected_by_none_and_each_fault_by_one() -> None:
    """All sequences have one length: the letter is taken by a head of layer 3, and what stands before it is the same in all runs."""
    _, true = planted("embed, layer[3].head[0]")
    assert set(true) == {"equivalence", "independence", "minimality"} and all(p > 0.05 for p in true.values())
    cell, more = planted("embed, layer[3].head[0], layer[1].mlp_out")
    assert more["minimality"] < 0.05 < more["independence"]
    assert cell.circuit is not None
    each = cell.circuit.tests["minimality_test(gap)"].each
    assert {name for name, p in each.items() if p <= 0.05} == {"layer[1].mlp_out"}
    _, wrong = planted("layer[1].mlp_out")
    assert all(p < 0.05 for p in wrong.values())


@pytest.mark.slow
def test_p_values_are_those_of_hooks_and_formulas_by_hand() -> None:
    scores = "equivalence_test(gap, epsilon=0.2), minimality_test(gap, quantile=0.5)"
    text = spec("llama", "outside(c) <- source", scores).replace("n=6", "n=24")
    cell = api.run(api.parse(text)).tests[0].cells[0]
    execution, _ = execution_of(text)
    test = execution.plan.tests[0]
    network = network_of(text[: text.index("align ")])
    hand = HooksByHand(network)
    base, written = hand_runs(execution, test, hand)
    every = {("embed", -1, 0)} | {("mlp", layer, 0) for layer in range(len(network.layers))}
    every |= {("z", layer, head) for layer in range(len(network.layers)) for head in range(network.facts.heads or 0)}
    circuit = {("embed", -1, 0), ("z", 1, 1), ("z", 2, 0), ("mlp", 0, 0)}
    keep = written(every - circuit)
    assert cell.scores["equivalence_test(gap, epsilon=0.2)"].value == pytest.approx(
        equivalence_p(keep - base, 0.2), abs=1e-9
    )
    effects = [float(np.abs(keep - written(every - circuit | {node})).mean()) for node in circuit]
    others = [float(np.abs(written(every - circuit - {node}) - keep).mean()) for node in every - circuit]
    assert len(others) == 12
    assert cell.scores["minimality_test(gap, quantile=0.5)"].value == pytest.approx(
        minimality_p(effects, others, 0.5), abs=1e-9
    )


def hand_runs(execution: Any, test: Any, hand: HooksByHand) -> Any:
    """The metric of each pair in the base run, and where some nodes hold what they hold in the source run."""
    import torch

    inputs = execution.plan.inputs[test.network.key]
    draw = execution.plan.scores["t"][0].label.draw
    rows = {run.role: execution.plan.rows[run] for run in execution.plan.rows if run.draw == draw}
    drawn = execution.plan.draw_of(test)
    ids = {role: [torch.tensor(inputs.rows(np.array([i]))[0]) for i in rows[role]] for role in ("base", "source")}
    seen = [hand.run(one, {})[1] for one in ids["source"]]

    def written(nodes: set[tuple[str, int, int]]) -> np.ndarray:
        found = []
        for pair, own in enumerate(ids["base"]):
            logits, _ = hand.run(own, {key: seen[pair][key[:2]] for key in nodes})
            one, other = (10 + int(drawn.values[role]["o"][pair]) for role in ("base", "source"))
            found.append(float(logits[one] - logits[other]))
        return np.array(found)

    return written(set()), written


def contrasted(scores: str) -> str:
    """A spec whose metric differs between base and source, so that its ratios say something."""
    text = spec("llama", "c <- source", scores).replace("base.o != source.o", 'base.x == "w10" and source.x == "w11"')
    return text.replace("gap = logit(o) - logit(source.o)", 'gap = logit("w10")').replace("n=6", "n=8")


@pytest.mark.slow
def test_every_score_has_random_circuits_and_controls_none_has_none() -> None:
    names = ("faithfulness", "sufficiency", "necessity", "completeness", "minimality", "equivalence_test")
    text = contrasted(", ".join(f"{name}(gap)" for name in names))
    cell = api.run(api.parse(text)).tests[0].cells[0]
    assert cell.circuit is not None
    for name in (*names, "faithfulness_per_pair", "faithfulness_median"):
        random = cell.circuit.random[f"{name}(gap)"]
        assert len(random.values) == 20 and random.as_good is not None, name
        own = cell.scores[f"{name}(gap)"].value
        if not random.searched:
            assert random.own == pytest.approx(own)
    complete = cell.circuit.random["completeness(gap)"]
    assert complete.better == "low" and (complete.own or 0) <= (cell.scores["completeness(gap)"].value or 0)
    minimal = cell.circuit.random["minimality(gap)"]
    assert minimal.searched and minimal.better == "high"
    without = api.run(api.parse(text.replace("n=8", "n=8, controls=none"))).tests[0].cells[0]
    assert without.circuit is not None and not without.circuit.random
    assert without.scores["completeness(gap)"] == cell.scores["completeness(gap)"]


@pytest.mark.slow
def test_random_sweeps_stand_beside_areas() -> None:
    more = """
circuit upto(k in [1, 2]) : net {
  parts = layer[0:k].head[all], layer[0:k].mlp_out
}
test t on a {
  base, source ~ m(n=6, seed=3) where base.o != source.o
  do(outside(upto) <- source)
  report cpr(gap)
}
"""
    text = spec("llama", "outside(c) <- source", "faithfulness(gap)")
    results = api.run(api.parse(text[: text.index("test t on")] + more))
    test = results.tests[0]
    assert set(test.random) == {"cpr(gap)", "cmd(gap)"} and len(test.random["cmd(gap)"].values) == 20
    assert test.random["cmd(gap)"].better == "low" and test.random["cpr(gap)"].better == "high"
    own = {report.text: report.estimate.value for report in test.reports}
    assert test.random["cpr(gap)"].own == pytest.approx(own["cpr(gap)"])
    # each is an area under the faithfulness of one random circuit at each size
    points = [cell.circuit.random["faithfulness(gap)"].values[3] for cell in test.cells if cell.circuit]
    sizes = [cell.circuit.sizes[3] / cell.circuit.size.of_edges for cell in test.cells if cell.circuit]
    xs, ys = [0.0, *sizes, 1.0], [0.0, *(float(p or 0) for p in points), 1.0]
    assert test.random["cpr(gap)"].values[3] == pytest.approx(float(np.trapezoid(ys, xs)), abs=1e-6)
    told = " ".join(report_of(results).split())
    assert "sweeps of random circuits of these sizes: cpr(gap)" in told
    page = re.search(r"members of each circuit</summary>(.*?)</details>", fragment(test), re.DOTALL)
    assert page is not None
    for cell in test.cells:
        assert cell.circuit is not None
        where, members = f"k={cell.cell['k']}", ", ".join(cell.circuit.lines)
        assert f"{where}: {members}" in told and f"upto at {where}" in page[1] and f"<dd>{members}</dd>" in page[1]


def test_a_ratio_of_two_runs_that_hardly_differ_says_nothing() -> None:
    """Where base and source may be exchanged, their mean difference is 0."""
    text = spec("llama", "outside(c) <- source", "faithfulness(level), recovered(level), level")
    text = text.replace("metric gap", 'metric level = logit("w10")\nmetric gap').replace("n=6", "n=24")
    (cell,) = api.run(api.parse(text)).tests[0].cells
    told = [finding for finding in cell.findings if finding.code == "no_contrast"]
    assert {finding.severity for finding in told} == {"alarm"} and len(told) == 2
    assert any("faithfulness_median(level)" in finding.text for finding in told)
    assert not [f for f in cell.findings if f.code == "circuit_like_random"]
    assert cell.circuit is not None
    compared = {name for name, random in cell.circuit.random.items() if random.as_high is not None}
    assert compared == {"level"} and cell.circuit.random["level"].contrast
    scores = cell.scores["recovered(level)"]
    assert scores.low is not None


@pytest.mark.parametrize(("rows", "where"), [("n=8, seed=1", ""), ("n=6, seed=3", " where base.o != source.o")])
def test_a_ratio_says_nothing_where_the_interval_that_is_reported_has_0(rows: str, where: str) -> None:
    """All that the source gives is put into the base: the change is what the ratio is relative to, and has one interval, whether each
    input occurs once or not."""
    text = spec("llama", "layer[0].resid_pre[all] <- source", "recovered(level), change(level)").replace(
        "n=6, seed=3", rows
    )
    text = text.replace("metric gap", 'metric level = logit("w10")\nmetric gap')
    (cell,) = api.run(api.parse(text.replace(" where base.o != source.o", where))).tests[0].cells
    change = cell.scores["change(level)"]
    assert change.low is not None and change.high is not None and change.low < 0 < change.high
    (told,) = [finding.text for finding in cell.findings if finding.code == "no_contrast"]
    assert f"is {show(change.value)} [{show(change.low)}, {show(change.high)}]: its interval contains 0" in told


@pytest.mark.slow
def test_scores_that_rounding_alone_tells_apart_are_tied() -> None:
    """With the embedding in it, what a circuit writes decides all: necessity is 1 in each circuit of its size."""
    results = api.run(api.parse(contrasted("necessity(gap), faithfulness(gap)")))
    (cell,) = results.tests[0].cells
    assert cell.circuit is not None
    for name in ("necessity(gap)", "faithfulness(gap)"):
        random = cell.circuit.random[name]
        assert random.own == pytest.approx(1, abs=1e-5) and random.as_high == random.as_good == 1, name
        (told,) = like_random(name, "c", random)
        assert "of all 20 random circuits" in told.text and "does not tell it from them" in told.text
        assert f"random circuits of its size: {name} {show(random.own)} in each" in " ".join(report_of(results).split())
    for name in ("faithfulness(gap)", "faithfulness_per_pair(gap)", "faithfulness_median(gap)"):
        one = cell.scores[name]
        assert one.low is not None and one.high is not None and one.low <= 1 <= one.high < 1.001, name


def test_other_averages_are_named_with_the_run_that_they_go_to() -> None:
    """Each score has the averages of its own clean run beside it, by whatever name it is reported."""
    text = spec("llama", "outside(c) <- source", "recovered(gap, clean=one), r, recovered_median(gap, clean=source)")
    text = text.replace("source ~ m(n=6", "source, one ~ m(n=6, controls=none").replace(
        "test t", "metric r = recovered(gap, clean=source)\ntest t"
    )
    (cell,) = api.run(api.parse(text)).tests[0].cells
    rows, own = cell.scores, {"one": "recovered(gap, clean=one)", "source": "r"}
    for run, name in own.items():
        beside = {rows[f"recovered_{kind}(gap, clean={run})"].value for kind in ("per_pair", "median")}
        assert len({rows[name].value, *beside}) == 3, run
    named = [name for name in rows if name.startswith("recovered_")]
    assert len(named) == 4 == len({rows[name].value for name in named})


def test_medians_and_worst_pairs_stand_beside_ratios(tmp_path: Any) -> None:
    text = spec("llama", "outside(c) <- source", "recovered(gap), change(gap), relative_change(gap)")
    results = api.run(api.parse(text.replace("n=6", "n=16, controls=none")))
    (cell,) = results.tests[0].cells
    ratio = {name: cell.scores[f"recovered{name}(gap)"] for name in ("", "_per_pair", "_median")}
    assert len({one.value for one in ratio.values()}) == 3 and all(one.low is not None for one in ratio.values())
    worst = cell.worst["recovered(gap)"]
    assert [one.value for one in worst] == sorted(one.value for one in worst) and len(worst) == 3
    assert worst[0].value <= (ratio["_median"].value or 0)
    assert cell.scores["median(change(gap))"].value is not None
    change = cell.scores["change(gap)"].value or 0
    assert all(np.sign(change) * one.value <= abs(change) for one in cell.worst["change(gap)"])
    shown = report_of(results)
    assert "worst of recovered(gap)" in shown and "w1 " in shown


@pytest.mark.slow
def test_each_score_of_a_circuit_stands_alone_in_a_table_of_pairs(tmp_path: Any) -> None:
    """A score is made from runs of its own; the table of pairs has the metric in the patched run, too."""
    names = [name for name in OF_CIRCUITS if name not in ("cpr", "cmd")]  # these are of a sweep
    text = spec("llama", "c <- source", "NAMED(gap)").replace("n=6", "n=4, controls=none")
    declared, test = text[: text.index("test t on")], text[text.index("test t on") :]
    tests = "".join(test.replace("test t on", f"test {name} on").replace("NAMED", name) for name in names)
    found = api.run(api.parse(declared + tests), api.Options(out=tmp_path))
    (table,) = tmp_path.rglob("pairs.parquet")
    rows = pd.read_parquet(table)
    for result in found.tests:
        own = rows[rows["test"] == result.name]
        assert len(own) == 4 and own["gap"].notna().all(), result.name


@pytest.mark.slow
def test_the_choices_stand_beside_other_numbers_than_scores_of_circuits() -> None:
    """Whatever a test of a circuit measures; of two circuits each has its own; and noise has no halves that are a whole."""
    more = """
circuit d : net { last = layer[2].head[1].z[z], layer[2].mlp_out }
"""
    for action, told in (
        ("outside(c) = clamp(-1, 1)", "value clamp(-1, 1); positions all"),
        ("d <- source", "of its members"),
    ):
        text = (
            spec("llama", action, "change(gap)")
            .replace("test t on", f"{more}test t on")
            .replace("n=6", "n=6, controls=none")
        )
        (cell,) = api.run(api.parse(text)).tests[0].cells
        assert cell.circuit is not None and told in str(cell.circuit.choices) and cell.circuit.size.nodes
        assert not cell.circuit.checks and not cell.circuit.random
    text = spec("llama", "c.mlps = mean, d.last <- source", "change(gap)").replace("test t on", f"{more}test t on")
    (cell,) = api.run(api.parse(text)).tests[0].cells
    choices = [one.text for one in cell.findings if one.code == "choices"]
    assert len(choices) == 2 and "`c.mlps`" in choices[0] and "value mean" in choices[0] and "source" in choices[1]
    text = spec("llama", "outside(d) = noise(std=2)", "faithfulness(gap)").replace("test t on", f"{more}test t on")
    (cell,) = api.run(api.parse(text.replace("n=6", "n=6, controls=none"))).tests[0].cells
    assert cell.circuit is not None and [check.says for check in cell.circuit.checks] == [
        "the full circuit is the clean run"
    ]
    assert all(check.holds for check in cell.circuit.checks)
