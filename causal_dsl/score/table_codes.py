"""Whether the vectors of a place are a table: each input has its own, and near ones have no more in common than any.

What a network computes carries over from input to input. So near vectors share the value of some input, or of the variable; or the
variable is a smooth map of the vectors, which is fitted on some inputs and right on others. In a table of memorised inputs none of that holds.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

#: Fewest inputs that are judged, the most numbers of a place, and how many inputs each coefficient of a map needs.
_FEWEST, _WIDEST, _EACH = 64, 8, 4
#: Within so many standard deviations a count is one of chance; and up to this share of the variance of the variable, nothing is told.
_SIGMAS, _TOLD = 3.0, 0.05
#: Fewer inputs than these that share a value with the nearest one by chance tell nothing.
_EXPECTED = 4


def is_table(vectors: np.ndarray, inputs: Mapping[str, np.ndarray], values: np.ndarray) -> bool:
    """Whether ``vectors`` [n, width] of n distinct inputs are a table of them. ``inputs``: the value [n] of each input of the model;
    ``values`` [n] those of the variable."""
    n, width = vectors.shape
    coefficients = 1 + width + width * (width + 1) // 2
    if n < max(_FEWEST, _EACH * coefficients) or width > _WIDEST:
        return False
    if len(np.unique(vectors, axis=0)) < n or len(np.unique(values)) < 2:
        return False
    distances = ((vectors[:, None] - vectors[None]) ** 2).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.argmin(axis=1)
    columns = (*inputs.values(), values)
    return all(_by_chance(column, nearest) for column in columns) and not _told(vectors, values)


def _by_chance(column: np.ndarray, nearest: np.ndarray) -> bool:
    """Whether the nearest inputs share a value as often as two inputs do by chance, and no more or less often."""
    n = len(column)
    share = np.unique(column, return_counts=True)[1] / n
    chance = float((share**2).sum())
    if n * chance < _EXPECTED:
        return False  # hardly any two inputs share a value
    spread = np.sqrt(2 * n * chance * (1 - chance))  # two inputs may each be the other's nearest
    return bool(abs((column[nearest] == column).sum() - n * chance) <= _SIGMAS * spread)


def _told(vectors: np.ndarray, values: np.ndarray) -> bool:
    """Whether a map of the second degree tells the value of inputs that it was not fitted on."""
    spread = np.ptp(vectors, axis=0)
    x = (vectors - vectors.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    i, j = np.triu_indices(x.shape[1])
    design = np.concatenate([np.ones((len(x), 1)), x, x[:, i] * x[:, j]], axis=1)
    wanted = (values[:, None] == np.unique(values)[None]).astype(float)
    q, r = np.linalg.qr(design)
    q = q[:, np.abs(np.diag(r)) > 1e-9]
    left = (wanted - q @ (q.T @ wanted)) / np.maximum(1 - (q**2).sum(axis=1), 1e-9)[:, None]
    return bool(1 - (left**2).sum() / ((wanted - wanted.mean(axis=0)) ** 2).sum() > _TOLD)


__all__ = ["is_table"]
