"""The memory of a pass for what is read at places, beside the vectors there: rows of logits, and copies that are kept of all pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from causal_dsl.planning.memory import MOST_LOGITS_CPU, MOST_LOGITS_DEVICE, Budget
from causal_dsl.planning.pass_layout import Layout
from causal_dsl.program.components import width
from causal_dsl.vocabulary.network_facts import Facts
from causal_dsl.vocabulary.readings import READINGS

if TYPE_CHECKING:
    from causal_dsl.planning.plan import Plan

#: Rows of logits that a lens makes at once, at least.
LENS_ROWS = 64
#: For each logit that is measured: a float64 copy of it, and one of its log probability; for each that is made: itself, and what the
#: network does to it.
_MEASURED, _MADE = 4, 2


def rows_of_logits(most: int, facts: Facts, budget: Budget) -> int:
    """How many numbers the logits of a lens are that are looked at at once, of ``most`` vectors."""
    outputs = facts.outputs or 1
    together = MOST_LOGITS_CPU if budget.on_cpu else MOST_LOGITS_DEVICE
    step = max(1, together // outputs)
    return outputs * (_MEASURED * min(most, step) + _MADE * min(most, max(step, LENS_ROWS)))


def looks_held(plan: Plan, layout: Layout, facts: Facts, budget: Budget) -> list[int]:
    """The numbers that are held once the pass is through: of the lens that takes most, and of what is kept of all pairs."""
    lens, kept = 0, 0
    for test in plan.tests:
        for score in plan.scores[test.name]:
            for _, read in score.reads:
                for looked in read.looks:
                    watch = layout.watches.get((read.run, looked.look.places[0]))
                    if watch is None:
                        continue
                    kind = looked.look.kind
                    if kind in ("stream", "normed", "tuned_lens"):
                        lens = max(lens, rows_of_logits(len(watch.rows), facts, budget))
                    elif kind in READINGS and READINGS[kind].of == "pairs":
                        kept += len(watch.at) * (width(looked.look.places[0].site, facts) or facts.width or 1)
    return [number for number in (lens, kept) if number]


__all__ = ["LENS_ROWS", "looks_held", "rows_of_logits"]
