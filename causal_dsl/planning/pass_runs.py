"""The layout of a pass that holds whatever its pairs are: its interventions, what is kept for them, and which of them are alike.

A step is laid out block after block, and in every block its interventions write the same places, take the same vectors, and have the
same rows as their like. All of that is found once; a block then finds the rows of each kind of intervention, and not of each one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import field
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.planning import graph as g
from causal_dsl.planning.liveness import place_of
from causal_dsl.planning.reach import all_reach
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

#: Passes of which this is held: a step has its own for its first block, which has the noise floor, and for all others.
_HELD = 8

#: Whose run it is where no prompt is shared (else None), and the run.
UserRun: TypeAlias = "tuple[g.Resume | None, g.Forward | g.Resume]"


@dataclass(frozen=True)
class ReadOfRun:
    """The reads of a run that is intervened on: its ``answer``, the places whose vectors others take (``taken``), and those
    at which something is measured (``watched``)."""

    answer: bool = True
    taken: tuple[Place, ...] = ()
    watched: tuple[Place, ...] = ()


#: Of a fit, a trial and most tests.
ANSWER = ReadOfRun()


@dataclass(frozen=True, eq=False)
class AlikeRuns:
    """Interventions that have the same rows in a block, of which ``resume`` is one: they are on one base, the same plain runs
    ``decided`` what they write (None: not alone), they write at the same tokens, and the same is ``read`` of them. ``most``: only so many pairs
    are run, the first ones."""

    resume: g.Resume
    decided: tuple[g.Forward, ...] | None
    read: ReadOfRun
    most: int | None


@dataclass(frozen=True)
class CachedPart:
    """Vectors that are kept of a run at the tokens of ``position``, for ``user``; ``copy``: whose they are, where they are not kept once.
    ``place`` is one with that position."""

    user: g.Resume | None
    run: g.Forward | g.Resume
    position: Position | None
    copy: int
    place: Place = field(compare=False)

    @property
    def draw(self) -> g.DrawNode:
        return self.run.draw if isinstance(self.run, g.Forward) else self.run.base.draw


@dataclass(frozen=True, eq=False)
class PassRuns:
    """``runs``: the interventions, each after those in whose runs vectors are taken for it, and those of a noise floor at the end;
    ``inner`` [runs], ``taken`` [runs] as in a family of a layout, ``kind`` [runs] the number of each among ``alike``.
    ``write_counts`` [runs] how many writes each has, ``levels``, ``phases`` [all writes] where these act.
    ``prompts``: the plain runs whose inputs are in the pass. ``kept``: for each site the number of its ``parts``; ``read_at`` are these numbers with the
    level and the phase at which they are read, each once."""

    runs: tuple[g.Resume, ...]
    inner: np.ndarray
    taken: np.ndarray
    kind: np.ndarray
    alike: tuple[AlikeRuns, ...]
    write_counts: np.ndarray
    levels: np.ndarray
    phases: np.ndarray
    prompts: tuple[tuple[g.Resume | None, g.Forward], ...]
    against: tuple[g.Forward, ...]
    forwards: tuple[g.Forward, ...]
    kept: dict[Site, int]
    parts: tuple[tuple[CachedPart, ...], ...]
    read_at: tuple[tuple[int, int, int], ...]
    copies: dict[object, int]
    shared: bool

    @cached_property
    def number(self) -> dict[g.Resume, int]:
        """The place of each intervention among them."""
        return {resume: number for number, resume in enumerate(self.runs)}


class RunsOfPasses:
    """Finds what the passes of a plan have, and holds that of the last ones."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self._deciding: dict[g.Resume, tuple[g.Forward, ...] | None] = {}
        self._looking: dict[NetworkKey, list[tuple[g.ReadNode, Place]]] = {}
        self._found: OrderedDict[tuple[object, ...], tuple[Step, PassRuns]] = OrderedDict()

    def of(
        self,
        step: Step,
        block: Block,
        extra: Sequence[tuple[g.Resume, int]],
        only: Iterable[g.Capture] | None,
        ahead: bool,
        watch: bool,
    ) -> PassRuns:
        """Of a block of a step; its pairs do not matter. The settings are those of :meth:`Layouts.make`."""
        kept_alone, further = None if only is None else tuple(only), tuple(extra)
        whole = step.blocks == (Block(),)  # a mean is then taken within the pass
        settings = (step.network, step.shared, step.kept_once, whole, ahead, watch)
        key = (id(step.resumes), id(step.forwards), block.first, block.last, settings, kept_alone, further)
        known = self._found.get(key)
        if known is None:
            made = self._make(step, block, further, kept_alone, ahead, watch)
            known = self._found[key] = (
                step,
                made,
            )  # the step is held, so that no other tuple comes to have these numbers
            if len(self._found) > _HELD:
                self._found.popitem(last=False)
        self._found.move_to_end(key)
        return known[1]

    def _make(
        self,
        step: Step,
        block: Block,
        extra: tuple[tuple[g.Resume, int], ...],
        only: tuple[g.Capture, ...] | None,
        ahead: bool,
        watch: bool,
    ) -> PassRuns:
        resumes = () if only is not None else step.resumes[block.first : block.last]
        inner = with_inner(resumes)
        forwards = () if only is not None or block.first else step.forwards
        own = [*inner, *(resume for resume, _ in extra)]
        wanted: list[tuple[g.Resume | None, g.Capture]] = [(None, capture) for capture in only or ()]
        if only is None:
            for resume in own:
                now = _now(resume, step, ahead)
                wanted += [(resume, capture) for capture in taken(resume) if capture in now]
        shared = step.shared or only is not None
        against = [read.against for read in self.plan.reads_of(resumes) if read.against is not None]
        against += [resume.base for resume, _ in extra]
        prompts: dict[tuple[g.Resume | None, g.Forward], None] = {}
        for forward in (*forwards, *against):
            prompts[None, forward] = None
        for resume in own:
            prompts[None if shared else resume, resume.base] = None
        for user, capture in wanted:
            if isinstance(capture.run, g.Forward):
                prompts[None if shared else user, capture.run] = None
        # A base that is patched into itself is its own noise floor.
        outer = set(resumes)
        runs: list[tuple[g.Resume, int | None]] = [(resume, None) for resume in inner]
        runs += [(resume, most) for resume, most in extra if resume not in outer]
        takes: dict[g.Forward | g.Resume, dict[Place, None]] = {}
        for capture in (capture for run in inner for capture in captures(run)):
            takes.setdefault(capture.run, {})[capture.place] = None
        is_inner = np.array([most is None and resume not in outer for resume, most in runs], bool)
        reads = self._reads(runs, is_inner, takes, step.network, watch)
        kind, alike = self._alike(runs, reads, step)
        acts = [self._acts(write.place.site, step.network) for resume, _ in runs for write in resume.writes]
        copies: dict[object, int] = {}
        if not step.kept_once and only is None:
            copies = {resume: number for number, resume in enumerate(inner)}
        kept, parts, read_at = self._kept(wanted, copies, shared, step.network)
        return PassRuns(
            tuple(resume for resume, _ in runs),
            is_inner,
            np.array([most is None and resume in takes for resume, most in runs], bool),
            kind,
            alike,
            np.array([len(resume.writes) for resume, _ in runs], np.int64),
            np.array([level for level, _ in acts], np.int64),
            np.array([phase for _, phase in acts], np.int64),
            tuple(prompts),
            tuple(against),
            tuple(forwards),
            kept,
            parts,
            read_at,
            copies,
            shared,
        )

    def _reads(
        self,
        runs: Sequence[tuple[g.Resume, int | None]],
        inner: np.ndarray,
        takes: dict[g.Forward | g.Resume, dict[Place, None]],
        network: NetworkKey,
        watch: bool,
    ) -> list[ReadOfRun]:
        watched: dict[g.Forward | g.Resume, dict[Place, None]] = {}
        for read, place in self.looks_on(network) if watch else ():
            watched.setdefault(read.run, {})[place] = None
        found = []
        for (resume, _), is_inner in zip(runs, inner.tolist(), strict=True):
            there = tuple(takes.get(resume, ())), tuple(watched.get(resume, ()))
            found.append(ReadOfRun(not is_inner, *there) if is_inner or any(there) else ANSWER)
        return found

    def _alike(
        self, runs: Sequence[tuple[g.Resume, int | None]], reads: Sequence[ReadOfRun], step: Step
    ) -> tuple[np.ndarray, tuple[AlikeRuns, ...]]:
        alone = all_reach(self.plan.inputs[step.network].traits)
        numbers: dict[object, int] = {}
        alike: list[AlikeRuns] = []
        kind = np.zeros(len(runs), np.int64)
        for place, ((resume, most), read) in enumerate(zip(runs, reads, strict=True)):
            decided = self.decided_by(resume) if step.shared else None
            # All that decides which tokens a write touches, and which of them can reach what is read.
            where = tuple(
                None if alone and read.answer else (write.place.position, *self._acts(write.place.site, step.network))
                for write in resume.writes
            )
            key = (resume.base, decided, most, where, None if alone and read.answer else read)
            number = numbers.setdefault(key, len(alike))
            if number == len(alike):
                alike.append(AlikeRuns(resume, decided, read, most))
            kind[place] = number
        return kind, tuple(alike)

    def _kept(
        self,
        wanted: Iterable[tuple[g.Resume | None, g.Capture]],
        copies: dict[object, int],
        shared: bool,
        on: NetworkKey,
    ) -> tuple[dict[Site, int], tuple[tuple[CachedPart, ...], ...], tuple[tuple[int, int, int], ...]]:
        of_site: dict[Site, dict[CachedPart, None]] = {}
        known: dict[CachedPart, CachedPart] = {}
        for resume, capture in wanted:
            user, copy = None if shared else resume, copies.get(resume, 0)
            part = CachedPart(user, capture.run, capture.place.position, copy, capture.place)
            of_site.setdefault(capture.place.site, {})[known.setdefault(part, part)] = None
        numbers: dict[tuple[CachedPart, ...], int] = {}
        kept: dict[Site, int] = {}
        found: list[tuple[CachedPart, ...]] = []
        read_at: dict[tuple[int, int, int], None] = {}
        for site, parts in of_site.items():
            number = kept[site] = numbers.setdefault(tuple(parts), len(found))
            if number == len(found):
                found.append(tuple(parts))
            read_at[number, *self._acts(site, on)] = None
        return kept, tuple(found), tuple(read_at)

    def _acts(self, site: Site, network: NetworkKey) -> tuple[int, int]:
        return place_of(site, layers_of(self.plan.inputs[network].facts))

    def decided_by(self, resume: g.Resume) -> tuple[g.Forward, ...] | None:
        """The plain runs whose inputs decide all that is written; None where what is written differs between equal rows."""
        if resume not in self._deciding:
            tree = list(in_tree(resume))
            runs = dict.fromkeys(r.base for r in tree)
            runs |= dict.fromkeys(capture.forward for r in tree for capture in captures(r))
            self._deciding[resume] = None if any(map(is_random, tree)) or by_template(tree) else tuple(runs)
        return self._deciding[resume]

    def looks_on(self, network: NetworkKey) -> list[tuple[g.ReadNode, Place]]:
        """The readings at places in the runs of a network."""
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


__all__ = ["ANSWER", "AlikeRuns", "CachedPart", "PassRuns", "ReadOfRun", "RunsOfPasses"]
