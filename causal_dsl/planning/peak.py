"""The most that the tensors of a pass hold at once beside the weights, predicted from its frames.

What the process takes is more, by what its heap wastes (:data:`causal_dsl.planning.memory.HEAP_CPU`); a budget allows
for that.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from causal_dsl.planning import graph as g
from causal_dsl.planning.liveness import Schedule
from causal_dsl.planning.memory import Budget
from causal_dsl.planning.rows import Layout, Layouts
from causal_dsl.planning.steps import Block, Step, layers_of
from causal_dsl.program.components import packs, width
from causal_dsl.program.facts import Facts

if TYPE_CHECKING:
    from causal_dsl.planning.plan import Plan

#: Rows beyond which a pass is predicted from a part of its pairs.
MOST_ROWS = 20_000


@dataclass(frozen=True)
class Sized:
    """One pass of a step: its layout and schedule, for ``share`` of the block that was asked about."""

    layout: Layout
    schedule: Schedule
    share: float


class Peaks:
    """Sizes of the passes of a plan; a pass too large to lay out quickly is laid out in part."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self.layouts = Layouts(plan)

    def size(self, step: Step, block: Block) -> Sized:
        """The rows and frames of a block."""
        share, facts = 1.0, self.plan.inputs[step.network].facts
        rows = sum(len(block.pairs(self.plan.drawn[resume.base.draw].n)) for resume in step.resumes)
        if rows > MOST_ROWS:
            parts = -(-rows // MOST_ROWS)
            part = Block(block.start * parts, block.start * parts + 1, block.of * parts, block.first, block.last)
            if all(len(part.pairs(self.plan.drawn[r.base.draw].n)) for r in step.resumes):
                share = len(block.pairs(2**40)) / len(part.pairs(2**40))
                block = part
        layout = self.layouts.make(step, block)
        return Sized(layout, layout.schedule(step, layers_of(facts), packs(facts) is not None), share)

    def excess(self, step: Step, block: Block, budget: Budget) -> float:
        """How many times what is allowed a block takes: of memory or of tokens, whichever is more."""
        sized = self.size(step, block)
        tokens = max((f.tokens for f in sized.schedule.frames), default=0) * sized.share
        return max(self.bytes(step, sized, budget) / budget.tensors, tokens / budget.most_tokens)

    def bytes(self, step: Step, sized: Sized, budget: Budget) -> float:
        """The peak of a pass in bytes."""
        facts = self.plan.inputs[step.network].facts
        kept = kept_bytes(sized.layout, facts, budget.size)
        frames = sized.schedule.frames
        layers = max(
            (
                layer_bytes(f.tokens, f.keys_only, frames[i + 1].tokens, facts, budget)
                for i, f in enumerate(frames[:-1])
            ),
            default=0,
        )
        columns = columns_of(self.plan, step)
        asked = self.asked(sized.layout)
        # What is measured of logits is measured of some rows at a time. Where tests ask for columns of their own, their
        # logits are put together once more.
        head = asked * (columns or facts.vocabulary or facts.classes or 1) * (1 if columns is None else 2)
        head += (frames[-1].tokens + asked) * (facts.width or 0)
        index = sum(8 * 6 * (f.tokens + f.keys_only) for f in frames)
        return (kept + max(layers, head * budget.size) + index) * sized.share

    def asked(self, layout: Layout) -> int:
        """How many rows of logits are asked for: each test asks for those of its own runs."""
        rows = sum(len(family.rows) * self._readers[family.resume] for family in layout.families)
        for forward in layout.read_forwards:
            found = [prompts for (_, run), prompts in layout.prompt.items() if run == forward]
            rows += self._readers[forward] * len(np.unique(np.concatenate(found))) if found else 0
        return rows

    @cached_property
    def _readers(self) -> Counter[g.Forward | g.Resume]:
        """How many tests read each run."""
        runs = {(name, read.run) for name, scores in self.plan.scores.items() for s in scores for _, read in s.reads}
        return Counter(run for _, run in runs)


def kept_bytes(layout: Layout, facts: Facts, size: int) -> int:
    """The bytes of the vectors that a pass keeps."""
    widths = {site: width(site, facts) or facts.width or max(facts.widths or (1,)) for site in layout.kept}
    return sum(len(rows) * widths[site] * size for site, (rows, _) in layout.kept.items())


def layer_bytes(tokens: int, keys: int, following: int, facts: Facts, budget: Budget) -> int:
    """The peak of one layer: what its MLP holds at once, or its attention, or the step to the next layer."""
    if not facts.has_tokens:
        return budget.size * (tokens + following) * 2 * max(facts.widths or (1,))
    wide, inner = facts.width or 1, facts.mlp_width or 4 * (facts.width or 1)
    size = facts.head_dim or 1
    heads, shared = (facts.heads or 1) * size, (facts.kv_heads or facts.heads or 1) * size
    # What enters and its norm, in slices what comes out too; inside, what an activation takes on the way.
    mlp = tokens * (2 if tokens <= budget.slice else 3) * wide + min(tokens, budget.slice) * 4 * inner
    turning = tokens * (2 * wide + 4 * heads + 2 * shared + 2 * size)
    # Keys and values are gathered for some rows at a time, and repeated for the query heads that share them.
    gathered = min(budget.most_keys, tokens * 16 * shared) * 2 * (1 + heads // shared)
    attention = tokens * (2 * wide + 2 * heads + 2 * shared + 2 * size) + gathered
    alone = keys * (2 * wide + 2 * heads + 2 * shared)
    move = (tokens + keys) * 2 * wide + following * wide
    return budget.size * (max(mlp, turning, attention, move) + alone)


def columns_of(plan: Plan, step: Step) -> int | None:
    """How many columns of the unembedding a step computes; None for all of them."""
    if not step.pruned:
        return None
    most = 0
    runs = {*step.forwards, *step.resumes}
    for test in plan.tests:
        if test.network.key != step.network:
            continue
        for score in plan.scores[test.name]:
            if not any(read.run in runs for _, read in score.reads):
                continue
            if test.readout.kind != "logits" and not test.readout.among:
                return None
            if any(quantity.whole for _, read in score.reads for quantity in read.quantities):
                return None
            most = max(most, len(test.readout.values))
    return most


__all__ = ["MOST_ROWS", "Peaks", "Sized", "columns_of", "kept_bytes", "layer_bytes"]
