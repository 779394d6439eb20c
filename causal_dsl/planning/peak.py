"""The most that the tensors of a pass hold at once beside the weights, predicted from its live tokens.

What is alive is listed tensor by tensor (:mod:`causal_dsl.planning.alive`). What the process takes is more, by what its heap
wastes (:func:`causal_dsl.planning.memory.taken`); a budget allows for that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.planning import graph as g
from causal_dsl.planning.alike_blocks import AlikeBlocks, PairsAsked
from causal_dsl.planning.alive import PeakHeld, head, held, layer_stages
from causal_dsl.planning.edge_room import edge_room
from causal_dsl.planning.flops import flops_of
from causal_dsl.planning.known_sizes import Figures, KnownSizes
from causal_dsl.planning.layer_costs import costs_of
from causal_dsl.planning.liveness import Schedule
from causal_dsl.planning.looks_held import looks_held
from causal_dsl.planning.memory import Budget
from causal_dsl.planning.noise_floor import floors_of
from causal_dsl.planning.pass_layout import Layout
from causal_dsl.planning.pass_runs import PassRuns
from causal_dsl.planning.rows import Layouts
from causal_dsl.planning.steps import EDGES, Block, Step, layers_of
from causal_dsl.program.components import pads, width
from causal_dsl.program.identity import NetworkKey
from causal_dsl.vocabulary.locations import Site
from causal_dsl.vocabulary.network_facts import Facts

if TYPE_CHECKING:
    from causal_dsl.planning.plan import Plan

#: Rows beyond which a pass is predicted from a part of its pairs.
MOST_ROWS = 20_000
#: Rows beyond which a part is taken also where that is larger, for the sake of a draw of few pairs.
VERY_MANY_ROWS = 50 * MOST_ROWS


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
        self._alike = AlikeBlocks(plan, self.layouts)
        self._known = KnownSizes(plan)
        self._last: tuple[Step, Block, Sized] | None = None
        self._computed: tuple[Step, int | None] | None = None
        self._pair_counts: tuple[Step, Counter[int]] | None = None
        self._read_by: tuple[PassRuns, np.ndarray] | None = None
        self._widths: tuple[PassRuns, int, list[int]] | None = None
        self._patched: tuple[Step, list[tuple[g.Resume, g.Resume]]] | None = None

    def size(self, step: Step, block: Block) -> Sized:
        """The rows of a block, and their live tokens."""
        if self._last is None or self._last[0] is not step or self._last[1] != block:
            self._last = (step, block, self._sized(step, block))
        return self._last[2]

    def _sized(self, step: Step, block: Block) -> Sized:
        share, facts = 1.0, self.plan.inputs[step.network].facts
        rows = self._rows(step, block)
        if rows > MOST_ROWS:
            part = self._part(step, block, -(-rows // MOST_ROWS))
            if (
                part is None and rows > VERY_MANY_ROWS
            ):  # a draw has fewer pairs than parts: as many parts as it has pairs
                fewest = min(len(block.pairs(n)) for n in self._counts(step))
                part = self._part(step, block, max(1, fewest // 2))
            if part is not None:
                share = len(block.pairs(2**40)) / len(part.pairs(2**40))
                block = part
        layout = self.layouts.make(step, block, watch=True)
        return Sized(layout, layout.schedule(step, layers_of(facts), pads(facts) is not None), share)

    def _rows(self, step: Step, block: Block) -> int:
        """How many rows the interventions of a step have in a block, as if all of them were in it."""
        return sum(count * len(block.pairs(n)) for n, count in self._counts(step).items())

    def _part(self, step: Step, block: Block, parts: int) -> Block | None:
        """The first of so many equal parts of a block; None where some intervention has no pair in it."""
        part = Block(block.start * parts, block.start * parts + 1, block.of * parts, block.first, block.last)
        return part if all(len(part.pairs(n)) for n in self._counts(step)) else None

    def _counts(self, step: Step) -> Counter[int]:
        """How many interventions of a step have draws of so many pairs."""
        if self._pair_counts is None or self._pair_counts[0].resumes is not step.resumes:
            self._pair_counts = step, Counter(self.plan.drawn[resume.base.draw].n for resume in step.resumes)
        return self._pair_counts[1]

    def too_many(self, step: Step, budget: Budget) -> bool:
        """Whether a step has more interventions and pairs than a pass may have tokens: its excess is then more than 1, and nothing need be
        laid out to know it."""
        most, rows = self.most_tokens(step.network, budget), 0
        if not step.rules.late or sum(n * count for n, count in self._counts(step).items()) <= most:
            return False
        for resume in step.resumes:
            rows += self.layouts.rows_of(resume, step.shared)
            if rows > most:
                return True
        return False

    def excess(self, step: Step, block: Block, budget: Budget) -> float:
        """How many times what is allowed a block takes: of memory or of tokens, whichever is more."""
        size, held = self.figures(step, block, budget)
        return max(
            held.taken / budget.room,
            size.most_tokens * size.share / self.most_tokens(step.network, budget),
        )

    def figures(self, step: Step, block: Block, budget: Budget) -> tuple[Figures, PeakHeld]:
        """The figures of a block, and the tensors alive at its peak; it is laid out only if they are not known."""
        pairs = self.pairs(step, block)
        found = self._known.get(step, block, pairs, budget)
        if found is None:
            found = self.figures_of(step, self.size(step, block), budget)
            self._known.put(step, block, pairs, budget, found)
        return found

    def alike(self, step: Step, blocks: Iterable[Block]) -> list[tuple[Block, int]]:
        """The blocks of a step, one of all that are laid out alike, with how many these are."""
        found: dict[tuple[Any, ...], list[Block]] = {}
        for block in blocks:
            found.setdefault((self.pairs(step, block), block.first, block.last), []).append(block)
        return [(same[0], len(same)) for same in found.values()]

    def pairs(self, step: Step, block: Block) -> PairsAsked:
        """The pairs of a block, equal where they are laid out alike; of a block that is laid out in part, which of all they are."""
        if self._rows(step, block) > MOST_ROWS:
            return block.start, block.stop, block.of
        return self._alike.pairs(step, block)

    def figures_of(self, step: Step, sized: Sized, budget: Budget) -> tuple[Figures, PeakHeld]:
        """The same of a pass that is laid out."""
        facts, schedule = self.plan.inputs[step.network].facts, sized.schedule
        return Figures(
            len(schedule.home),
            schedule.layer_tokens,
            schedule.key_tokens,
            max((live.tokens for live in schedule.levels), default=0),
            flops_of(schedule, facts, self._columns(step)),
            sized.share,
        ), self.held(step, sized, budget)

    def _columns(self, step: Step) -> int | None:
        if self._computed is None or self._computed[0] is not step:
            self._computed = (step, columns_of(self.plan, step))
        return self._computed[1]

    def most_tokens(self, network: NetworkKey, budget: Budget) -> int:
        """The most tokens of a layer in a pass of a network, or rows where it has no tokens."""
        facts = self.plan.inputs[network].facts
        return costs_of(facts.traits).most_tokens(facts, budget)

    def held(self, step: Step, sized: Sized, budget: Budget) -> PeakHeld:
        """The tensors that are alive at the peak of a pass."""
        facts, layout, share = self.plan.inputs[step.network].facts, sized.layout, sized.share
        levels, asked = sized.schedule.levels, self.asked(layout)
        whole: list[float] = [self._kept(step, layout, facts), *(6 * 2 * (f.tokens + f.keys_only) for f in levels)]
        whole += costs_of(facts.traits).embedded(len(sized.schedule.batch) * sized.schedule.width, facts)
        columns = self._columns(step)
        if step.why == EDGES:
            together = sum(float(sized.schedule.lengths[sized.schedule.home[f.rows]].sum()) for f in layout.families)
            whole += [round(numbers / share) for numbers in edge_room(facts, budget, together * share)]
        stages = [head(levels[-1].tokens, asked, columns, facts)]
        if layout.watches:
            stages.append([*stages[0], *looks_held(self.plan, layout, facts, budget)])
        for i, live in enumerate(levels[:-1]):
            stages += layer_stages(live, levels[i + 1], facts, budget, share)
        return max((held([*whole, *stage], share, budget) for stage in stages), key=lambda found: found.taken)

    def _kept(self, step: Step, layout: Layout, facts: Facts) -> int:
        """The vectors that a pass keeps, and those of bases that are patched into themselves, in numbers."""
        wide = self._wide_of_parts(layout, facts)
        counts = [0 if keys is None else len(keys) for keys in layout.key_parts]
        total = sum(each * count for each, count in zip(wide, counts, strict=True))
        for floor in self._floors(step, layout):
            pairs = layout.pairs[floor.base.draw]
            for write in floor.writes:
                # each base token once, whatever else asks for it: sources of other pairs are other prompts, mostly
                which, tokens = self.layouts.tokens(write.place, floor.base, pairs)
                user = None if layout.shared else floor
                if (user, floor.base) in layout.prompt:
                    which = layout.prompt[user, floor.base][which]
                distinct = len(np.unique(which * layout.width + tokens))
                total += distinct * self._wide(write.place.site, layout.width, facts)
        for (_, place), watch in layout.watches.items():
            total += len(watch.rows) * self._wide(place.site, layout.width, facts)
        return total

    def _wide_of_parts(self, layout: Layout, facts: Facts) -> list[int]:
        """How wide all the sites are together of which the same vectors are kept."""
        known = self._widths
        if known is None or known[0] is not layout.runs or known[1] != layout.width:
            each = [0] * len(layout.key_parts)
            for site, number in layout.runs.kept.items():
                each[number] += self._wide(site, layout.width, facts)
            known = self._widths = layout.runs, layout.width, each
        return known[2]

    @staticmethod
    def _wide(site: Site, tokens: int, facts: Facts) -> int:
        if site.component == "pattern" and site.dims is None:
            return tokens * (len(site.heads) or facts.heads or 1)
        return width(site, facts) or facts.width or max(facts.widths or (1,))

    def _floors(self, step: Step, layout: Layout) -> list[g.Resume]:
        """The bases that the first block of a step patches into themselves, for the noise floor."""
        if not any(len(pairs) and pairs[0] == 0 for pairs in layout.pairs.values()):
            return []
        if self._patched is None or self._patched[0].resumes is not step.resumes:
            tests = [test for test in self.plan.tests if test.network.key == step.network]
            every = {resume: floor for test in tests for resume, floor in self._floors_of[test.name].items()}
            self._patched = step, [(resume, every[resume]) for resume in step.resumes if resume in every]
        found: dict[g.Resume, None] = {}
        for resume, floor in self._patched[1]:
            if layout.has(resume) and not layout.has(floor):
                found[floor] = None
        return list(found)

    @cached_property
    def _floors_of(self) -> dict[str, dict[g.Resume, g.Resume]]:
        return {test.name: floors_of(self.plan, test) for test in self.plan.tests}

    def asked(self, layout: Layout) -> int:
        """How many rows of logits are asked for: each test asks for those of its own runs."""
        if self._read_by is None or self._read_by[0] is not layout.runs:
            readers = [self._readers[resume] for resume in layout.runs.runs]
            self._read_by = layout.runs, np.array(readers, np.int64)
        rows = int((layout.sizes * self._read_by[1][layout.there]).sum())
        of_run: dict[g.Forward, list[np.ndarray]] = {}
        for (_, run), prompts in layout.prompt.items():
            of_run.setdefault(run, []).append(prompts)
        for forward in layout.read_forwards:
            found = of_run.get(forward)
            rows += self._readers[forward] * len(np.unique(np.concatenate(found))) if found else 0
        return rows

    @cached_property
    def _readers(self) -> Counter[g.Forward | g.Resume]:
        """How many tests read each run."""
        runs = {(name, read.run) for name, scores in self.plan.scores.items() for s in scores for _, read in s.reads}
        return Counter(run for _, run in runs)


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
            ends = len({line.template.segments[-1] for line in test.alignment.prompts}) or 1
            most = max(most, len(test.readout.values) * ends)
    return most


__all__ = ["MOST_ROWS", "Peaks", "Sized", "columns_of"]
