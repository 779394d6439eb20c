"""A method that finds circuits is one function and its record: a check, a plan, its cost, a run and the report follow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from causal_dsl import api
from causal_dsl.diagnostics import SpecError
from causal_dsl.discovery.exact_effects import bare_of
from causal_dsl.discovery.part_scores import Scored
from causal_dsl.discovery.search_methods import CircuitSearch
from causal_dsl.discovery.stability import Found
from causal_dsl.planning.work_before import searches_of
from causal_dsl.vocabulary.discovery_methods import METHODS, Method
from causal_dsl.vocabulary.settings import Setting
from tests.engine.tiny import spec_of

MORE = """
circuit late : net = discover(nodes, method=depth(threshold=1))
circuit two : net = discover(nodes, method=depth(threshold=1, times=2), keep=2, by=signed)
metric gap = logit(o) - logit(source.o)
test t on a(l=0, p=last) {
  base, source ~ m(n=12, seed=3, controls=none) where base.template == source.template
  do(outside(late) <- source)
  report faithfulness(gap)
}
test u on a(l=0, p=last) {
  base, source ~ m(n=12, seed=3, controls=none) where base.template == source.template
  do(outside(two) <- source)
  report faithfulness(gap)
}
"""
DEPTH = Method(
    "depth",
    "the number of its layer",
    f"{__name__}:by_depth",
    (("depth(threshold=t)", "the number of its layer", "none"),),
    lambda settings: f"no passes, {settings['times']} times,",
    lambda parts, settings: 7 * parts,
    effects=False,
    settings={"threshold": Setting("number", required=True), "times": Setting("int", default=1, low=1)},
    decides=True,
    ranked=True,
    left="lie in layer KEEP or later",
    whole_kinds=("takes kinds", "have no depth"),
)


def by_depth(search: CircuitSearch) -> Found:
    """Scores that need no run: the layer of each node."""
    times = dict(search.discovery.settings)["times"]
    layers = [float(times * bare_of(part).layer) for part in search.parts]  # type: ignore[union-attr]
    return search.found(Scored(search.parts, np.array([layers]), np.ones(1), (0.0, 0.0), (0.0, 0.0)))


def test_a_method_is_one_function_and_its_record(monkeypatch: pytest.MonkeyPatch) -> None:
    text = spec_of("llama", MORE)
    with pytest.raises(SpecError) as unknown:
        api.plan(api.parse(text))
    assert unknown.value.code == "E825" and "`eap_ig`" in str(unknown.value)
    monkeypatch.setitem(METHODS, "depth", DEPTH)  # type: ignore[arg-type]
    api.check(api.parse(text)).raise_errors()
    plan = api.plan(api.parse(text))
    assert "by depth(threshold=1, times=1): no passes, 1 times, over 12 pairs of the fit part" in plan.text()
    monkeypatch.setitem(METHODS, "depth", replace(DEPTH, work=lambda parts, settings: 21 * parts))  # type: ignore[arg-type]
    one, other = (next(searches_of(each)).flops for each in (plan, plan))
    assert one == other > 0
    monkeypatch.setitem(METHODS, "depth", DEPTH)  # type: ignore[arg-type]
    assert one == 3 * next(searches_of(plan)).flops
    results = api.run(api.parse(text))
    late, two = (test.cells[0].circuit for test in results.tests)
    assert late is not None and two is not None
    for circuit, times in ((late, 1), (two, 2)):
        scores = circuit.found[0].scores
        assert scores["layer[2].mlp_out"] == 2 * times and scores["embed"] == -times
    assert set(late.lines) == {name for name, score in late.found[0].scores.items() if score >= 1}
    assert len(two.lines) == 2 and all(line.startswith("layer[2]") for line in two.lines)
    told = results.text()
    assert f"{len(late.lines)} of {len(late.found[0].scores)} nodes lie in layer 1.000 or later" in " ".join(
        told.split()
    )
    named = text.replace("method=depth(threshold=1))", "method=depth(threshold=1), among=two)")
    (fault,) = api.check(api.parse(named)).errors
    assert fault.code == "E803" and "`depth` takes kinds, and not of a circuit" in fault.title
