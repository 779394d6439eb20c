"""A pass is cut into blocks of pairs, and these into blocks of interventions, until its peak fits the budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from causal_dsl.planning.cost import MOST_COUNTED
from causal_dsl.planning.memory import Budget
from causal_dsl.planning.peak import Peaks
from causal_dsl.planning.plan import Plan
from causal_dsl.planning.steps import Block, Step
from causal_dsl.program.identity import NetworkKey


def chunk_to_memory(plan: Plan, budgets: Mapping[NetworkKey, Budget]) -> Plan:
    """Steps with the blocks that keep them within the budget of their network; as few as that takes."""
    peaks = Peaks(plan)
    return replace(plan, steps=tuple(_chunked(plan, step, budgets[step.network], peaks) for step in plan.steps))


def _chunked(plan: Plan, step: Step, budget: Budget, peaks: Peaks) -> Step:
    draws = {run.draw for run in (*step.forwards, *(resume.base for resume in step.resumes))}
    most = max((plan.drawn[draw].n for draw in draws), default=1)
    parts = 1
    while True:
        over = max(peaks.excess(step, block, budget) for block in _largest(parts))
        if over <= 1 and parts < most:
            over = max(peaks.excess(step, block, budget) for block in _some(parts))
        if over <= 1 or parts >= most:
            break
        parts = min(most, max(parts + 1, int(parts * over)))
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
