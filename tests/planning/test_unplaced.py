"""What would ride beside a test is named where it cannot: a place of the test is not in the prompts that it would run."""

from __future__ import annotations

from dataclasses import replace

import causal_dsl as cd
from causal_dsl.diagnostics import Diagnostics
from causal_dsl.planning.lower import make_plan
from causal_dsl.program.tokens import Tokens
from causal_dsl.score.unmapped import unplaced_finding

SPEC = """
domain Shape = {"arrow", "circle", "cross"}
causal m {
  a, b ~ Shape
  k ~ 0..1
  output same := a == b
}
network net = zoo("equality-gpt2")
align al : m -> net {
  prompt "{a} {b} {a} {b} =" where k == 0
  prompt "{a} {b} {a} {b}" where k == 1
  same @ next_token
}
test ablated on al {
  base ~ m(n=64, seed=1) where base.k == 0
  do(layer[0].resid_post["="] = 0)
  report accuracy
}
test other on al {
  base ~ m(n=64, seed=1) where base.k == 1
  report accuracy
}
"""


def test_a_probe_without_the_place_is_left_out_by_name() -> None:
    checked = cd.check(cd.parse(SPEC))
    assert checked.plan is not None and checked.program is not None, checked.diagnostics
    test, other = checked.program.tests
    rows = checked.plan.draw_of(other)
    beside = replace(test, name="ablated: beside", given=rows, draws="others", control=("ablated", "beside"))
    tokens = checked.plan.inputs[test.network.key].tokens
    assert isinstance(tokens, Tokens)
    plan = make_plan(checked.program, [test], lambda network: tokens, Diagnostics(), beside=lambda plan: [beside])
    assert [one.name for one in plan.unplaced] == ["ablated: beside"]
    assert [one.name for one in plan.tests] == ["ablated"]
    finding = unplaced_finding([one.name for one in plan.unplaced])
    assert finding.code == "not_tried" and finding.text.startswith("`ablated: beside` was not run beside this test")
