"""Whether a pass computes the tokens at which it is read and written: its schedule and its rows are two accounts of that.

:func:`causal_dsl.planning.verify.verify` holds it of a plan before it is executed, and the sweep of each block as it is run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from causal_dsl.planning import graph as g
from causal_dsl.planning.liveness import ANYWHERE, BOTTOM, ENTRY, Accesses, Schedule, place_of
from causal_dsl.planning.pass_layout import Spot
from causal_dsl.planning.rows import Layouts
from causal_dsl.planning.steps import Block, Step, layers_of, with_inner
from causal_dsl.program.components import in_time, pads

if TYPE_CHECKING:
    from causal_dsl.planning.plan import Plan

#: As many pairs of each draw are laid out for each step, unless all are.
PAIRS = 2


def used_too_early(step: Step) -> Iterator[str]:
    """The writes that a pass would make before it computes what they take. A vector of a plain run that lies further on is found in a pass of its own, one of a
    run that is written in the same pass cannot be."""
    for resume in with_inner(step.resumes):
        for write in resume.writes:
            for capture in write.value.find(g.Capture):
                if isinstance(capture.run, g.Resume) and not in_time(capture.place.site, write.place.site):
                    yield f"`{capture}` is computed after `{write.place}`, where it is written"


def not_live(plan: Plan, step: Step, every: bool) -> Iterator[str]:
    """Where a step reads or writes tokens that its pass does not compute: in ``every`` block of it, else in the first pairs of each
    draw."""
    facts, layouts = plan.inputs[step.network].facts, Layouts(plan)
    layers, whole = layers_of(facts), pads(facts) is not None
    for part, block in [(step, block) for block in step.blocks] if every else _first_pairs(plan, step):
        layout = layouts.make(part, block, watch=True)
        if not len(layout.inputs):
            continue
        found, rows = layout.schedule(part, layers, whole), layout.rows
        yield from _lost(
            rows.writes.where(layout.live_writes), found, _written, "is written and can reach what is read"
        )
        yield from _lost(rows.reads, found, _read, "is read")


def computes(schedule: Schedule, write: g.WriteNode, spot: Spot, layers: int) -> bool:
    """Whether a pass computes the tokens of a write that can reach what is read of its run."""
    level, phase = place_of(write.place.site, layers)
    if phase >= BOTTOM:
        return True
    rows, positions = spot.rows[spot.live], spot.positions[spot.live]
    live = schedule.levels[level]
    found = live.slots[rows, positions] if phase == ENTRY else live.at(rows, positions)
    return bool((found >= 0).all())


def _first_pairs(plan: Plan, step: Step) -> Iterator[tuple[Step, Block]]:
    draws = dict.fromkeys((*(run.draw for run in step.forwards), *(resume.base.draw for resume in step.resumes)))
    for draw in draws:
        forwards = tuple(run for run in step.forwards if run.draw == draw)
        resumes = tuple(resume for resume in step.resumes if resume.base.draw == draw)
        few = Block(0, 1, max(1, plan.drawn[draw].n // PAIRS))
        yield replace(step, forwards=forwards, resumes=resumes), few


def _lost(
    accesses: Accesses, schedule: Schedule, computed: Callable[[Schedule, Accesses, int, int], np.ndarray], done: str
) -> Iterator[str]:
    """The first of the tokens at each level and phase that the pass does not compute."""
    for level, phase in sorted(set(zip(accesses.levels.tolist(), accesses.phases.tolist(), strict=True))):
        if phase == ANYWHERE:  # which level its module runs in is not known before it does
            continue
        some = accesses.where((accesses.levels == level) & (accesses.phases == phase))
        lost = ~computed(schedule, some, level, phase)
        if lost.any():
            row, position = int(some.rows[lost][0]), int(some.positions[lost][0])
            yield f"token {position} of row {row} {done} at layer {level}, and the pass does not compute it"


def _written(schedule: Schedule, writes: Accesses, level: int, phase: int) -> np.ndarray:
    """Which of some writes find their token in the row that is written [m]."""
    rows, positions = writes.rows, writes.positions
    if phase == BOTTOM:
        return np.isin(rows, schedule.batch)
    live = schedule.levels[level]
    return np.asarray((live.slots[rows, positions] if phase == ENTRY else live.at(rows, positions)) >= 0)


def _read(schedule: Schedule, reads: Accesses, level: int, phase: int) -> np.ndarray:
    """Which of some reads find their token in their row or in its prompt [m]; what enters a layer is read as it leaves the one below."""
    level -= phase == ENTRY
    batch, live = phase == BOTTOM or level < 0, schedule.levels[max(0, level)]
    found = np.zeros(len(reads.rows), bool)
    for rows in (reads.rows, schedule.home[reads.rows]):
        found |= np.isin(rows, schedule.batch) if batch else live.at(rows, reads.positions) >= 0
    return found


__all__ = ["PAIRS", "computes", "not_live", "used_too_early"]
