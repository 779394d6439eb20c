"""The reference executor: plain forward hooks and whole forward passes, nothing resumed, trimmed or mixed.

Slow and plainly right: what the sweep gives is held against it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import numpy as np
import torch
from torch import Tensor

from causal_dsl.engine.activation_cache import PassActivations
from causal_dsl.engine.attended_keys import as_wide
from causal_dsl.engine.block_results import BlockResult, BlockResults
from causal_dsl.engine.looked_at import Looks
from causal_dsl.engine.network_share import Context
from causal_dsl.engine.runner import Gather, Logits
from causal_dsl.network.edges import EdgeWrite, edges_patched
from causal_dsl.network.forward import SiteRead, SiteWrite, forward
from causal_dsl.network.tape import reads_in
from causal_dsl.planning import graph as g
from causal_dsl.planning.alive import stages
from causal_dsl.planning.layer_costs import costs_of
from causal_dsl.planning.noise_floor import floor_rows
from causal_dsl.planning.pass_layout import Family, Layout
from causal_dsl.planning.steps import EDGES, Block, Step
from causal_dsl.program.components import depth
from causal_dsl.program.program import Test
from causal_dsl.vocabulary.locations import Site


class ReferenceExecutor:
    """Runs blocks of steps on one network: the prompts, then each intervention by itself."""

    def __init__(self, context: Context):
        self.context, self.network = context, context.network
        self.inputs = context.plan.inputs[self.network.key]

    def keep(self, step: Step, block: Block, only: list[g.Capture]) -> PassActivations:
        """The vectors of captures in the prompts of a block."""
        layout = self.context.layouts.make(step, block, only=only)
        kept = PassActivations(self.context.layouts, layout)
        self._prompts(layout, kept, np.zeros(len(layout.inputs), bool))
        return kept

    def run(self, step: Step, block: Block) -> BlockResults:
        """All numbers of a block."""
        context = self.context
        here = step.resumes[block.first : block.last]
        extra = []
        if block.start == 0:
            drawn, whole = context.plan.drawn, step.why == EDGES
            extra = [
                (context.noise_floors[r], floor_rows(drawn[r.base.draw].n, whole))
                for r in here
                if r in context.noise_floors
            ]
        layout = context.layouts.make(step, block, tuple(dict(extra).items()), ahead=True, watch=True)
        if not len(layout.inputs):
            return {}
        places = Looks(context, layout) if layout.watches else None
        kept = PassActivations(context.layouts, layout)
        read = layout.rows.read[: len(layout.inputs)] >= 0
        clean = self._prompts(layout, kept, read, places)
        gather = Gather(context, step, block, layout)
        tests = gather.tests()
        found: dict[str, list[tuple[Family, Tensor, Tensor, np.ndarray]]] = {test.name: [] for test in tests}
        reads = {
            test.name: set(gather.wanted(test)[1]) for test in tests
        }  # asked once: a circuit has hundreds beside it
        fired = {family.resume: np.zeros((len(family.resume.writes), 3)) for family in layout.families}
        for family, (logits, changes) in self._each(layout, kept, places):
            fired[family.resume][:, 2] = [len(spot.live) - spot.live.sum() for spot in family.spots]
            fired[family.resume][:, :2] = changes
            for test in tests:
                if family in reads[test.name]:
                    said = self._said(test, layout, family, kept, logits)
                    # Of each intervention only what is read of it: all logits of all cells would be gigabytes.
                    numbers = context.numbers[test.name]
                    if numbers.columns is not None:
                        logits_ = logits[:, torch.from_numpy(numbers.columns).to(logits.device)]
                    else:
                        logits_ = logits
                    found[test.name].append((family, logits_, said, numbers.overall(logits)))
        return {
            test.name: self._piece(test, gather, layout, kept, clean, read, found[test.name], fired, places)
            for test in tests
        }

    def taken(self, step: Step) -> tuple[Layout, PassActivations]:
        """The rows of the interventions of a step, and all vectors that they take from plain runs and from such as are written in."""
        layout = self.context.layouts.make(step, Block(), ahead=True)
        kept = PassActivations(self.context.layouts, layout)
        self._prompts(layout, kept, np.zeros(len(layout.inputs), bool))
        for family in layout.families:
            if family.taken:
                self._patched(layout, family, kept, None)
        return layout, kept

    def logits(self, step: Step, block: Block) -> dict[g.Resume, Tensor]:
        """The logits [pairs, vocabulary] of every intervention of a block, for a comparison."""
        layout = self.context.layouts.make(step, block, ahead=True)
        kept = PassActivations(self.context.layouts, layout)
        self._prompts(layout, kept, np.zeros(len(layout.inputs), bool))
        found = {}
        for family, (logits, _) in self._each(layout, kept, None):
            if family.inner:
                continue
            found[family.resume] = logits[torch.from_numpy(family.back).to(logits.device)]
        return found

    def _piece(
        self,
        test: Test,
        gather: Gather,
        layout: Layout,
        kept: PassActivations,
        clean: Tensor | None,
        read: np.ndarray,
        found: list[tuple[Family, Tensor, Tensor, np.ndarray]],
        fired: dict[g.Resume, np.ndarray],
        places: Looks | None,
    ) -> BlockResult:
        numbers = self.context.numbers[test.name]
        parts, saids, wholes, families, count = [], [], [], {}, 0
        if clean is not None:
            parts.append(clean if numbers.columns is None else clean[:, torch.from_numpy(numbers.columns)])
            saids.append(self._said(test, layout, None, kept, clean, np.nonzero(read)[0]))
            wholes.append(numbers.overall(clean))
            count = len(clean)
        for family, logits, said, whole in found:
            families[family.resume] = np.arange(count, count + len(logits))
            parts.append(logits)
            saids.append(said)
            wholes.append(whole)
            count += len(logits)
        prompt = np.where(read, np.cumsum(read) - 1, -1)
        logits = Logits(torch.cat(parts), prompt, families, torch.cat(saids).cpu().numpy(), np.concatenate(wholes))
        return gather.block_result(test, logits, fired, numbers.columns is not None, places)

    # ── prompts ─────────────────────────────────────────────────────────────────────────────────

    def _prompts(
        self, layout: Layout, kept: PassActivations, read: np.ndarray, places: Looks | None = None
    ) -> Tensor | None:
        """Run the prompts of a layout as deep as each is read; gives the logits of those that are read."""
        wanted: dict[int, set[Site]] = {row: set() for row in np.nonzero(read)[0].tolist()}
        for site, (rows, _) in layout.kept.items():
            for row in np.unique(rows[rows < len(layout.inputs)]).tolist():
                wanted.setdefault(row, set()).add(site)
        groups: dict[tuple[bool, float], list[int]] = {}
        for row, sites in wanted.items():
            deepest = max((_depth(site) for site in sites), default=0.0)
            groups.setdefault((True, 0.0) if read[row] else (False, deepest), []).append(row)
        every = [SiteRead(site, torch.from_numpy(r), torch.from_numpy(p)) for site, (r, p) in layout.kept.items()]
        watches = [] if places is None else [key for key in places.watches if not layout.watches[key].within]
        every += [
            SiteRead(
                key[1].site, torch.from_numpy(layout.watches[key].rows), torch.from_numpy(layout.watches[key].positions)
            )
            for key in watches
        ]
        kept_sites = len(layout.kept)
        logits: dict[int, Tensor] = {}
        for (whole, _), members in sorted(groups.items(), key=lambda item: item[0]):
            for batch in self._batches(layout, members):
                place = np.full(len(layout.rows.read), -1)
                place[batch] = np.arange(len(batch))
                reads, picked = reads_in(every, place)
                outcome = forward(
                    self.network,
                    self.inputs.rows(layout.inputs[batch]),
                    reads,
                    [],
                    readout=torch.arange(len(batch)) if whole else None,
                    positions=torch.from_numpy(layout.rows.read[batch]),
                    stop=not whole,
                    padding=self.network.padding,
                )
                for (number, index), asked, values in zip(picked, reads, outcome.reads, strict=True):
                    site = asked.site
                    if number >= kept_sites:
                        assert places is not None
                        places.put(watches[number - kept_sites], index, values)
                        continue
                    self._put(layout, kept, site, index, values)
                if whole:
                    assert outcome.logits is not None
                    logits |= dict(zip(batch, outcome.logits, strict=True))
                self.context.tick(self._tokens(layout.inputs[batch]))
        order = np.nonzero(read)[0].tolist()
        return torch.stack([logits[row] for row in order]) if order else None

    def _put(self, layout: Layout, kept: PassActivations, site: Site, index: Tensor, values: Tensor) -> None:
        """Keep some vectors of a site; weights are as wide as the longest prompt here, and made as wide as that of all."""
        if site.component == "pattern":
            values = as_wide(values, len(site.heads) or self.network.facts.heads or 1, layout.width)
        kept.put(site, index, values)

    def _tokens(self, indices: np.ndarray) -> int:
        return int(self.inputs.lengths[indices].sum()) * max(1, len(self.network.layers))

    def _batches(self, layout: Layout, rows: Sequence[int]) -> Iterator[list[int]]:
        """Rows of like length, as many as fit."""
        order = sorted(rows, key=lambda row: self.inputs.length(int(layout.inputs[row])))
        while order:
            size = self._fit(self.inputs.length(int(layout.inputs[order[-1]])))
            yield order[:size]
            order = order[size:]

    def _fit(self, tokens: int) -> int:
        """How many rows of so many tokens fit the budget."""
        budget, facts = self.context.budget, self.network.facts
        alive = int(max(sum(stage) for stage in stages(tokens, 0, tokens, facts, budget)))
        each = budget.size * (alive + (facts.heads or 1) * tokens * tokens + 3 * (facts.outputs or 0))
        most = costs_of(facts.traits).most_apart(budget)
        return max(1, min(budget.bytes // max(1, each), most // max(1, tokens)))

    # ── interventions ───────────────────────────────────────────────────────────────────────────

    def _each(
        self, layout: Layout, kept: PassActivations, places: Looks | None
    ) -> Iterator[tuple[Family, tuple[Tensor, np.ndarray]]]:
        """Each intervention, with what :meth:`_patched` gives of it."""
        for family in layout.families:
            yield family, self._patched(layout, family, kept, None, places)

    def _patched(
        self,
        layout: Layout,
        family: Family,
        kept: PassActivations,
        said: np.ndarray | None,
        places: Looks | None = None,
    ) -> tuple[Tensor, np.ndarray]:
        """The logits [rows, vocabulary] of an intervention, after ``said`` tokens more; and what its writes did."""
        homes = layout.prompt_rows(family.resume.base, family.resume, family.pairs)
        values = self.context.values(kept, {})
        lengths = self.inputs.lengths[layout.inputs[homes]] + (0 if said is None else said.shape[1])
        order = np.argsort(lengths, kind="stable")
        found: list[Tensor] = []
        changes = np.zeros((len(family.resume.writes), 2))
        start = 0
        while start < len(order):
            batch = order[start : start + self._fit(int(lengths[order[-1]]))]
            place = np.full(len(family.pairs), -1)
            place[batch] = np.arange(len(batch))
            writes, written = [], []
            edges: list[EdgeWrite] = []
            edged: list[int] = []
            for number, (write, spot) in enumerate(zip(family.resume.writes, family.spots, strict=True)):
                here = np.nonzero((place[spot.which] >= 0) & spot.live)[0]
                if not len(here):
                    continue
                rows, positions = torch.from_numpy(place[spot.which[here]]), torch.from_numpy(spot.positions[here])
                made = SiteWrite(write.place.site, rows, positions, values.edit(write, family, number, here))
                if write.to is not None:
                    edges.append(EdgeWrite(made, write.to, write.zero))
                    edged.append(number)
                else:
                    writes.append(made)
                    written.append(number)
            prompts = self.inputs.rows(layout.inputs[homes[batch]])
            if said is not None:
                assert isinstance(prompts, list)
                prompts = [
                    ids + [max(0, t) for t in said[row].tolist()] for ids, row in zip(prompts, batch, strict=True)
                ]
            read = self.inputs.reads[layout.inputs[homes[batch]]] + (0 if said is None else said.shape[1])
            watches = [] if places is None else [key for key in places.watches if key[0] == family.resume]
            every = [
                SiteRead(
                    key[1].site,
                    torch.from_numpy(layout.watches[key].rows),
                    torch.from_numpy(layout.watches[key].positions),
                )
                for key in watches
            ]
            sites = list(layout.kept) if family.taken else []
            every += [SiteRead(site, *map(torch.from_numpy, layout.kept[site])) for site in sites]
            at = np.full(layout.most_rows, -1)
            at[family.rows[batch]] = np.arange(len(batch))
            reads, picked = reads_in(every, at)
            with ExitStack() as stack:
                acted = {}
                if edges:
                    acted = stack.enter_context(edges_patched(self.network, prompts, edges, self.network.padding))
                outcome = forward(
                    self.network,
                    prompts,
                    reads,
                    writes,
                    readout=torch.arange(len(batch)),
                    positions=torch.from_numpy(read),
                    stop=False,
                    padding=self.network.padding,
                )
            assert outcome.logits is not None
            found.append(outcome.logits)
            for place_, (rows_, change) in acted.items():
                changes[edged[place_]] += rows_, float(change.double().nan_to_num(posinf=0.0).sum())
            for (number, index), values in zip(picked, outcome.reads, strict=True):
                if number >= len(watches):
                    self._put(layout, kept, sites[number - len(watches)], index, values)
                    continue
                assert places is not None
                places.put(watches[number], index, values)
            for number, done in zip(written, outcome.written, strict=True):
                changes[number] += done.rows, float(done.change.double().nan_to_num(posinf=0.0).sum())
            self.context.tick(self._tokens(layout.inputs[homes[batch]]))
            start += len(batch)
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        every = torch.cat(found)
        return every.index_select(0, torch.from_numpy(back).to(every.device)), changes

    def _said(
        self,
        test: Test,
        layout: Layout,
        family: Family | None,
        kept: PassActivations,
        logits: Tensor,
        rows: np.ndarray | None = None,
    ) -> Tensor:
        """The greedy continuation [rows, steps] of an intervention's rows, or of prompt ``rows``."""
        numbers = self.context.numbers[test.name]
        said = [numbers.said(logits, False)]
        while len(said) < numbers.steps:
            words = torch.stack(said, dim=1).cpu().numpy()
            if family is not None:
                said.append(numbers.said(self._patched(layout, family, kept, words)[0], False))
                continue
            assert rows is not None
            parts = []
            size = self._fit(int(self.inputs.lengths[layout.inputs[rows]].max()) + words.shape[1])
            for start in range(0, len(rows), size):
                prompts = self.inputs.rows(layout.inputs[rows[start : start + size]])
                assert isinstance(prompts, list)
                grown = [
                    ids + [max(0, t) for t in word]
                    for ids, word in zip(prompts, words[start : start + size].tolist(), strict=True)
                ]
                more = forward(
                    self.network, grown, readout=torch.arange(len(grown)), stop=False, padding=self.network.padding
                )
                assert more.logits is not None
                parts.append(more.logits)
            said.append(numbers.said(torch.cat(parts), False))
        return torch.stack(said, dim=1)


def _depth(site: Site) -> float:
    found = depth(site)
    return float("inf") if found is None else found[0]
