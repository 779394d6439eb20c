"""A pass is cut into blocks of pairs, and these into blocks of interventions, until its peak fits the budget and none takes long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from causal_dsl.planning.cost import MOST_COUNTED
from causal_dsl.planning.graph import DrawNode, Forward
from causal_dsl.planning.long_blocks import parts_of_long
from causal_dsl.planning.memory import Budget
from causal_dsl.planning.peak import Peaks
from causal_dsl.planning.probe_rows import is_small
from causal_dsl.planning.steps import Block, Step
from causal_dsl.program.identity import NetworkKey

if TYPE_CHECKING:
    from causal_dsl.planning.plan import Plan

#: A draw is short that has no more than this share of the pairs of the longest.
_SHORT = 1 / 16


def chunk_to_memory(plan: Plan, budgets: Mapping[NetworkKey, Budget]) -> Plan:
    """Steps with the blocks that keep them within the budget of their network, as few as that takes; those that take long are cut
    further (:mod:`causal_dsl.planning.long_blocks`)."""
    peaks = Peaks(plan)
    steps: list[Step] = []
    for step in plan.steps:
        budget, apart = budgets[step.network], _by_length(plan, step)
        whole = not apart or not (peaks.too_many(step, budget) or peaks.excess(step, Block(), budget) > 1)
        steps += [_chunked(plan, one, budget, peaks) for one in ((step,) if whole else apart)]
    return replace(plan, steps=tuple(steps))


def _by_length(plan: Plan, step: Step) -> tuple[Step, ...]:
    """The runs of the long draws and of the short ones as two steps, where rows cost next to nothing: there an intervention takes its
    time in every block, however few of its pairs are in it. Nothing where all draws are of one kind."""
    if not is_small(plan.inputs[step.network]):
        return ()
    most = max(plan.drawn[run.draw].n for run in _bases(step))

    def is_short(draw: DrawNode) -> bool:
        return plan.drawn[draw].n <= _SHORT * most

    if not any(is_short(run.draw) for run in _bases(step)):
        return ()
    return tuple(
        replace(
            step,
            forwards=tuple(run for run in step.forwards if is_short(run.draw) == short),
            resumes=tuple(run for run in step.resumes if is_short(run.base.draw) == short),
        )
        for short in (False, True)
    )


def _bases(step: Step) -> tuple[Forward, ...]:
    return (*step.forwards, *(resume.base for resume in step.resumes))


def _chunked(plan: Plan, step: Step, budget: Budget, peaks: Peaks) -> Step:
    draws = {run.draw for run in _bases(step)}
    most = max((plan.drawn[draw].n for draw in draws), default=1)
    parts = 1
    while True:
        over = max(peaks.excess(step, block, budget) for block in _largest(parts))
        if over <= 1 and parts < most:
            rest = [block for block in _some(parts) if block not in _largest(parts)]
            over = max((peaks.excess(step, block, budget) for block in rest), default=over)
        if over <= 1 or parts >= most:
            break
        parts = min(most, max(parts + 1, int(parts * over)))
    parts = parts_of_long(plan, step, parts, most, budget, peaks)
    blocks = []
    for part in range(parts):
        stack = [Block(part, part + 1, parts)]
        while stack:
            block = stack.pop()
            halves = None
            if parts >= most and len(step.resumes) > 1 and peaks.excess(step, block, budget) > 1:
                halves = block.halves(len(step.resumes), 1)
            if halves is None:
                blocks.append(block)
            else:
                stack += reversed(halves)
    return replace(step, blocks=tuple(blocks))


def _largest(parts: int) -> list[Block]:
    """Of equal parts the first, which has the bases of the noise floor as well, and the last: where the pairs cannot be
    shared out evenly, the last has one more of every draw than the first."""
    return [Block(part, part + 1, parts) for part in sorted({0, parts - 1})]


def _some(parts: int) -> list[Block]:
    """Parts as they are counted: a block whose prompts are longer, or less often shared, takes more than another."""
    numbers = range(parts) if parts <= MOST_COUNTED else np.unique(np.linspace(0, parts - 1, MOST_COUNTED).astype(int))
    return [Block(int(part), int(part) + 1, parts) for part in numbers]
