"""A pass is cut into blocks of pairs, and these into blocks of interventions, until its peak fits the budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

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
        over = peaks.excess(step, Block(0, 1, parts), budget)
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
