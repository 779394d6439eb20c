"""What would ride beside a test is named where it cannot: a place of the test is not in the prompts that it would run."""

from __future__ import annotations

from dataclasses import replace

import causal_dsl as cd
from causal_dsl.diagnostics import Diagnostics
from causal_dsl.planning.lower import make_plan
from causal_dsl.planning.written_apart import unwritten
from causal_dsl.program.tokens import Tokens
from causal_dsl.score.untried_findings import unplaced_finding

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


def test_an_ablation_of_places_of_other_lengths_says_that_it_is_held_against_nothing() -> None:
    text = SPEC.replace("where base.k == 0", "").replace('["="]', "[0:last]").split("test other")[0]
    result = cd.run(cd.parse(text))["ablated"]
    assert result.cell().replaced is None
    told = [f.text for f in result.findings if f.code == "not_tried"]
    assert told == [
        "No other values were written at the places of this test, because a place has more tokens in one prompt than in another, "
        "or is missing from one."
    ]
    one = cd.run(cd.parse(text.replace("m(n=64, seed=1)", "m(n=128, seed=1) where base.k == 0")))["ablated"]
    assert one.cell().replaced is not None and not [f for f in one.findings if f.code == "not_tried"]


def test_variables_that_cannot_be_taken_from_another_source_are_named() -> None:
    text = SPEC.split("test ablated")[0].replace("output same := a == b", "p := a\n  q := b\n  output same := p == q")
    text = text.replace(
        "  same @ next", "  p @ layer[0].resid_post[a(1)]\n  q @ layer[0].resid_post[b(1)]\n  same @ next"
    )
    text += (
        "test both on al {\n  base, source ~ m(n=256, seed=1) WHERE\n  do(p <- source, q <- source)\n  report iia\n}\n"
    )

    def found(where: str) -> tuple[str, str]:
        checked = cd.check(cd.parse(text.replace("WHERE", where)))
        assert checked.plan is not None, checked.diagnostics
        test = checked.plan.tests[0]
        return unwritten(checked.plan, test, test.cells[0])

    assert found("where base.k == source.k") == (
        "from different sources",
        "the prompts differ in their number of tokens",
    )
    assert found("where base.k == 0 and source.k == 0") == ("", "")
