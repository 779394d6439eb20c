"""What rides beside a test: which rows, which units, and what they cost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import causal_dsl as cd
from causal_dsl.planning.cost import work_of
from causal_dsl.planning.plan import Plan
from causal_dsl.program.probed import Replaced, Unmapped

MODEL = """
domain Shape = {"arrow", "circle", "cross", "diamond", "heart"}
causal equality {
  a, b, c, d, e ~ Shape
  left  := a == b
  right := c == d
  output same := left == right
}
network net = zoo("equality-gpt2")
align at(l in 0:3, p in [b, d]) : equality -> net {
  prompt "{a} {b} {c} {d} ="
  left @ layer[1].resid_post[b]
  PLACED
  same @ next_token
}
test claim on at(l=0, p=b) {
  base, source ~ equality(n=200, seed=0CONTROLS)
  DO
  report accuracy
}
"""


def plan(placed: str = "", do: str = "do(left <- source)", controls: str = "") -> Plan:
    return cd.plan(cd.parse(MODEL.replace("PLACED", placed).replace("DO", do).replace("CONTROLS", controls)))


RIGHT = "right @ layer[1].resid_post[last]"


def test_where_all_is_placed_any_other_run_will_do() -> None:
    made = plan(RIGHT)
    probes = [test for test in made.tests if test.probe is not None]
    assert [type(test.probe) for test in probes] == [Unmapped]
    probe = probes[0].probe
    assert (probe.why, probe.placed) == ("decided", ("left", "right"))
    everything, *parts = probe.units
    assert everything == (0, 2, 3)  # of the five tokens those that are neither `left`'s nor `right`'s
    assert sorted(parts) == [(0,), (0, 2), (0, 3), (2,), (2, 3), (3,)]  # all sets of so few
    assert {(0,), (2,), (3,)} <= set(probe.units)


def test_what_else_counts_is_kept() -> None:
    # `right` is placed nowhere: only what the answer does not depend on may be another one
    probes = [test for test in plan().tests if test.probe is not None]
    assert [test.probe.why for test in probes] == ["idle"]
    assert {test.probe.varied for test in probes} == {("e",)}
    drawn = probes[0].given
    assert drawn is not None
    for name in ("a", "b", "c", "d"):
        assert (drawn.values["base"][name] == drawn.values["other"][name]).all()
    assert (drawn.values["base"]["e"] != drawn.values["other"]["e"]).all()


def test_other_runs_are_other_inputs() -> None:
    drawn = next(test.given for test in plan(RIGHT).tests if test.probe is not None)
    assert drawn is not None
    assert (drawn.ids["base"] != drawn.ids["other"]).all()


@pytest.mark.parametrize(
    "do", ["do(left <- source)", "do(layer[1].resid_post[b] = 0)", "do(layer[1].resid_post[b] = mean)"]
)
def test_they_cost_at_most_a_fifth(do: str) -> None:
    made = plan(RIGHT, do)
    work = work_of(made)
    with_probes = [test for test in made.tests if test.probe is not None]
    assert with_probes
    runs = {kind: set() for kind in ("probe", "own")}  # type: ignore[var-annotated]
    for test in made.tests:
        for node in made.scores[test.name]:
            for _, read in node.reads:
                runs["probe" if test.probe is not None else "own"].add(read.run)
    inputs = {index for run in made.rows for index in made.rows[run].tolist()}
    own = sum(work[run].layer_tokens for run in runs["own"] if type(run).__name__ == "Resume")
    beside = sum(work[run].layer_tokens for run in runs["probe"] if type(run).__name__ == "Resume")
    unpatched = len(inputs) * 5 * 3
    assert beside <= 0.2 * (own + unpatched)


def test_controls_none_leaves_them_out() -> None:
    assert not [test for test in plan(RIGHT, controls=", controls=none").tests if test.probe is not None]


@pytest.mark.parametrize(
    ("do", "names"),
    [("do(layer[1].resid_post[b] = 0)", ("mean", "resample")), ("do(layer[1].resid_post[b] = mean)", ("resample",))],
)
def test_ablations_have_others_beside_them(do: str, names: tuple[str, ...]) -> None:
    probes = [test.probe for test in plan(RIGHT, do).tests if test.probe is not None]
    assert [type(probe) for probe in probes] == [Replaced]
    assert {probe.names for probe in probes} == {names}
    assert all(len(np.unique(probe.rows)) == len(probe.rows) for probe in probes)


@pytest.mark.parametrize(
    ("written", "own", "names"),
    [
        ("+= 2", "put", ("resample", "anew")),
        ("= 2 * current", "put", ("resample", "anew")),
        ("= noise(std=1)", "put", ("resample",)),
        ("= 2", "written", ("mean", "resample")),
        ("= 0.5 * current", "written", ("mean", "resample", "anew")),
        ("= mean - mean", "written", ("mean", "resample")),
    ],
)
def test_what_is_written_otherwise_has_its_own_beside_it(written: str, own: str, names: tuple[str, ...]) -> None:
    made = plan(RIGHT, f"do(layer[1].resid_post[b] {written})").tests
    assert [(t.probe.own, t.probe.names) for t in made if isinstance(t.probe, Replaced)] == [(own, names)]


def test_a_feature_at_the_layer_leaves_the_rest_undecided() -> None:
    made = plan("right @ layer[1].resid_post[last] via rotation(dim=1, n=64, epochs=1)")
    assert not [test for test in made.tests if isinstance(test.probe, Unmapped)]


def test_the_plan_says_what_they_cost() -> None:
    told = plan(RIGHT).text()
    assert "units that no variable claims, taken from other inputs" in told
    assert "other values at the same places" in plan(RIGHT, "do(layer[1].resid_post[b] = 0)").text()


def test_a_probe_is_a_test_of_its_own() -> None:
    made = plan(RIGHT)
    for test in made.tests:
        if test.probe is not None:
            assert test.control[0] == "claim" and not test.swaps
            assert replace(test, name="").given is test.given


@pytest.mark.parametrize("place", ["layer[1].resid_post[p]", "layer[1].resid_post[b]"])
def test_what_a_sweep_moves_about_is_not_claimed(place: str) -> None:
    # where `right` is looked for at p, or where `left` is claimed to be, it is not said to be, too
    made = plan(f"right @ {place}")
    assert [test.probe.why for test in made.tests if test.probe is not None] == ["idle"]
