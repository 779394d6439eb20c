"""The scores of a test on a circuit beside the same scores with random circuits in its place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from causal_dsl import api
from causal_dsl.api import Options
from causal_dsl.planning.random_circuits import random_circuits
from causal_dsl.program.circuit_members import listed
from causal_dsl.program.circuit_members import name as name_of
from causal_dsl.report.text import text as report_of
from causal_dsl.score.circuit_results import CircuitResult, RandomCircuits, like_random, random_of
from causal_dsl.score.read_results import spec_result
from tests.engine.test_circuits import spec
from tests.engine.test_edge_circuits import spec as edge_spec
from tests.engine.tiny import folder_of
from tests.thinning import spread

SCORES = "recovered(gap), change(gap), kl, max(gap), prob(o), logit(o) @ layer[2].resid_post[last]"
EDGES = "embed -> layer[0].head[1].q, layer[0].head[1] -> layer[1].mlp_in, layer[1].mlp_out -> logits"


TWO = """
domain W = {"w10", "w11", "w12", "w13", "w14"}
causal m {
  x, y, z ~ W
  output o := if x == y then z else x
  output v := if x == z then y else z
}
network net = hf("FOLDER")
align a : m -> net {
  prompt "{x} w1 {y} w2 {z} w3"
  o @ next_token(among=W)[z]
  v @ next_token(among=W)
}
circuit c : net {
  heads = layer[1].head[1], layer[2].head[0]
  mlps  = layer[0].mlp_out
}
test t on a {
  base, source ~ m(n=6, seed=3)
  do(outside(c) <- source)
  report moved, moved(v), kl(o), change(logit(v) - logit(o))
}
"""


def circuit_in(text: str, options: Options | None = None) -> CircuitResult:
    (cell,) = api.run(api.parse(text), options or Options()).tests[0].cells
    assert cell.circuit is not None
    return cell.circuit


def of_their_own(text: str, number: int) -> Any:
    """The scores of one random circuit as those of a circuit that a spec names."""
    program = api.check(api.parse(text)).program
    assert program is not None
    ablation = program.tests[0].cells[0].circuit
    assert ablation is not None
    members = [name_of(member) for member in listed(random_circuits(ablation, program.tests[0].network.facts)[number])]
    return _named(text, members)


def _named(text: str, members: Sequence[str]) -> Any:
    """The scores of a circuit that has these members."""
    lines = [one if "->" in one else f"g{i} = {one}" for i, one in enumerate(members)]
    named = "circuit other : net {\n  " + "\n  ".join(lines) + "\n}\n"
    own = text.replace("test t on", f"{named}test t on").replace("n=6", "n=6, controls=none")
    for before, after in (("do(outside(c)", "do(outside(other)"), ("do(c", "do(other")):
        own = own.replace(before, after)
    (cell,) = api.run(api.parse(own)).tests[0].cells
    return cell.scores


@pytest.mark.thinned(slow=1)
@pytest.mark.slow
@pytest.mark.parametrize(
    ("made", "action"),
    spread(
        [(spec, "outside(c) <- source"), (spec, "c = mean"), (spec, "c += mean"), (edge_spec, "outside(c) <- source")],
        2,
    ),
)
def test_each_number_is_that_of_the_random_circuit_under_a_name_of_its_own(made: Any, action: str) -> None:
    text = made("llama", action, SCORES)
    circuit = circuit_in(text)
    for number in (3, 19):
        scores = of_their_own(text, number)
        for name in (*SCORES.split(", "), "recovered_median(gap)", "median(change(gap))"):
            found = circuit.random[name]
            assert len(found.values) == 20 and found.better is None and found.as_good is None
            assert found.values[number] == pytest.approx(scores[name].value, abs=1e-4), (name, number)
    assert "accuracy" not in circuit.random  # of the base run
    assert len(circuit.checks) >= 2 and all(check.holds for check in circuit.checks)


@pytest.mark.slow
def test_the_report_and_the_file_have_them_and_other_tests_have_none(tmp_path: Path) -> None:
    """One whose circuit is a cell of a sweep, with a sum of scores; one without controls, one with two actions, one of an empty circuit."""
    text = spec("llama", "c = mean", "change(gap), recovered(gap), sufficiency(gap) - recovered(gap)")
    draw = "base, source ~ m(n=4, seed=3{more}) where base.o != source.o"
    tests = {
        "off": (", controls=none", "c <- source"),
        "two": ("", "c <- source, layer[2].mlp_out[last] <- source"),
        "empty": ("", "outside(c - c) <- source"),
    }
    for name, (more, action) in tests.items():
        text += f"test {name} on a {{\n  {draw.replace('{more}', more)}\n  do({action})\n  report change(gap)\n}}\n"
    (tmp_path / "s.causal").write_text(text)
    results = api.run(api.load(tmp_path / "s.causal"))
    first, *others = results.tests
    assert not any(cell.circuit is not None and cell.circuit.random for one in others for cell in one.cells)
    (cell,) = first.cells
    assert cell.circuit is not None
    random = cell.circuit.random["change(gap)"]
    own = cell.scores["change(gap)"].value
    assert random.own == own and random.range is not None and random.median is not None
    high, low = (sum(v is not None and (v >= own) == up for v in random.values) for up in (True, False))
    assert (random.as_high, random.as_low) == (high / 20, low / 20)
    whole = cell.circuit.random["sufficiency(gap) - recovered(gap)"].values
    parts = (cell.circuit.random[f"{name}(gap)"].values for name in ("sufficiency", "recovered"))
    assert whole == pytest.approx([(one or 0) - (other or 0) for one, other in zip(*parts, strict=True)])
    line = next(
        line for line in report_of(results).splitlines() if line.split()[:1] == ["change(gap)"] and "of 20" in line
    )
    assert line.split()[-6:] == [str(high), "of", "20", str(low), "of", "20"]
    assert "edges by query head" in report_of(results)  # two of which share a key
    told = [f.text for f in cell.findings if f.code == "circuit_among_random"]
    assert any("`change(gap)`" in one for one in told) == (min(high, low) > 1)
    document = results.specs[0].to_json()
    assert spec_result(document).tests[0].cells[0].circuit.random == cell.circuit.random  # type: ignore[union-attr]


@pytest.mark.slow
def test_a_test_of_several_outputs_has_them_too() -> None:
    text = TWO.replace("FOLDER", folder_of("gpt2"))
    circuit = circuit_in(text)
    names = ["moved", "moved(v)", "kl(o)", "change(logit(v) - logit(o))"]
    assert set(names) <= set(circuit.random) and all(check.holds for check in circuit.checks)
    scores = of_their_own(text, 5)
    for name in names:
        assert circuit.random[name].values[5] == pytest.approx(scores[name].value, abs=1e-4), name
    assert len({circuit.random["kl(o)"].values[number] for number in range(20)}) > 3


@pytest.mark.slow
@pytest.mark.parametrize("output", ["o", "v"])
def test_what_one_output_alone_reads_of_the_source_has_them_too(output: str) -> None:
    """No other output reads the run of the source."""
    asked = f"recovered(logit({output})), change(logit({output}))"
    text = TWO.replace("FOLDER", folder_of("gpt2")).replace(
        "moved, moved(v), kl(o), change(logit(v) - logit(o))", asked
    )
    (cell,) = api.run(api.parse(text)).tests[0].cells
    assert cell.circuit is not None
    patched = {name for name in cell.scores if not name.startswith("accuracy")}
    assert len(patched) == 5 and patched <= set(cell.circuit.random)
    document = cell.circuit.to_json()
    assert len(document["random_members"]) == 20
    scores = _named(text, document["random_members"][5])
    for name in patched:
        assert cell.circuit.random[name].values[5] == pytest.approx(scores[name].value, abs=1e-4), name


@pytest.mark.slow
def test_self_checks_are_made_whatever_is_reported_and_attributions_told_of_named_runs() -> None:
    for scores in ("kl", "moved", "attribution(gap) @ layer[1].mlp_out"):
        (test,) = api.run(api.parse(spec("llama", "outside(c) <- source", scores))).tests
        circuit = test.cells[0].circuit
        assert circuit is not None and circuit.random
        told = [check.says for check in circuit.checks if check.holds and check.scale > 0]
        assert told == [
            "the full circuit is the clean run",
            "the circuit and its complement, written together, are the empty circuit",
            "the empty circuit is the run of source",
        ]
        assert {one.run for one in test.attributions} == ({"patched"} if "attribution" in scores else set())


FEW = {"embed": 0, "layer[1].mlp_out": 2, "embed, layer[all].head[all], layer[0:2].mlp_out": 2, "layer[0].head[0]": 11}


@pytest.mark.parametrize("members", FEW)
def test_random_circuits_are_distinct_and_few_are_all_there_are(members: str) -> None:
    text = spec("llama", "c <- source", "kl")
    made = text[: text.index("circuit c")] + f"circuit c : net {{\n  g = {members}\n}}\n" + text[text.index("test t") :]
    program = api.check(api.parse(made)).program
    assert program is not None
    ablation = program.tests[0].cells[0].circuit
    assert ablation is not None
    drawn = random_circuits(ablation, program.tests[0].network.facts)
    sets = {frozenset(map(name_of, listed(one))) for one in (ablation.members, *drawn)}
    assert len(sets) == 1 + len(drawn) and len(drawn) == FEW[members]


def test_of_few_circuits_there_is_no_finding_and_none_of_a_ratio_without_contrast() -> None:
    values = [float(value) for value in range(20)]
    assert random_of(9.5, values, None).among and not random_of(9.5, values[:19], None).among
    assert like_random("f", "`c`", random_of(1.0, values)) and not like_random("f", "`c`", random_of(1.0, values[:19]))
    silent = random_of(9.5, values).uncompared()
    assert silent.as_good is silent.as_high is silent.as_low is None and not silent.among and not silent.alike
    assert not like_random("f", "`c`", silent) and silent.to_json()["no_contrast"]


def test_among_is_two_sided_and_ties_count_on_both_sides() -> None:
    values = [float(value) for value in range(20)]
    assert not random_of(-1.0, values, None).among and not random_of(18.5, values, None).among
    assert random_of(0.5, [*values, 0.5], None).among  # a tie is as high and as low
    middle = random_of(9.5, [*values, None], None)
    assert (middle.as_high, middle.as_low, middle.median, middle.known) == (0.5, 0.5, 9.5, 20)
    assert random_of(1.0, [1.0 + 1e-7] * 20, None).alike
    tiny = random_of(1e-9, [2e-9] * 20, None, scale=2e-9)  # as probabilities are
    assert not tiny.among and not tiny.alike and tiny.as_low == 0
    assert random_of(None, values, None) == RandomCircuits(tuple(values), None, None, None, None)
