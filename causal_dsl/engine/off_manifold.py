"""Written values beside those that their site takes by itself: numbers, noise and given vectors come from no run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from causal_dsl.causal.designs import Drawn
from causal_dsl.planning import graph as g

#: Fewer vectors than this do not tell a range.
LEAST = 8
#: How many half ranges away from the middle a number is out of range.
FAR = 3.0
#: Of how many of the vectors that are there the distances are looked at; which quantile of those to the nearest other one tells how
#: close they lie; the share of their spread within which two vectors are alike in any case; and up to how many distinct vectors that
#: recur are the values of their site.
SEEN, CLOSE, ALIKE, FEW = 256, 0.75, 0.1, 16
#: Distances up to this share of the spread are none but rounding.
_ROUNDED = 1e-5
#: Written vectors that are held against the others at once.
_AT_ONCE = 4096


#: Draws of each of a few inputs that leave no doubt that these are all.
_DRAWS = 8


def every_input(drawn: Drawn, role: str, count: int) -> bool:
    """Whether ``count`` distinct inputs of a role are all that can be drawn, as far as its draws show."""
    if len(np.unique(drawn.ids[role])) > count:
        return False
    return drawn.exhaustive or drawn.n >= _DRAWS * count


class OffManifold:
    """Counts, of each intervention, the written vectors that the site does not come near.

    Of each number of the vectors that are there, middle and half of the range; half is at least a tenth of the root mean
    square of all of them. A written vector is outside where a number lies further than three halves from the middle, or where it is
    :func:`far_from_all` of them: a site that takes -1 and 1 alone is never 0.
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
        out |= far_from_all(there, written)
        self._found.setdefault(resume, []).append((out.sum(), len(out)))

    def take(self, resume: g.Resume) -> tuple[int, int]:
        """How many vectors of an intervention lie outside, and how many were looked at, since the pass began."""
        found = self._found.get(resume, [])
        return sum(int(out) for out, _ in found), sum(count for _, count in found)

    def clear(self) -> None:
        """Begin a pass."""
        self._found.clear()


def far_from_all(there: Tensor, written: Tensor) -> Tensor:
    """Which vectors ``written`` [m, width] lie far from each of those that are ``there`` [n, width], as [m].

    The vectors that are there count once each, however often they recur. The distance to the nearest of them is held against the distances
    from most of them (``CLOSE``) to their nearest other one: it is far beyond three times that, and beyond a tenth of their spread, the root
    mean square distance from their mean. A vector that lies by itself, as in a tail, has others as near as its own nearest one is. If there
    are only a few (``FEW``), each of which occurs twice on the average, they are the values of the site, and the tenth of their spread alone
    decides.
    """
    some = torch.linspace(0, len(there) - 1, min(SEEN, len(there)), device=there.device).round().long()
    distinct = _distinct(there[some].double())
    center = distinct.mean(dim=0)
    seen = distinct - center
    spread = float(seen.square().sum(dim=1).mean().sqrt())
    few = len(seen) == 1 or (len(seen) <= FEW and 2 * len(seen) <= len(some))
    nearest = torch.cdist(seen, seen).fill_diagonal_(float("inf")).amin(dim=1)
    close = float(torch.quantile(nearest, CLOSE, interpolation="lower"))
    far = []
    for part in written.split(_AT_ONCE):
        distance, which = torch.cdist(part.double() - center, seen).min(dim=1)
        if few:
            far.append(distance > ALIKE * spread)
        else:
            far.append(distance > nearest[which].clamp(min=max(FAR * close, ALIKE * spread)))
    return torch.cat(far)


def _distinct(vectors: Tensor) -> Tensor:
    """The first of each of the vectors [n, width] that are equal but for rounding, as [k, width]."""
    centered = vectors - vectors.mean(dim=0)
    spread = float(centered.square().sum(dim=1).mean().sqrt())
    equal = torch.cdist(centered, centered) <= _ROUNDED * spread
    return vectors[~equal.tril(-1).any(dim=1)]
