"""How far a run is, in layer-tokens: each block has its part of the total, whatever its passes count.

Passes may count more than was planned, as whole forward passes and further tokens of an answer do, or less, as a block does
that is found in the store. So a block tells no more than its part, and when it is done, all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from causal_dsl.planning import graph as g
from causal_dsl.planning.liveness import schedule
from causal_dsl.planning.noise_floor import floor_rows
from causal_dsl.planning.peak import MOST_ROWS
from causal_dsl.planning.plan import Plan
from causal_dsl.planning.rows import Layouts
from causal_dsl.planning.steps import Block, Step, layers_of


class BlockProgress:
    """``tick`` hears of layer-tokens that are done, in all as many as ``total``."""

    def __init__(self, plan: Plan, total: int, tick: Callable[[int], None]):
        every = [(number, block) for number, step in enumerate(plan.steps) for block in step.blocks]
        rows = [_rows(plan, plan.steps[number], block) for number, block in every]
        self._tick, self._parts, self._room = tick, {}, 0
        before, done = 0, 0
        for one, own in zip(every, rows, strict=True):
            done += own
            until = total * done // sum(rows)
            self._parts[one], before = until - before, until

    def begin(self, number: int, block: Block) -> None:
        """A block of a step begins."""
        self._room = self._parts.pop((number, block), 0)

    def __call__(self, tokens: int) -> None:
        told = min(tokens, self._room)
        self._room -= told
        self._tick(told)

    def end(self) -> None:
        """The block is done."""
        self(self._room)


def _rows(plan: Plan, step: Step, block: Block) -> int:
    here = step.resumes[block.first : block.last]
    return 1 + sum(len(block.pairs(plan.drawn[resume.base.draw].n)) for resume in here)


def floor_tokens(plan: Plan, floors: Mapping[g.Resume, g.Resume]) -> int:
    """The layer-tokens that the noise floor takes beside those of a plan: the base patched into itself on a few pairs. Of so many
    rows that they are counted in part, they do not matter, and are left out."""
    layouts, found = Layouts(plan), 0
    for step in plan.steps:
        for block in step.blocks:
            here = [resume for resume in step.resumes[block.first : block.last] if resume in floors]
            if block.start or step.why or not here or _rows(plan, step, block) > MOST_ROWS:
                continue
            extra = {floors[resume]: floor_rows(plan.drawn[resume.base.draw].n) for resume in here}
            layers = layers_of(plan.inputs[step.network].facts)
            with_it, without = (
                schedule(layouts.make(step, block, more, watch=True).rows, layers, step.rules).layer_tokens
                for more in (tuple(extra.items()), ())
            )
            found += with_it - without
    return found


__all__ = ["BlockProgress", "floor_tokens"]
