"""Which fits of a network share their steps: groups that the plan alone decides, so that every process makes the same ones.

Fits share no number, but the sums of a step are taken in matrices that hold the rows of all its fits, and how a sum is
rounded depends on the shape of its matrix. So the groups are part of how a fit comes out in its last bits, and neither the
memory of a machine nor the number of workers may decide them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from causal_dsl.planning.rows import Layouts

if TYPE_CHECKING:
    from causal_dsl.planning.plan import FitUnit, Plan


def groups_of(units: Sequence[FitUnit], tokens: int, most_tokens: int) -> list[list[FitUnit]]:
    """The units of one network in groups whose steps have ``most_tokens`` at most, one unit at least; a row has ``tokens``."""
    groups: list[list[FitUnit]] = []
    rows = 0
    for unit in units:
        size = unit.fitting.batch * (1 if unit.fitting.file else unit.fitting.restarts)
        if not groups or (rows + size) * tokens > most_tokens:
            groups.append([])
            rows = 0
        groups[-1].append(unit)
        rows += size
    return groups


def tokens_of_rows(plan: Plan, layouts: Layouts, units: Sequence[FitUnit], whole: int = 0) -> int:
    """The most tokens that a row of a step has: those from the first written one on; ``whole`` where rows are whole inputs."""
    tokens = max(1, whole)
    for unit in units if not whole else ():
        for experiment in unit.experiments:
            for resume in (experiment.fit, experiment.validation):
                lengths = plan.inputs[unit.network].lengths[plan.rows[resume.base]]
                for write in resume.writes:
                    pairs = np.arange(plan.drawn[resume.base.draw].n)
                    which, positions = layouts.tokens(write.place, resume.base, pairs)
                    tokens = max(tokens, int((lengths[which] - positions).max(initial=1)))
    return tokens


__all__ = ["groups_of", "tokens_of_rows"]
