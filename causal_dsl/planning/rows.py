"""The rows of one pass: which prompts, which interventions on which pairs, what is kept of whom.

Made from a step and a block of its pairs; the executor runs it and the cost counts it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from causal_dsl.causal.ranks import combined, firsts
from causal_dsl.inputs import Inputs
from causal_dsl.planning import graph as g
from causal_dsl.planning.liveness import Accesses, PassRows, place_of, place_read
from causal_dsl.planning.pass_layout import AlikeRows, Layout, Watch
from causal_dsl.planning.pass_runs import ANSWER, AlikeRuns, CachedPart, PassRuns, ReadOfRun, RunsOfPasses
from causal_dsl.planning.reach import all_reach, reaching
from causal_dsl.planning.steps import Block, Step, layers_of
from causal_dsl.program.identity import NetworkKey
from causal_dsl.vocabulary.locations import Place, Position

if TYPE_CHECKING:
    from causal_dsl.planning.plan import Plan


class _Alike:
    """The common part of the interventions of one block, so that each thing is computed once: those of a sweep are on the same pairs
    and mostly at the same tokens. The pairs of a run in a block are its first so many, so their number says which they are."""

    def __init__(self) -> None:
        self._pairs: dict[tuple[tuple[g.Forward, ...], int], tuple[np.ndarray, np.ndarray]] = {}
        self._tokens: dict[tuple[Any, ...], tuple[np.ndarray, np.ndarray]] = {}

    def pairs(self, plan: Plan, runs: tuple[g.Forward, ...], pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of pairs whose inputs are equal in all of ``runs`` one, and which of these stands for each."""
        key = (runs, len(pairs))
        if key not in self._pairs:
            back, count = combined([plan.rows[run][pairs] for run in runs], np.zeros(len(pairs), np.int64))
            self._pairs[key] = (pairs[firsts(back, count)], back)
        return self._pairs[key]

    def tokens(
        self,
        layouts: Layouts,
        place: Place,
        base: g.Forward,
        runs: tuple[g.Forward, ...] | None,
        chosen: np.ndarray,
        of: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The tokens of a place in the chosen of the first ``of`` pairs of a block."""
        key = (place.position, base, runs, of)
        if key not in self._tokens:
            self._tokens[key] = layouts.tokens(place, base, chosen)
        return self._tokens[key]


class Layouts:
    """Makes the layouts of a plan's steps; what positions name in the rows of a run is looked up once."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self._spans: dict[tuple[Position | None, g.Forward], tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        self._runs = RunsOfPasses(plan)
        self._all_alike = _Alike()

    def spans(self, position: Position | None, forward: g.Forward) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For all pairs of a run: where each pair's tokens begin [n + 1], and the tokens, pair after pair."""
        key = (position, forward)
        if key not in self._spans:
            inputs, rows = self.plan.inputs[forward.network], self.plan.rows[forward]
            which, tokens = inputs.spans(position, rows)
            bounds = np.searchsorted(which, np.arange(len(rows) + 1))
            self._spans[key] = (bounds, tokens, rows)
        return self._spans[key]

    def tokens(self, place: Place, forward: g.Forward, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The tokens of a place in the runs of ``pairs``, flattened: which of the pairs [m], and the token [m]."""
        return self.tokens_at(place.position, forward, pairs)

    def tokens_at(
        self, position: Position | None, forward: g.Forward, pairs: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """:meth:`tokens` of the places with a position."""
        if not self.plan.inputs[forward.network].traits.positions:
            return np.arange(len(pairs)), np.zeros(len(pairs), np.int64)
        bounds, tokens, _ = self.spans(position, forward)
        counts = bounds[pairs + 1] - bounds[pairs]
        which = np.repeat(np.arange(len(pairs)), counts)
        start = np.repeat(bounds[pairs] - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
        return which, tokens[start + np.arange(len(which))]

    def live(self, write: g.WriteNode, base: g.Forward, pairs: np.ndarray, read: ReadOfRun = ANSWER) -> np.ndarray:
        """Which tokens of a write can reach what is read of the run in which their pair's base is written, in the order of
        :meth:`tokens` [m]."""
        inputs = self.plan.inputs[base.network]
        if read.answer and all_reach(inputs.traits):
            return np.ones(len(pairs), bool)
        rows = self.plan.rows[base][pairs]
        which, tokens = self.tokens(write.place, base, pairs)
        facts, site, lengths = inputs.facts, write.place.site, inputs.lengths[rows[which]]
        found = np.zeros(len(which), bool)
        if read.answer:
            found |= reaching(facts, site, tokens, lengths, inputs.reads[rows[which]])
        places = [(place, place_of(place.site, layers_of(facts))) for place in read.taken]
        places += [(place, place_read(place.site, layers_of(facts), True)) for place in read.watched]
        for place, at in places:
            owners, seen = self.looked_at(place, base, pairs)
            bounds = np.searchsorted(owners, np.arange(len(pairs) + 1))
            counts = bounds[which + 1] - bounds[which]
            for number in range(int(counts.max(initial=0))):  # the tokens of a place, one after another
                left = np.flatnonzero(~found & (number < counts))
                if len(left):
                    target = seen[bounds[which[left]] + number]
                    found[left] = reaching(facts, site, tokens[left], lengths[left], target, at)
        return found

    def reaches(self, resume: g.Resume) -> list[bool]:
        """Of each write of an intervention, whether any of it can reach the read-out in any pair."""
        pairs = np.arange(self.plan.drawn[resume.base.draw].n)
        return [bool(self.live(write, resume.base, pairs).any()) for write in resume.writes]

    def make(
        self,
        step: Step,
        block: Block,
        extra: Sequence[tuple[g.Resume, int]] = (),
        only: Iterable[g.Capture] | None = None,
        ahead: bool = False,
        watch: bool = False,
    ) -> Layout:
        """The rows of a block of a step.

        ``extra``: further interventions, each on the first so many pairs of the block (the noise floor's). ``only``:
        a pass that keeps these vectors and does nothing else. ``ahead``: all that is written is kept by the prompts'
        runs, which are done before (the reference executor's way). ``watch``: what tests measure at places is read, too.
        """
        plan, inputs = self.plan, self.plan.inputs[step.network]
        runs = self._runs.of(step, block, extra, only, ahead, watch)
        draws: dict[g.DrawNode, np.ndarray] = {}
        for _, forward in runs.prompts:
            if forward.draw not in draws:
                here = block.pairs(plan.drawn[forward.draw].n)
                draws[forward.draw] = np.arange(here.start, here.stop)
        prompts = _Prompts(inputs, runs.shared)
        prompt: dict[tuple[object, g.Forward], np.ndarray] = {
            (user, forward): prompts.rows(plan.rows[forward][draws[forward.draw]])
            for user, forward in runs.prompts
            if len(draws[forward.draw])
        }
        layout = Layout(
            step.network,
            np.array(prompts.inputs, np.int64),
            draws,
            prompt,
            runs,
            PassRows(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)),
            1,
            tuple(f for f in runs.forwards if (None, f) in prompt),
        )
        layout.width = int(inputs.lengths[layout.inputs].max()) if len(layout.inputs) else 1
        common = _Alike()
        layout.alike = tuple(self._rows_of_alike(layout, alike, common) for alike in runs.alike)
        there = np.array([rows is not None for rows in layout.alike], bool)
        layout.there = np.flatnonzero(there[runs.kind])
        sizes = layout.sizes
        layout.first = np.full(len(runs.runs), -1)
        layout.first[layout.there] = len(layout.inputs) + np.cumsum(sizes) - sizes
        layout.most_rows = len(layout.inputs) + int(sizes.sum())
        layout.key_parts = self._key_parts(layout)
        if watch:
            self._watch(layout)
        layout.rows = self._rows(layout, inputs)
        return layout

    def runs_of(self, step: Step, block: Block) -> PassRuns:
        """The runs of the pass of a block, with what is read at places in them; its pairs do not matter."""
        return self._runs.of(step, block, (), None, False, True)

    def looks_on(self, network: NetworkKey) -> list[tuple[g.ReadNode, Place]]:
        """The readings at places in the runs of a network."""
        return self._runs.looks_on(network)

    def _rows_of_alike(self, layout: Layout, alike: AlikeRuns, common: _Alike) -> AlikeRows | None:
        """The rows of interventions that are alike; None where they have no pair in the block."""
        resume, pairs = alike.resume, layout.pairs[alike.resume.base.draw][: alike.most]
        if not len(pairs):
            return None
        chosen, back = pairs, np.arange(len(pairs))
        if alike.decided is not None:
            chosen, back = common.pairs(self.plan, alike.decided, pairs)
        touched = []
        for write in resume.writes:
            which, tokens = common.tokens(self, write.place, resume.base, alike.decided, chosen, len(pairs))
            touched.append((which, tokens, self.live(write, resume.base, chosen, alike.read)))
        home = layout.prompt_rows(resume.base, resume, chosen) if layout.shared else np.zeros(0, np.int64)
        return AlikeRows(chosen, back, home, tuple(touched))

    def rows_of(self, resume: g.Resume, distinct: bool) -> int:
        """How many rows an intervention has on all of its pairs; ``distinct``: those that are alike are run once."""
        n, runs = self.plan.drawn[resume.base.draw].n, self._runs.decided_by(resume) if distinct else None
        return n if runs is None else len(self._all_alike.pairs(self.plan, runs, np.arange(n))[0])

    def _key_parts(self, layout: Layout) -> tuple[np.ndarray | None, ...]:
        known: dict[CachedPart, np.ndarray | None] = {}

        def keys_of(part: CachedPart) -> np.ndarray | None:
            pairs = layout.pairs.get(part.draw)
            if pairs is None or not len(pairs):
                return None
            forward = part.run if isinstance(part.run, g.Forward) else part.run.base
            which, tokens = self.tokens(part.place, forward, pairs)
            return layout.key(layout.rows_of(part.run, part.user, pairs)[which], tokens, part.copy)

        found: list[np.ndarray | None] = []
        for parts in layout.runs.parts:
            for part in parts:
                if part not in known:
                    known[part] = keys_of(part)
            keys = [own for own in map(known.__getitem__, parts) if own is not None]
            found.append(np.unique(np.concatenate(keys)) if keys else None)
        return tuple(found)

    def looked_at(self, place: Place, forward: g.Forward, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """:meth:`tokens` of a place that is read; one without a position is at the token at which the answer is read."""
        if place.position is not None:
            return self.tokens(place, forward, pairs)
        return np.arange(len(pairs)), self.plan.inputs[forward.network].reads[self.plan.rows[forward][pairs]]

    def _watch(self, layout: Layout) -> None:
        """Note what is read at places in the runs of a pass."""
        looks = self._runs.looks_on(layout.network)
        families = {family.resume: family for family in layout.families} if looks else {}
        for read, place in looks:
            key = (read.run, place)
            if key in layout.watches:
                continue
            if isinstance(read.run, g.Forward):
                if read.run not in layout.read_forwards:
                    continue
                pairs = layout.pairs[read.run.draw]
                which, tokens = self.looked_at(place, read.run, pairs)
                rows = layout.prompt_rows(read.run, None, pairs)[which]
            else:
                family = families.get(read.run)
                if family is None:
                    continue
                pairs = family.pairs
                which, tokens = self.looked_at(place, read.run.base, pairs)
                rows = family.rows[which]
            places, at = np.unique(rows * layout.width + tokens, return_inverse=True)
            layout.watches[key] = Watch(
                pairs,
                which,
                at.reshape(-1),
                places // layout.width,
                places % layout.width,
                isinstance(read.run, g.Resume),
            )

    def _rows(self, layout: Layout, inputs: Inputs) -> PassRows:
        runs, there = layout.runs, layout.there
        layers = layers_of(inputs.facts)
        lengths, reads_at = inputs.lengths[layout.inputs], inputs.reads[layout.inputs]
        home = self._homes(layout)
        read = np.full(len(lengths) + len(home), -1)
        for forward in (*layout.read_forwards, *runs.against):
            if (None, forward) in layout.prompt:
                rows = layout.prompt[None, forward]
                read[rows] = reads_at[rows]
        read[len(lengths) :] = np.where(np.repeat(runs.inner[there], layout.sizes), -1, reads_at[home])
        kept = [
            (*layout.places_of(keys), level, phase)
            for number, level, phase in runs.read_at
            if (keys := layout.key_parts[number]) is not None
        ]
        watched = [
            (watch.rows, watch.positions, *place_read(place.site, layers, watch.within))
            for (_, place), watch in layout.watches.items()
        ]
        return PassRows(lengths, home, read, self._writes(layout), Accesses.join([*kept, *watched]))

    def _homes(self, layout: Layout) -> np.ndarray:
        """The prompt row of each row that is intervened on."""
        found = []
        for number in layout.there.tolist():
            rows = layout.alike[layout.runs.kind[number]]
            assert rows is not None
            if layout.shared:
                found.append(rows.home)
            else:
                resume = layout.runs.runs[number]
                found.append(layout.prompt_rows(resume.base, resume, rows.pairs))
        return np.concatenate(found) if found else np.zeros(0, np.int64)

    def _writes(self, layout: Layout) -> Accesses:
        """The writes, one intervention after another."""
        runs, there = layout.runs, layout.there
        none = np.zeros(0, np.int64)
        which, tokens, counts = [], [], []
        for alike in layout.alike:
            touched = () if alike is None else alike.touched
            which.append(np.concatenate([none, *(own for own, _, _ in touched)]))
            tokens.append(np.concatenate([none, *(own for _, own, _ in touched)]))
            counts.append(np.array([len(own) for own, _, _ in touched], np.int64))
        kinds = runs.kind[there].tolist()
        if not kinds:
            return Accesses.none()
        each = np.concatenate([counts[kind] for kind in kinds])
        acts = np.repeat(np.isin(np.arange(len(runs.runs)), there), runs.write_counts)
        first = np.repeat(layout.first[there], [len(which[kind]) for kind in kinds])
        return Accesses(
            np.concatenate([which[kind] for kind in kinds]) + first,
            np.concatenate([tokens[kind] for kind in kinds]),
            np.repeat(runs.levels[acts], each),
            np.repeat(runs.phases[acts], each),
        )


class _Prompts:
    """The prompt rows of a pass, each input once where they are shared."""

    def __init__(self, inputs: Inputs, shared: bool):
        self.table, self.shared = inputs.runs, shared
        self.inputs: list[int] = []
        #: the row of each input that is there already, else -1
        self.known = np.full(len(self.table), -1) if shared else np.zeros(0, np.int64)

    def rows(self, indices: np.ndarray) -> np.ndarray:
        if not self.shared:
            start = len(self.inputs)
            self.inputs += indices.tolist()
            return np.arange(start, start + len(indices))
        runs = self.table[indices]
        found = self.known[runs]
        if (found < 0).any():  # in the order in which they come
            new, at = np.unique(runs[found < 0], return_index=True)
            new = new[np.argsort(at)]
            self.known[new] = len(self.inputs) + np.arange(len(new))
            self.inputs += new.tolist()
            found = self.known[runs]
        return found


__all__ = ["ANSWER", "Layouts", "ReadOfRun"]
