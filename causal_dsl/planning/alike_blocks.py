"""Blocks of a step whose pairs are laid out alike: their passes are of one size, so that one of them is laid out for all.

A budget that holds a few pairs cuts a step into hundreds of blocks, whose prompts are of a few lengths.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.ranks import different
from causal_dsl.planning import graph as g
from causal_dsl.planning.steps import Block, Step
from causal_dsl.vocabulary.locations import Position

if TYPE_CHECKING:
    from causal_dsl.planning.plan import Plan
    from causal_dsl.planning.rows import Layouts

#: Which pairs a block has: a digest of all that decides how they are laid out, or the part of the pairs that they are.
PairsAsked: TypeAlias = "bytes | tuple[int, int, int]"


@dataclass(frozen=True)
class _Looked:
    """The lookups of pairs to lay out some interventions on them: the plain ``runs`` whose inputs are in the pass or decide what is
    written, and the tokens of ``positions``, each in a run."""

    runs: tuple[g.Forward, ...]
    positions: tuple[tuple[Position | None, g.Forward], ...]


class AlikeBlocks:
    """Tells the pairs of blocks apart by what decides how they are laid out: which inputs of the runs are equal, how long these are,
    where they are read, and which tokens the places name."""

    def __init__(self, plan: Plan, layouts: Layouts):
        self.plan, self.layouts = plan, layouts
        self._step: Step | None = None
        #: what is looked up for interventions, one object for equal ones, and what was found of pairs of a part for it
        self._looked: dict[tuple[int, int | None], _Looked] = {}
        self._each: dict[_Looked, _Looked] = {}
        self._told: dict[tuple[int, tuple[int, int, int]], PairsAsked] = {}

    def pairs(self, step: Step, block: Block) -> PairsAsked:
        """The pairs of a block, equal for blocks of the same interventions whose pairs are laid out alike. Those of a block that has the
        first pair of a draw are like no others: the noise floor is measured on it."""
        if self._step is None or self._step.resumes is not step.resumes or self._step.forwards is not step.forwards:
            self._step, self._looked, self._each, self._told = step, {}, {}, {}
        interventions = block.first, block.last
        if interventions not in self._looked:
            looked = self._looked_up(step, block)
            self._looked[interventions] = self._each.setdefault(looked, looked)
        looked = self._looked[interventions]
        asked = id(looked), (block.start, block.stop, block.of)
        if asked not in self._told:
            self._told[asked] = self._digest(step, block, looked)
        return self._told[asked]

    def _digest(self, step: Step, block: Block, looked: _Looked) -> PairsAsked:
        inputs = self.plan.inputs[step.network]
        pairs = {run.draw: block.pairs(self.plan.drawn[run.draw].n) for run in looked.runs}
        if not pairs or any(len(here) and not here.start for here in pairs.values()):
            return block.start, block.stop, block.of
        rows = np.concatenate(
            [self.plan.rows[run][pairs[run.draw].start : pairs[run.draw].stop] for run in looked.runs]
        )
        every = [np.array([len(pairs[run.draw]) for run in looked.runs])]
        for numbers in (rows, inputs.runs[rows]):  # of some inputs one is run for all
            every += [different([numbers])[1], inputs.lengths[numbers], inputs.reads[numbers]]
        for position, run in looked.positions:
            every += self.layouts.tokens_at(position, run, np.array(pairs[run.draw], np.int64))
        digest = hashlib.sha256()
        for column in every:
            digest.update(f"{len(column)} ".encode())
            digest.update(column.astype(np.int64).tobytes())
        return digest.digest()

    def _looked_up(self, step: Step, block: Block) -> _Looked:
        made = self.layouts.runs_of(step, block)
        runs = dict.fromkeys(forward for _, forward in made.prompts)
        positions: dict[tuple[Position | None, g.Forward], None] = {}
        for alike in made.alike:
            base = alike.resume.base
            runs |= dict.fromkeys((base, *(alike.decided or ())))
            for place in (*(write.place for write in alike.resume.writes), *alike.read.taken, *alike.read.watched):
                positions[place.position, base] = None
        for parts in made.parts:
            for part in parts:
                positions[part.position, _plain(part.run)] = None
        for read, place in self.layouts.looks_on(step.network):
            if _plain(read.run) in runs:
                positions[place.position, _plain(read.run)] = None
        runs |= dict.fromkeys(run for _, run in positions)
        return _Looked(tuple(runs), tuple(positions))


def _plain(run: g.Forward | g.Resume) -> g.Forward:
    return run if isinstance(run, g.Forward) else run.base


__all__ = ["AlikeBlocks", "PairsAsked"]
