"""Written values beside those that their site takes by itself: numbers, noise and given vectors come from no run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from causal_dsl.causal.designs import Drawn
from causal_dsl.planning import graph as g

#: Fewer vectors than this do not tell a range.
LEAST = 8
#: How many half ranges away from the middle a number is out of range.
FAR = 3.0


#: Draws of each of a few inputs that leave no doubt that these are all.
_DRAWS = 8


def every_input(drawn: Drawn, role: str, count: int) -> bool:
    """Whether ``count`` distinct inputs of a role are all that can be drawn, as far as its draws show."""
    if len(np.unique(drawn.ids[role])) > count:
        return False
    return drawn.exhaustive or drawn.n >= _DRAWS * count


class OffManifold:
    """Counts, of each intervention, the written vectors with a number that the site does not come near.

    Of each number of the vectors that are there, middle and half of the range; half is at least a tenth of the root mean
    square of all of them. A written vector is outside where a number lies further than three halves from the middle.
    """

    def __init__(self) -> None:
        #: whether so many vectors are those of all inputs: they are then a range, however few they are
        self.every: Callable[[g.Resume, int], bool] = lambda resume, count: False
        self._found: dict[g.Resume, list[tuple[Tensor, int]]] = {}

    def __call__(self, resume: g.Resume, there: Tensor, written: Tensor) -> None:
        if len(there) < LEAST and not self.every(resume, len(there)):
            return
        low, high = there.amin(dim=0), there.amax(dim=0)
        middle, half = (low + high) / 2, (high - low) / 2
        half = half.clamp(min=0.1 * float(half.double().square().mean().sqrt()))
        rounding = 1e-5 * middle.abs() + 1e-12
        out = ((written - middle).abs() > FAR * half + rounding).any(dim=1)
        self._found.setdefault(resume, []).append((out.sum(), len(out)))

    def take(self, resume: g.Resume) -> tuple[int, int]:
        """How many vectors of an intervention lie outside, and how many were looked at, since the pass began."""
        found = self._found.get(resume, [])
        return sum(int(out) for out, _ in found), sum(count for _, count in found)

    def clear(self) -> None:
        """Begin a pass."""
        self._found.clear()
