"""P-values of circuits, written out as sums."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def equivalence_p(gaps: np.ndarray, epsilon: float) -> float:
    """The chance of a share as far from a half, where it is epsilon above it."""
    n, k = len(gaps), int((gaps > 0).sum())
    far = [j for j in range(n + 1) if abs(2 * j - n) >= abs(2 * k - n)]
    return min(1.0, sum(math.comb(n, j) * (0.5 + epsilon) ** j * (0.5 - epsilon) ** (n - j) for j in far))


def minimality_p(effects: Sequence[float], others: Sequence[float], quantile: float) -> float:
    """The smallest chance of so few smaller ones, times the number of effects."""
    n = len(others)
    found = []
    for effect in effects:
        larger = sum(effect > other for other in others)
        found.append(sum(math.comb(n, j) * quantile**j * (1 - quantile) ** (n - j) for j in range(larger + 1)))
    return min(1.0, len(found) * min(found))
