"""The noise floor: on some cells of a test and some pairs of each, the base is patched into itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from causal_dsl.planning import graph as g

if TYPE_CHECKING:
    from causal_dsl.planning.plan import Plan
    from causal_dsl.program.program import Test

#: Pairs of a cell on which the base is patched into itself, and cells of a test that are asked.
FLOOR_ROWS, FLOOR_CELLS = 4, 8
#: Where every row takes a whole forward pass, no more than one pair in so many.
_OF_WHOLE = 16


def floor_rows(pairs: int, whole: bool = False) -> int:
    """On how many pairs, of so many, the base is patched into itself; ``whole``: each takes a whole forward pass."""
    return max(1, min(FLOOR_ROWS, pairs // _OF_WHOLE)) if whole else FLOOR_ROWS


def floor_of(resume: g.Resume) -> g.Resume | None:
    """The base patched into itself at the places of an intervention."""
    if not resume.writes:
        return None
    return g.Resume(
        resume.base,
        tuple(
            g.WriteNode(w.place, g.Capture(resume.base, w.place), False, w.feature, w.inside, w.to)
            for w in resume.writes
        ),
    )


def floors_of(plan: Plan, test: Test) -> dict[g.Resume, g.Resume]:
    """Some interventions of a test, spread over its cells, and for each the base patched into itself at its places."""
    nodes = plan.scores[test.name]
    found = {}
    for number in np.unique(np.linspace(0, len(nodes) - 1, FLOOR_CELLS).astype(int)).tolist():
        read = nodes[number].read("patched")
        if read is not None and isinstance(read.run, g.Resume) and (floor := floor_of(read.run)) is not None:
            found[read.run] = floor
    return found


__all__ = ["FLOOR_CELLS", "floor_of", "floor_rows", "floors_of"]
