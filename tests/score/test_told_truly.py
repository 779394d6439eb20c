"""From a spec and a network that is written down to what is said of it: each fault by its name, and nothing of a right one."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

import causal_dsl as cd
from causal_dsl.api import Options
from causal_dsl.running.running import run_specs
from causal_dsl.score.results import TestResult

SPEC = """
domain Bit = 0..1
causal pairs {{
  a, b, c, d ~ Bit
  one := a == b
  two := c == d
  output same := one == two
}}
network net = torch("nets.py:{net}")
align at : pairs -> net {{
  a @ input[0:1] via scalar()
  b @ input[1:2] via scalar()
  c @ input[2:3] via scalar()
  d @ input[3:4] via scalar()
  one @ layer[0].out[0]
  same @ logits{dims}
}}
test t on at {{ {test} }}
"""
SWAP = "base, source ~ pairs(n=400, seed=0, balance=[base.one, base.two, source.one]) do(one <- source) report iia"


def spec_of(net: str, test: str = SWAP, dims: str = "") -> cd.Spec:
    """A spec beside the networks, in a folder of its own."""
    folder = Path(tempfile.mkdtemp())
    (folder / "nets.py").write_text(Path(__file__).with_name("nets.py").read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "s.causal").write_text(SPEC.format(net=net, test=test, dims=dims), encoding="utf-8")
    return cd.load(folder / "s.causal")


def run(net: str, test: str = SWAP, dims: str = "") -> TestResult:
    (found,) = run_specs([spec_of(net, test, dims)], Options(trust=True)).tests
    return found


def alarms(found: TestResult) -> set[str]:
    findings = [*found.findings, *(finding for cell in found.cells for finding in cell.findings)]
    return {finding.code for finding in findings if finding.severity == "alarm"}


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize(
    "test",
    [
        SWAP,
        SWAP.replace("400", "2000"),
        SWAP.replace("400", "40"),
        "base, source ~ pairs(exhaustive=true) do(one <- source) report iia",
    ],
)
def test_a_right_one_has_the_full_verdict_and_no_alarm(test: str) -> None:
    found = run("right", test)
    assert found.verdict is not None and found.verdict.code in ("supported", "exact"), found.verdict
    assert not alarms(found)
    assert found.covered == ("2000" in test)


CASES = [
    ("undecided", "unsolved", {"ties", "unsolved"}, ""),
    ("infinite", "inconclusive", {"non_finite", "unmapped_moves"}, ""),
    ("third_class", "inconclusive", {"not_said"}, "[0:2]"),
    ("third_class_where_changed", "inconclusive", {"not_said"}, "[0:2]"),
    ("unheeding", "unsolved", {"unsolved"}, ""),
]


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize(("net", "verdict", "named", "dims"), CASES)
def test_a_fault_is_named(net: str, verdict: str, named: set[str], dims: str) -> None:
    found = run(net, dims=dims)
    assert found.verdict is not None and found.verdict.code == verdict, found.verdict
    assert alarms(found) == named


@pytest.mark.parametrize(("net", "named"), [("one_answer", {"one_answer"}), ("right", set())])
def test_one_answer_to_everything_is_named(net: str, named: set[str]) -> None:
    found = run(net, "base ~ pairs(n=100, seed=0) expect accuracy >= 40%")
    assert found.passed and alarms(found) == named


@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize(
    "draws",
    [
        "base, source ~ pairs(n=4000, seed=0, balance=[base.one, source.a]) where base.a != source.a or base.b == 1",
        "base, source ~ pairs(n=4000, seed=0) where base.a == 1 and base.c == 0 and source.b == 1",
        "base ~ pairs(n=4000, seed=0, balance=[base.same]) source ~ pairs(n=4000, seed=1) where source.a != base.a or source.b != base.b",
    ],
)
def test_all_rows_under_unequal_weights_are_exactly_all(draws: str) -> None:
    """Where no pair is wrong, a share is 1 and not the last float before it."""
    found = run("right", f"{draws} do(one <- source) expect accuracy >= 100% expect iia >= 100% expect moved <= 100%")
    assert found.covered and found.verdict is not None and found.verdict.code == "exact"
    assert found.cell().scores["iia"].value == found.cell().scores["accuracy"].value == 1
    assert all(expectation.passed for expectation in found.expectations) and not alarms(found)


def test_half_of_the_runs_are_ties_and_none_of_them_right() -> None:
    scores = run("undecided").cell().scores
    assert scores["accuracy"].value == scores["iia"].value == 0.5


@pytest.mark.slow
def test_a_value_that_the_site_never_takes() -> None:
    zero = run("leans", "base ~ pairs(n=200, seed=0) do(layer[0].out[2] = 0) report moved")
    assert "outside" in alarms(zero)
    usual = run("leans", "base ~ pairs(n=200, seed=0) do(layer[0].out[2] = mean) report moved")
    assert "outside" not in alarms(usual)
    within = run("leans", "base ~ pairs(n=200, seed=0) do(layer[0].out[0] = 1) report moved")
    assert "outside" not in alarms(within)


@pytest.mark.slow
def test_effects_that_cancel_and_logits_that_move() -> None:
    found = run(
        "drifts", "base ~ pairs(n=400, seed=0, balance=[one]) do(layer[0].out[2] = 0) report change(logit(true))"
    )
    cell = found.cell()
    (finding,) = [finding for finding in cell.findings if finding.code == "cancels"]
    assert "0.500 in mean size" in finding.text and "50%" in finding.text
    assert "some of the compared logits did move" in next(
        finding.text for finding in cell.findings if finding.code == "never_moved"
    )
    still = run("right", "base ~ pairs(n=400, seed=0) do(layer[0].out[3] = 0) report moved").cell()
    assert "no compared logit changed" in next(
        finding.text for finding in still.findings if finding.code == "never_moved"
    )


STILL = "base ~ pairs(n=400, seed=0) do(layer[0].out[{unit}] = {value}) {asks}"


@pytest.mark.thinned(always=2, values=True)
@pytest.mark.parametrize(
    "asks",
    [
        "expect moved <= 0%",
        "expect moved <= 5% expect accuracy >= 90%",
        "expect kl <= 0 nats",
        "expect moved == 0",
        "expect moved <= 0% and accuracy >= 90%",
    ],
)
@pytest.mark.parametrize(("unit", "value"), [(3, "0"), (3, "mean"), (2, "5")])
def test_stillness_that_is_asked_for_is_no_alarm(unit: int, value: str, asks: str) -> None:
    """The fourth unit is not read, and the third is 5 by itself."""
    found = run("right", STILL.format(unit=unit, value=value, asks=asks))
    told = {finding.code: finding.severity for finding in found.cell().findings}
    assert told["never_moved"] == "info" and told.get("changed_nothing", "info") == "info"
    assert not alarms(found) and all(expectation.passed for expectation in found.expectations)


@pytest.mark.thinned(always=2, values=True)
@pytest.mark.parametrize(
    "asks",
    [
        "report moved",
        "expect moved >= 0%",
        "expect moved <= 100%",
        "expect accuracy >= 90%",
        "expect moved <= 0% expect moved >= 20%",
    ],
)
def test_stillness_that_nothing_asks_for_is_an_alarm(asks: str) -> None:
    assert "never_moved" in alarms(run("right", STILL.format(unit=3, value="0", asks=asks)))


def test_stillness_of_an_interchange_is_an_alarm() -> None:
    spare = SWAP.replace("report iia", "expect moved <= 0%")
    found = run("right", spare.replace("do(one <- source)", "do(one <- base)"))
    assert "never_moved" in alarms(found)


def test_stillness_that_another_replacement_ends_is_an_alarm() -> None:
    """Set to zero a unit looks idle, as another steps in; taken from another input it is not."""
    found = run("steps_in", STILL.format(unit=0, value="0", asks="expect moved <= 0%"))
    assert {"never_moved", "replacement_matters"} <= alarms(found)


def test_wrong_answers_without_an_intervention() -> None:
    found = run("unheeding", "base ~ pairs(n=64, seed=0) report accuracy")
    assert found.wrong and found.wrong[0].run == "base"
    (finding,) = [finding for finding in found.findings if finding.code == "wrong_answers"]
    assert "base runs answer wrong" in finding.text and "a = " in finding.text


@pytest.mark.slow
def test_what_is_said_is_kept_for_each_pair(tmp_path: Path) -> None:
    import pandas

    spec = spec_of("third_class", dims="[0:2]")
    (found,) = run_specs([spec], Options(trust=True, out=tmp_path)).tests
    (path,) = tmp_path.rglob("pairs.parquet")
    table = pandas.read_parquet(path)
    assert set(table["network_said"]) == set(table["network_base_said"]) == {"class 2"}
    assert len(table) == found.n
    again = run_specs([spec], Options(trust=True, out=tmp_path)).tests[0]  # from the kept blocks
    assert again.to_json()["cells"] == found.to_json()["cells"]


def test_a_part_of_the_inputs_is_not_called_all() -> None:
    from causal_dsl.report.text import text
    from causal_dsl.score.spec_results import Results, SpecResult

    found = run("right", 'base, source ~ pairs(exhaustive=true, split="test") do(one <- source) report iia')
    assert "all there are in their part of the inputs" in text(Results((SpecResult("s", "", (found,)),)))
    (told,) = [one.text for one in found.findings if one.code == "scope"]
    assert "drawn from are the part `test`: " in told and "feature" not in told, told
