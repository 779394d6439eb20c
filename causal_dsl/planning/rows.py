"""The rows of one pass: which prompts, which interventions on which pairs, what is kept of whom.

Made from a step and a block of its pairs; the executor runs it and the cost counts it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from causal_dsl.causal.ranks import combined, firsts
from causal_dsl.inputs import Inputs
from causal_dsl.planning import graph as g
from causal_dsl.planning.liveness import Accesses, PassRows, Schedule, place_of, place_read, schedule
from causal_dsl.planning.reach import reaching
from causal_dsl.planning.steps import (
    Block,
    Step,
    by_template,
    captures,
    in_tree,
    is_random,
    layers_of,
    mean_in_pass,
    taken,
    with_inner,
)
from causal_dsl.program.components import in_time
from causal_dsl.program.identity import NetworkKey
from causal_dsl.vocabulary.locations import Place, Position, Site

if TYPE_CHECKING:
    from causal_dsl.planning.plan import Plan


@dataclass(frozen=True, eq=False)
class Spot:
    """The tokens [m] that one write of a family touches: ``which`` of its rows, as rows of the pass, and where; ``live``
    are those that can reach what is read of the run."""

    which: np.ndarray
    rows: np.ndarray
    positions: np.ndarray
    live: np.ndarray


@dataclass(frozen=True)
class ReadOfRun:
    """What is read of a run that is intervened on: its ``answer``, the places whose vectors others take (``taken``), and those
    at which something is measured (``watched``)."""

    answer: bool = True
    taken: tuple[Place, ...] = ()
    watched: tuple[Place, ...] = ()


#: Of a fit, a trial and most tests.
ANSWER = ReadOfRun()


@dataclass(frozen=True, eq=False)
class Family:
    """One intervention on the pairs of a block: ``pairs`` [k] are run, ``back`` [n] which of them stands for each pair
    of the block; ``rows`` [k] of the pass. ``taken``: vectors of it are written elsewhere; ``inner``: nothing else is read of it."""

    resume: g.Resume
    pairs: np.ndarray
    back: np.ndarray
    rows: np.ndarray
    spots: tuple[Spot, ...]
    taken: bool = False
    inner: bool = False


@dataclass(frozen=True, eq=False)
class Watch:
    """A place that is read in a run of a pass, for what a test measures there: (``rows``, ``positions``) [k] of the pass, unique;
    ``at`` [m] which of them each token is, of pair ``which`` [m] of ``pairs``. ``within``: the rows are intervened on, so
    that what is read is what is there after the writes."""

    pairs: np.ndarray
    which: np.ndarray
    at: np.ndarray
    rows: np.ndarray
    positions: np.ndarray
    within: bool


@dataclass(eq=False)
class Layout:
    """``inputs`` [prompts]: the input of each prompt row. ``families``: the interventions. ``prompt[forward]`` [n]: the
    prompt row of each pair of the block. ``kept[site]``: (rows, positions) of the vectors that are kept, unique."""

    network: NetworkKey
    inputs: np.ndarray
    pairs: dict[g.DrawNode, np.ndarray]
    prompt: dict[tuple[object, g.Forward], np.ndarray]
    families: list[Family]
    kept: dict[Site, tuple[np.ndarray, np.ndarray]]
    rows: PassRows
    shared: bool
    width: int
    read_forwards: tuple[g.Forward, ...] = ()
    #: whose own copies of kept vectors come how manieth, where they are not kept once
    copies: dict[object, int] = field(default_factory=dict)
    watches: dict[tuple[g.Forward | g.Resume, Place], Watch] = field(default_factory=dict)
    keys: dict[Site, np.ndarray] = field(default_factory=dict)
    family: dict[g.Resume, Family] = field(default_factory=dict)
    #: how many rows the pass has: prompts, then those that are intervened on
    most_rows: int = 1

    def prompt_rows(self, forward: g.Forward, of: g.Resume | None, pairs: np.ndarray) -> np.ndarray:
        """The prompt rows of some pairs of a run; ``of`` is the intervention that they run for, where none is shared."""
        rows = self.prompt[None if self.shared else of, forward]
        return rows[pairs - self.pairs[forward.draw][0]]

    def rows_of(self, run: g.Forward | g.Resume, of: g.Resume | None, pairs: np.ndarray) -> np.ndarray:
        """The rows of some pairs of a run, plain or intervened on; ``of``: the intervention that takes vectors of it."""
        if isinstance(run, g.Forward):
            return self.prompt_rows(run, of, pairs)
        family = self.family[run]
        return family.rows[family.back[pairs - self.pairs[run.base.draw][0]]]

    def slots(self, site: Site, rows: np.ndarray, positions: np.ndarray, of: object) -> np.ndarray:
        """Where vectors that are kept for ``of`` lie among those of their site [m]."""
        return np.searchsorted(self.keys[site], self._key(rows, positions, self.copies.get(of, 0)))

    def _key(self, rows: np.ndarray, positions: np.ndarray, copy: int) -> np.ndarray:
        return (copy * self.most_rows + rows) * self.width + positions

    def keep(self, site: Site, parts: list[tuple[np.ndarray, np.ndarray, int]]) -> None:
        """Keep the vectors of a site at (rows, positions), copy by copy."""
        keys = np.unique(np.concatenate([self._key(*part) for part in parts]))
        self.keys[site] = keys
        self.kept[site] = (keys // self.width % self.most_rows, keys % self.width)

    def schedule(self, step: Step, layers: int, whole: bool) -> Schedule:
        """The frames of the pass."""
        return schedule(self.rows, layers, step.rules, whole)


class _Alike:
    """What interventions of one block have in common, so that each is computed once: those of a sweep are on the same pairs
    and mostly at the same tokens. The pairs of a run in a block are its first so many, so their number says which they are."""

    def __init__(self) -> None:
        self._pairs: dict[tuple[tuple[g.Forward, ...], int], tuple[np.ndarray, np.ndarray]] = {}
        self._tokens: dict[tuple[Any, ...], tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

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
        write: g.WriteNode,
        base: g.Forward,
        runs: tuple[g.Forward, ...] | None,
        chosen: np.ndarray,
        of: int,
        read: ReadOfRun,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The tokens of a write in the chosen of the first ``of`` pairs of a block, and which of them reach what is read of the run."""
        key = (write.place, base, runs, of, read)
        if key not in self._tokens:
            which, tokens = layouts.tokens(write.place, base, chosen)
            self._tokens[key] = (which, tokens, layouts.live(write, base, chosen, read))
        return self._tokens[key]


class Layouts:
    """Makes the layouts of a plan's steps; what positions name in the rows of a run is looked up once."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self._spans: dict[tuple[Position | None, g.Forward], tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        self._deciding: dict[g.Resume, tuple[g.Forward, ...] | None] = {}
        self._looking: dict[NetworkKey, list[tuple[g.ReadNode, Place]]] = {}
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
        if not self.plan.inputs[forward.network].has_tokens:
            return np.arange(len(pairs)), np.zeros(len(pairs), np.int64)
        bounds, tokens, _ = self.spans(place.position, forward)
        counts = bounds[pairs + 1] - bounds[pairs]
        which = np.repeat(np.arange(len(pairs)), counts)
        start = np.repeat(bounds[pairs] - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
        return which, tokens[start + np.arange(len(which))]

    def live(self, write: g.WriteNode, base: g.Forward, pairs: np.ndarray, read: ReadOfRun = ANSWER) -> np.ndarray:
        """Which tokens of a write can reach what is read of the run in which their pair's base is written, in the order of
        :meth:`tokens` [m]."""
        inputs = self.plan.inputs[base.network]
        if read.answer and not inputs.has_tokens:
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
        resumes = () if only is not None else step.resumes[block.first : block.last]
        runs = with_inner(resumes)
        forwards = () if only is not None else step.forwards if block.first == 0 else ()
        if only is not None:
            wanted: list[tuple[g.Resume | None, g.Capture]] = [(None, capture) for capture in only]
        else:
            wanted = []
            for resume in (*runs, *(r for r, _ in extra)):
                now = _now(resume, step, ahead)
                wanted += [(resume, capture) for capture in taken(resume) if capture in now]
        shared = step.shared or only is not None
        against = [read.against for read in plan.reads_of(resumes) if read.against is not None]
        against += [resume.base for resume, _ in extra]
        users: dict[tuple[object, g.Forward], None] = {}
        for forward in (*forwards, *against):
            users[None, forward] = None
        for resume in (*runs, *(r for r, _ in extra)):
            users[None if shared else resume, resume.base] = None
        for user, capture in wanted:
            if isinstance(capture.run, g.Forward):
                users[None if shared else user, capture.run] = None
        draws = {forward.draw: np.asarray(block.pairs(plan.drawn[forward.draw].n)) for _, forward in users}
        users = {key: None for key in users if len(draws[key[1].draw])}
        prompts = _Prompts(inputs, shared)
        prompt = {key: prompts.rows(plan.rows[key[1]][draws[key[1].draw]]) for key in users}
        layout = Layout(
            step.network,
            np.array(prompts.inputs, np.int64),
            draws,
            prompt,
            [],
            {},
            PassRows(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)),
            shared,
            1,
            tuple(f for f in forwards if (None, f) in users),
        )
        layout.width = int(inputs.lengths[layout.inputs].max()) if len(layout.inputs) else 1
        count = len(layout.inputs)
        # A base that is patched into itself is its own noise floor.
        outer = set(resumes)
        further = [(resume, most) for resume, most in extra if resume not in outer]
        takes: dict[g.Forward | g.Resume, dict[Place, None]] = {}
        for capture in (capture for run in runs for capture in captures(run)):
            takes.setdefault(capture.run, {})[capture.place] = None
        watched = self._watched(layout.network) if watch else {}
        alike = _Alike()
        for resume, most in [*((r, None) for r in runs), *further]:
            pairs = draws[resume.base.draw] if resume.base.draw in draws else np.zeros(0, np.int64)
            if len(pairs):
                inner = most is None and resume not in outer
                read = ReadOfRun(not inner, tuple(takes.get(resume, ())), tuple(watched.get(resume, ())))
                family = self._family(layout, resume, pairs[:most], count, step.shared, alike, read)
                if most is None:
                    family = replace(family, taken=resume in takes, inner=inner)
                layout.families.append(family)
                layout.family.setdefault(resume, family)
                count += len(family.pairs)
        layout.most_rows = count
        if not step.kept_once and only is None:
            layout.copies = {resume: number for number, resume in enumerate(runs)}
        self._keep(layout, wanted)
        if watch:
            self._watch(layout)
        layout.rows = self._rows(layout, inputs, layout.read_forwards, against)
        return layout

    def _family(
        self,
        layout: Layout,
        resume: g.Resume,
        pairs: np.ndarray,
        first: int,
        distinct: bool,
        alike: _Alike,
        read: ReadOfRun,
    ) -> Family:
        runs = self._decided_by(resume) if distinct else None
        chosen, back = (pairs, np.arange(len(pairs))) if runs is None else alike.pairs(self.plan, runs, pairs)
        rows = np.arange(first, first + len(chosen))
        spots = []
        for write in resume.writes:
            which, tokens, live = alike.tokens(self, write, resume.base, runs, chosen, len(pairs), read)
            spots.append(Spot(which, rows[which], tokens, live))
        return Family(resume, chosen, back, rows, tuple(spots))

    def rows_of(self, resume: g.Resume, distinct: bool) -> int:
        """How many rows an intervention has on all of its pairs; ``distinct``: those that are alike are run once."""
        n, runs = self.plan.drawn[resume.base.draw].n, self._decided_by(resume) if distinct else None
        return n if runs is None else len(self._all_alike.pairs(self.plan, runs, np.arange(n))[0])

    def _decided_by(self, resume: g.Resume) -> tuple[g.Forward, ...] | None:
        """The plain runs whose inputs decide all that is written; None where what is written differs between equal rows."""
        if resume not in self._deciding:
            tree = list(in_tree(resume))
            runs = dict.fromkeys(r.base for r in tree)
            runs |= dict.fromkeys(capture.forward for r in tree for capture in captures(r))
            self._deciding[resume] = None if any(map(is_random, tree)) or by_template(tree) else tuple(runs)
        return self._deciding[resume]

    def _keep(self, layout: Layout, wanted: list[tuple[g.Resume | None, g.Capture]]) -> None:
        parts: dict[Site, list[tuple[np.ndarray, np.ndarray, int]]] = {}
        seen = set()
        for resume, capture in wanted:
            run, copy = (None if layout.shared else resume, capture.run), layout.copies.get(resume, 0)
            pairs = layout.pairs.get(capture.forward.draw)
            if (run, capture, copy) in seen or pairs is None or not len(pairs):
                continue
            seen.add((run, capture, copy))
            which, tokens = self.tokens(capture.place, capture.forward, pairs)
            rows = layout.rows_of(capture.run, resume, pairs)[which]
            parts.setdefault(capture.place.site, []).append((rows, tokens, copy))
        for site, found in parts.items():
            layout.keep(site, found)

    def looked_at(self, place: Place, forward: g.Forward, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """:meth:`tokens` of a place that is read; one without a position is at the token at which the answer is read."""
        if place.position is not None:
            return self.tokens(place, forward, pairs)
        return np.arange(len(pairs)), self.plan.inputs[forward.network].reads[self.plan.rows[forward][pairs]]

    def _watched(self, network: NetworkKey) -> dict[g.Forward | g.Resume, dict[Place, None]]:
        """The places at which tests measure something in the runs on a network."""
        found: dict[g.Forward | g.Resume, dict[Place, None]] = {}
        for read, place in self._looks_on(network):
            found.setdefault(read.run, {})[place] = None
        return found

    def _watch(self, layout: Layout) -> None:
        """Note what is read at places in the runs of a pass."""
        families = {family.resume: family for family in layout.families}
        for read, place in self._looks_on(layout.network):
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

    def _looks_on(self, network: NetworkKey) -> list[tuple[g.ReadNode, Place]]:
        """What is read at places in the runs of a network."""
        if network not in self._looking:
            scores = (
                score
                for test in self.plan.tests
                if test.network.key == network
                for score in self.plan.scores[test.name]
            )
            reads = [read for score in scores for _, read in score.reads if read.looks]
            self._looking[network] = [
                (read, place)
                for read in reads
                for place in dict.fromkeys(place for looked in read.looks for place in looked.look.places)
            ]
        return self._looking[network]

    def _rows(
        self, layout: Layout, inputs: Inputs, forwards: Sequence[g.Forward], against: list[g.Forward]
    ) -> PassRows:
        layers = layers_of(inputs.facts)
        lengths, reads_at = inputs.lengths[layout.inputs], inputs.reads[layout.inputs]
        homes = [layout.prompt_rows(f.resume.base, f.resume, f.pairs) for f in layout.families]
        home = np.concatenate(homes) if homes else np.zeros(0, np.int64)
        read = np.full(len(lengths) + len(home), -1)
        for forward in (*forwards, *against):
            if (None, forward) in layout.prompt:
                rows = layout.prompt[None, forward]
                read[rows] = reads_at[rows]
        read[len(lengths) :] = reads_at[home]
        for family in layout.families:
            if family.inner:
                read[family.rows] = -1
        writes = Accesses.join(
            (spot.rows, spot.positions, *place_of(write.place.site, layers))
            for family in layout.families
            for write, spot in zip(family.resume.writes, family.spots, strict=True)
        )
        kept = [(rows, positions, *place_of(site, layers)) for site, (rows, positions) in layout.kept.items()]
        watched = [
            (watch.rows, watch.positions, *place_read(place.site, layers, watch.within))
            for (_, place), watch in layout.watches.items()
        ]
        reads = Accesses.join([*kept, *watched])
        return PassRows(lengths, home, read, writes, reads)


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


def _now(resume: g.Resume, step: Step, ahead: bool) -> set[g.Capture]:
    """The vectors that the pass itself keeps for an intervention: those that it writes after coming by them, and those of means that are
    not over several blocks."""
    found: set[g.Capture] = set()
    for write in resume.writes:
        for value in write.value.walk():
            if isinstance(value, g.Capture):
                if ahead or in_time(value.place.site, write.place.site):
                    found.add(value)
            elif isinstance(value, g.Average) and mean_in_pass(step, value, write.place, ahead):
                found.update(value.captures)
    return found
