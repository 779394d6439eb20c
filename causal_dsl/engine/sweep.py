"""The sweep executor: a block of a step as one pass through the layers (:mod:`causal_dsl.network.sweep`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field, replace

import numpy as np
import torch
from torch import Tensor

from causal_dsl.base.faults import OwnFault
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.engine.activation_cache import PassActivations
from causal_dsl.engine.block_results import BlockResults
from causal_dsl.engine.looked_at import Looks
from causal_dsl.engine.network_share import Context
from causal_dsl.engine.readout import greedy
from causal_dsl.engine.runner import Gather, Logits
from causal_dsl.network.known_of_network import proof_of
from causal_dsl.network.sweep.drive import PassOutcome, ReadRows, SiteRead, SiteWrite, sweep
from causal_dsl.planning import graph as g
from causal_dsl.planning.live_places import computes
from causal_dsl.planning.liveness import BOTTOM, ENTRY, Accesses, PassRows, Schedule, place_of, schedule
from causal_dsl.planning.noise_floor import floor_rows
from causal_dsl.planning.pass_layout import Family, Layout
from causal_dsl.planning.steps import Block, Step, late_captures
from causal_dsl.program.components import pads, width
from causal_dsl.program.program import Test
from causal_dsl.vocabulary.locations import Site


@dataclass(eq=False)
class _Begun:
    """A block that is about to run: ``writes`` with ``places``, whose they are; ``fired`` is filled when they have acted."""

    layout: Layout
    plan: Schedule
    kept: PassActivations
    fired: dict[g.Resume, np.ndarray]
    writes: list[SiteWrite] = field(default_factory=list)
    places: list[tuple[g.Resume, int]] = field(default_factory=list)


class Sweep:
    """Runs blocks of steps on one network."""

    def __init__(self, context: Context, compiled: bool = False):
        self.context, self.network, self.compiled = context, context.network, compiled
        self.inputs = context.plan.inputs[self.network.key]
        self.whole = pads(self.network.facts) is not None
        proof = proof_of(self.network)
        if proof is not None and proof.sweep in ("whole", "fixed"):
            self.whole = True
        #: whether all rows stay to the end: the network looks at its input again
        self.fixed = proof is not None and proof.sweep == "fixed"

    # ── passes that keep vectors alone ──────────────────────────────────────────────────────────

    def keep(self, step: Step, block: Block, only: list[g.Capture]) -> PassActivations:
        """The vectors of captures in the prompts of a block."""
        layout = self.context.layouts.make(step, block, only=only)
        kept = PassActivations(self.context.layouts, layout)
        if len(layout.inputs):
            plan = schedule(layout.rows, len(self.network.layers), replace(step.rules, stop=not self.fixed), self.whole)
            self._pass(_Begun(layout, plan, kept, {}), [])
        return kept

    # ── the pass ────────────────────────────────────────────────────────────────────────────────

    def run(self, step: Step, block: Block) -> BlockResults:
        """All numbers of a block."""
        context = self.context
        extra = []
        if block.start == 0:  # the noise floor is a matter of the first pairs
            here = step.resumes[block.first : block.last]
            extra = [
                (context.noise_floors[resume], floor_rows(context.plan.drawn[resume.base.draw].n))
                for resume in here
                if resume in context.noise_floors
            ]
        begun = self._begin(step, block, extra, watch=True)
        if begun is None:
            return {}
        layout, fired = begun.layout, begun.fired
        gather = Gather(context, step, block, layout)
        tests = gather.tests()
        asked = [self._asked(test, gather, layout, step.pruned) for test in tests]
        looks = [self._looked(test, gather, layout, step.pruned) for test in tests] if block.start == 0 else []
        places = Looks(context, layout) if layout.watches else None
        outcome = self._pass(begun, asked + [look for look in looks if look is not None], places)
        whole = iter(outcome.logits[len(tests) :])
        seen = {test.name: next(whole) for test, look in zip(tests, looks, strict=False) if look is not None}
        for (resume, number), done in zip(begun.places, outcome.written, strict=True):
            fired[resume][number, 0] = done.rows
        sums = [done.change.double().nan_to_num(posinf=0.0).sum() for done in outcome.written]
        for (resume, number), total in zip(begun.places, _fetch(sums), strict=True):
            fired[resume][number, 1] = total
        block_results: BlockResults = {}
        for test, (ask, values_) in zip(tests, zip(asked, outcome.logits[: len(tests)], strict=True), strict=True):
            logits = self._logits(test, gather, layout, ask, values_)
            if test.name in seen:
                logits.overall = np.full(len(values_), -1)
                where = np.searchsorted(ask.rows, gather.sample(test), sorter=np.argsort(ask.rows))
                logits.overall[np.argsort(ask.rows)[where]] = context.numbers[test.name].overall(seen[test.name])
            if context.numbers[test.name].steps > 1:
                logits.said = self._continue(test, step, layout, ask, values_, begun.writes)
            block_results[test.name] = gather.block_result(test, logits, fired, step.pruned, places)
        return block_results

    def logits(self, step: Step, block: Block) -> dict[g.Resume, Tensor]:
        """The logits [pairs, vocabulary] of every intervention of a block, for a comparison."""
        begun = self._begin(step, block, [])
        if begun is None:
            return {}
        families = [family for family in begun.layout.families if not family.inner]
        asked = [ReadRows(family.rows, begun.layout.rows.read[family.rows]) for family in families]
        outcome = self._pass(begun, asked)
        return {
            family.resume: found[torch.from_numpy(family.back).to(found.device)]
            for family, found in zip(families, outcome.logits, strict=True)
        }

    def _begin(self, step: Step, block: Block, extra: list[tuple[g.Resume, int]], watch: bool = False) -> _Begun | None:
        """The layout and the writes of a block; None where it has no pairs. ``watch``: what is measured at places is read."""
        context = self.context
        late = late_captures(step)
        elsewhere = dict.fromkeys(late, self.keep(step, block, late)) if late else {}
        layout = context.layouts.make(step, block, tuple(dict(extra).items()), watch=watch)
        if not len(layout.inputs):
            return None
        plan = schedule(layout.rows, len(self.network.layers), step.rules, self.whole)
        kept = PassActivations(context.layouts, layout)
        values = context.values(kept, elsewhere)
        begun = _Begun(layout, plan, kept, {family.resume: _fired(family) for family in layout.families})
        for family in layout.families:
            for number, (write, spot) in enumerate(zip(family.resume.writes, family.spots, strict=True)):
                if not computes(plan, write, spot, len(self.network.layers)):
                    raise OwnFault(f"`{write.place}` can reach what is read, and the pass does not compute it")
                begun.fired[family.resume][number, 2] = len(spot.live) - spot.live.sum()
                if not spot.live.any():
                    continue
                positions = torch.from_numpy(spot.positions[spot.live])
                edit = values.edit(write, family, number, np.nonzero(spot.live)[0])
                rows, needs = torch.from_numpy(spot.rows[spot.live]), self._needs(write, elsewhere)
                begun.writes.append(SiteWrite(write.place.site, rows, positions, edit, needs))
                begun.places.append((family.resume, number))
        return begun

    def _needs(self, write: g.WriteNode, elsewhere: Mapping[g.Capture, PassActivations]) -> tuple[Site, ...]:
        """The sites that a write looks at in the pass that it is made in."""
        found = [capture.place.site for capture in write.value.find(g.Capture) if capture not in elsewhere]
        means = (mean for mean in write.value.find(g.Average) if mean not in self.context.means)
        return (*found, *(capture.place.site for mean in means for capture in mean.captures))

    def _asked(self, test: Test, gather: Gather, layout: Layout, pruned: bool) -> ReadRows:
        forwards, families = gather.wanted(test)
        rows = [np.unique(layout.prompt[None, forward]) for forward in forwards if (None, forward) in layout.prompt]
        prompts = np.unique(np.concatenate(rows)) if rows else np.zeros(0, np.int64)
        every = np.concatenate([prompts, *(family.rows for family in families)])
        numbers = self.context.numbers[test.name]
        return ReadRows(every, layout.rows.read[every], numbers.columns if pruned else None)

    def _looked(self, test: Test, gather: Gather, layout: Layout, pruned: bool) -> ReadRows | None:
        """The rows of a test whose logits are all computed, where of the others only those of the answers are."""
        rows = gather.sample(test)
        if not pruned or self.context.numbers[test.name].columns is None or not len(rows):
            return None
        return ReadRows(rows, layout.rows.read[rows], None)

    def _logits(self, test: Test, gather: Gather, layout: Layout, asked: ReadRows, values: Tensor) -> Logits:
        place = np.full(len(layout.rows.read), -1)
        place[asked.rows] = np.arange(len(asked.rows))
        families = {family.resume: place[family.rows] for family in gather.wanted(test)[1]}
        return Logits(values, place[: len(layout.inputs)], families)

    def _pass(self, begun: _Begun, asked: list[ReadRows], looks: Looks | None = None) -> PassOutcome:
        layout, kept = begun.layout, begun.kept
        reads, slots = [], []
        for site, (rows, positions) in layout.kept.items():
            if len(rows):
                reads.append(SiteRead(site, torch.from_numpy(rows), torch.from_numpy(positions)))
                slots.append((site, len(rows)))

        # Room for what is kept, before the pass: what lives long between what comes and goes would tear the heap.
        for site, count in slots:
            wide = width(site, self.network.facts)
            if wide is not None:
                kept.vectors[site] = torch.empty(
                    count, wide, dtype=self.network.dtype, device=self.network.device_at(site)
                )

        watches = [] if looks is None else list(looks.watches)
        for key in watches:
            watch = layout.watches[key]
            rows, positions = torch.from_numpy(watch.rows), torch.from_numpy(watch.positions)
            reads.append(SiteRead(key[1].site, rows, positions, watch.within))

        def keep(number: int, values: Tensor) -> None:
            if number < len(slots):
                kept.fill(slots[number][0], values)
            else:
                assert looks is not None
                looks.take(watches[number - len(slots)], values)

        inputs = self.inputs.rows(layout.inputs)
        return sweep(
            self.network, inputs, begun.plan, reads, begun.writes, asked, keep, self.context.tick, self.compiled
        )

    # ── answers of several tokens ───────────────────────────────────────────────────────────────

    def _continue(
        self, test: Test, step: Step, layout: Layout, asked: ReadRows, first: Tensor, writes: list[SiteWrite]
    ) -> np.ndarray:
        """The greedy continuation of every row that is read [rows, steps].

        Each further token is a pass of its own over the prompts with what was said behind them; the writes act where
        they acted before, on vectors that the first pass kept.
        """
        numbers = self.context.numbers[test.name]
        said = [numbers.said(first, False)]
        prompts = self.inputs.rows(layout.inputs)
        home = np.concatenate([np.arange(len(layout.inputs)), layout.rows.home])
        while len(said) < numbers.steps:
            words = torch.stack(said, dim=1).clamp(min=0).cpu().numpy()
            grown = [
                tuple(prompts[home[row]]) + tuple(word) for row, word in zip(asked.rows, words.tolist(), strict=True)
            ]
            distinct = {ids: number for number, ids in enumerate(dict.fromkeys(grown))}
            mine = np.array([distinct[ids] for ids in grown])
            patched = asked.rows >= len(layout.inputs)
            row_of = np.full(len(home), -1)
            row_of[asked.rows] = np.where(patched, len(distinct) + np.cumsum(patched) - 1, mine)
            said.append(self._grown(step, list(distinct), mine[patched], row_of, asked, writes))
        return torch.stack(said, dim=1).cpu().numpy()

    def _grown(
        self,
        step: Step,
        prompts: list[tuple[int, ...]],
        home: np.ndarray,
        row_of: np.ndarray,
        asked: ReadRows,
        writes: list[SiteWrite],
    ) -> Tensor:
        layers = len(self.network.layers)
        moved = [(write, row_of[np.asarray(write.rows)]) for write in writes]
        lengths = np.array([len(prompt) for prompt in prompts])
        table = Accesses.join(
            (rows[rows >= 0], np.asarray(write.positions)[rows >= 0], *place_of(write.site, layers))
            for write, rows in moved
        )
        read = np.concatenate([np.full(len(prompts), -1), lengths[home] - 1])
        mine = row_of[asked.rows]
        every = np.concatenate([np.arange(len(prompts)), home])
        read[mine] = lengths[every[mine]] - 1
        # Where a write was dead on the shorter prompt it may live on the longer one: everything is run.
        plan = schedule(PassRows(lengths, home, read, table), layers, replace(step.rules, thin=False), self.whole)
        again = [_part(write, rows, plan, place_of(write.site, layers)) for write, rows in moved if (rows >= 0).any()]
        outcome = sweep(
            self.network,
            [list(prompt) for prompt in prompts],
            plan,
            (),
            [w for w in again if len(w.rows)],
            [ReadRows(mine, read[mine])],
            None,
            self.context.tick,
            self.compiled,
        )
        return greedy(outcome.logits[0], None)


def _part(write: SiteWrite, rows: np.ndarray, plan: Schedule, where: tuple[int, int]) -> SiteWrite:
    """A write on the rows that are still there, at places that are computed."""
    level, phase = where
    positions = np.asarray(write.positions)
    there = rows >= 0
    if phase == ENTRY:
        there &= plan.levels[level].slots[np.maximum(rows, 0), positions] >= 0
    elif phase < BOTTOM:
        there &= plan.levels[level].at(np.maximum(rows, 0), positions) >= 0
    kept = torch.from_numpy(np.nonzero(there)[0])
    every = len(rows)

    def edit(old: Tensor) -> Tensor:
        whole = old[:1].repeat(every, 1)  # where a row is not there any more, numbers that a row has
        index = kept.to(old.device)
        new: Callable[..., Tensor] = write.edit
        return new(whole.index_copy(0, index, old)).index_select(0, index)

    return SiteWrite(write.site, torch.from_numpy(rows[there]), torch.from_numpy(positions[there]), edit)


def _fired(family: Family) -> np.ndarray:
    return np.zeros((len(family.resume.writes), 3))


def _fetch(sums: list[Tensor]) -> list[float]:
    """Numbers from wherever they are, in one transfer from each device."""
    if not sums:
        return []
    if len({total.device for total in sums}) == 1:
        found: list[float] = torch.stack(sums).tolist()
        return found
    return [float(total) for total in sums]
