"""Blocks whose pairs are laid out alike are of one size: what is remembered of one is what each of them takes when it is laid out."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

import causal_dsl as cd
from causal_dsl.planning import alike_blocks
from causal_dsl.planning.chunk_to_memory import chunk_to_memory
from causal_dsl.planning.cost import work_of
from causal_dsl.planning.memory import Budget
from causal_dsl.planning.peak import Peaks
from causal_dsl.planning.plan import Plan, Remembered
from causal_dsl.planning.steps import Block, Step

#: Prompts of several lengths, some of which two runs share, and places whose tokens differ from prompt to prompt.
SPEC = """
causal names {
  first, second ~ {"Mary", "John", "Tom", "Constantinople"} where first != second
  subject ~ {first, second}
  output answer := if subject == first then second else first
}
network small = zoo("smollm2-135m-instruct-q4")
align tau(l in [3, 17]) : names -> small {
  prompt "Then {first} and {second} went. {subject} gave it to" where subject == first
  prompt "{second} and {first} went to the shop, and {subject} gave it to" where subject != first
  subject @ layer[l].resid_post[subject]
  first   @ layer[l].mlp_out[first.last]
  answer  @ next_token
}
test moved on tau {
  base, source ~ names(n=40, seed=0)
  do(subject <- source)
  report iia, norm @ layer[5].resid_post[subject]
}
test other on tau(l=3) {
  base, source ~ names(n=16, seed=1)
  do(first <- source)
  report iia
}
"""
pytestmark = pytest.mark.slow
#: Less than one pair of all interventions takes.
BUDGET = Budget(12_000_000)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return cd.plan(cd.parse(SPEC))


def forgetful(plan: Plan) -> Plan:
    return replace(plan, sizes=Remembered())


def cut(plan: Plan) -> Plan:
    return chunk_to_memory(forgetful(plan), dict.fromkeys(plan.networks, BUDGET))


def test_few_blocks_are_laid_out_and_each_is_of_the_size_that_is_remembered(plan: Plan) -> None:
    made = cut(plan)
    peaks, kinds = Peaks(forgetful(made)), Counter[object]()
    for step in made.steps:
        for block in step.blocks:
            kinds[peaks.pairs(step, block), block.first, block.last] += 1
            assert peaks.figures(step, block, BUDGET) == peaks.figures_of(step, peaks.size(step, block), BUDGET)
    assert 10 < len(kinds) < 0.75 * kinds.total()


def test_a_plan_is_cut_and_counted_as_if_every_block_were_laid_out(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    made, work = cut(plan), work_of(cut(plan))

    def own(self: alike_blocks.AlikeBlocks, step: Step, block: Block) -> alike_blocks.PairsAsked:
        return block.start, block.stop, block.of

    monkeypatch.setattr(alike_blocks.AlikeBlocks, "pairs", own)
    assert made.steps == cut(plan).steps
    assert work == work_of(cut(plan))
