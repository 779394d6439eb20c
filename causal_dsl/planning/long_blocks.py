"""Blocks that memory would allow, and that take long, are cut further: else a sweep is one piece of work, and no second worker helps.

The plan alone decides it. A block stays so large that what it takes for each intervention beside the matrix products, and for reading
the weights, is next to nothing, and it is not cut where pairs share so many prompts that the parts together are more work.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from causal_dsl.planning.flops import flops_of
from causal_dsl.planning.memory import Budget
from causal_dsl.planning.peak import Peaks, columns_of
from causal_dsl.planning.probe_rows import is_small
from causal_dsl.planning.steps import Block, Step, early_means, layers_of
from causal_dsl.program.weights_held import STREAMED

if TYPE_CHECKING:
    from causal_dsl.planning.plan import Plan

#: Multiplications and additions of a block beyond which it is long: about a second of a thread, and of a GPU.
LONG_CPU, LONG_DEVICE = 5e10, 5e13
#: And of each intervention of it, at least: what a block takes for one beside them is a fiftieth of that (`python -m benchmarks.cutting`).
EACH_CPU, EACH_DEVICE = 5e9, 5e12
#: Tokens that each layer of a block runs on average, at least.
LEAST_CPU, LEAST_DEVICE = 1_024, 16_384
#: How much more work the parts may be than the whole.
MORE = 0.01


def parts_of_long(plan: Plan, step: Step, parts: int, most: int, budget: Budget, peaks: Peaks) -> int:
    """Of how many parts a step of ``parts`` is to be, at most ``most``: more where blocks are long otherwise."""
    inputs = plan.inputs[step.network]
    if parts >= most or is_small(inputs) or _streamed(plan, step):
        return parts
    long, each, least = (LONG_CPU, EACH_CPU, LEAST_CPU) if budget.on_cpu else (LONG_DEVICE, EACH_DEVICE, LEAST_DEVICE)
    long = max(long, each * len(step.resumes))
    whole, tokens = _work(plan, step, parts, budget, peaks)
    if whole <= parts * long:
        return parts
    passes = len(step.resumes) + len(step.forwards) if step.why else 1
    room = tokens / (max(1, layers_of(inputs.facts)) * passes * least)
    wanted = min(most, int(whole / long), int(room))
    while wanted > parts:
        if _work(plan, step, wanted, budget, peaks)[0] <= whole * (1 + MORE):
            return wanted
        wanted = wanted * 3 // 4
    return parts


def _streamed(plan: Plan, step: Step) -> bool:
    """Whether each block reads all weights of its network from their files."""
    ref = plan.networks.get(step.network)
    return ref is not None and ref.held == STREAMED


def _work(plan: Plan, step: Step, parts: int, budget: Budget, peaks: Peaks) -> tuple[float, float]:
    """Multiplications and additions of a step in so many parts, and its layer-tokens; a few parts stand for all."""
    facts, columns = plan.inputs[step.network].facts, columns_of(plan, step)
    chosen = sorted({0, parts // 2, parts - 1})
    flops, tokens = [], []
    for part in chosen:
        size, _ = peaks.figures(step, Block(part, part + 1, parts), budget)
        flops.append(size.flops * size.share)
        tokens.append(size.layer_tokens * size.share)
    cut = replace(step, blocks=tuple(Block(part, part + 1, parts) for part in range(parts)))
    means = [capture for node in early_means(cut, ahead=bool(step.why)) for capture in node.captures]
    before = 0.0
    if means:
        layout = peaks.layouts.make(step, Block(), only=means)
        schedule = layout.schedule(step, layers_of(facts), False)
        before = flops_of(schedule, facts, columns)
    return float(np.mean(flops)) * parts + before, float(np.mean(tokens)) * parts


__all__ = ["parts_of_long"]
