"""The peak of a pass of very many rows, predicted from a part of its pairs: also where one of its draws has few."""

from __future__ import annotations

import pytest

import causal_dsl as cd
from causal_dsl.planning import peak
from causal_dsl.planning.memory import Budget
from causal_dsl.planning.steps import Block
from causal_dsl.planning.work_units import units_of_plan

SPEC = """
domain Shape = 0..3
causal equality {
  a, b, c, d ~ Shape
  left := a == b
  output same := left == (c == d)
}
network mlp = zoo("equality-relu")
align halves(i in 0:4) : equality -> mlp {
  a @ input[0:4] via onehot()
  b @ input[4:8] via onehot()
  c @ input[8:12] via onehot()
  d @ input[12:16] via onehot()
  left @ layer[1].out[i]
  same @ logits
}
test t on halves {
  base, source ~ equality(n=20000, seed=0)
  do(left <- source)
  report iia
}
"""


def test_a_part_stands_for_the_whole_beside_draws_of_few_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = cd.plan(cd.parse(SPEC))
    (step,) = plan.steps
    pairs = {plan.drawn[resume.base.draw].n for resume in step.resumes}
    assert min(pairs) < max(pairs) / 50  # controls have fewer
    monkeypatch.setattr(peak, "MOST_ROWS", 10**9)
    whole = peak.Peaks(plan)
    exact = whole.held(step, whole.size(step, Block()), Budget(10**12)).taken
    assert whole.size(step, Block()).share == 1
    monkeypatch.setattr(peak, "MOST_ROWS", 100)
    monkeypatch.setattr(peak, "VERY_MANY_ROWS", 1000)
    parts = peak.Peaks(plan)
    assert parts.size(step, Block()).share > 10
    # a part shares fewer of its prompts than the whole: it is never taken for less, and not for much more
    assert 0.95 * exact <= parts.held(step, parts.size(step, Block()), Budget(10**12)).taken <= 1.75 * exact


def test_the_work_of_a_block_that_is_sized_by_a_part_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = cd.plan(cd.parse(SPEC.replace("20000", "2000")))
    monkeypatch.setattr(peak, "MOST_ROWS", 10**9)
    exact = sum(unit.flops for unit in units_of_plan(plan, "s.causal", {}))
    monkeypatch.setattr(peak, "MOST_ROWS", 500)
    monkeypatch.setattr(peak, "VERY_MANY_ROWS", 500)
    # a part shares fewer of its prompts and equal pairs than the whole
    assert exact <= sum(unit.flops for unit in units_of_plan(plan, "s.causal", {})) <= 2 * exact


def test_a_step_of_too_many_rows_is_known_without_its_layout() -> None:
    plan = cd.check(cd.parse(SPEC.replace("20000", "2000"))).plan
    assert plan is not None
    (step,) = plan.steps
    peaks, known = peak.Peaks(plan), []
    for most in (50, 4000, 10**9):
        budget = Budget(10**15, most_tokens=most)
        known.append(peaks.too_many(step, budget))
        assert not known[-1] or peaks.excess(step, Block(), budget) > 1
    assert known[0] and not known[-1]
