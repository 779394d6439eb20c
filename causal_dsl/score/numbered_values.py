"""Whether one numbering of some inputs tells another."""

from __future__ import annotations

import numpy as np

#: How many inputs each of a number's ranges holds, at the least.
_RUN = 16


def numbered(rows: np.ndarray) -> np.ndarray:
    """Different rows [n, …], numbered [n]."""
    found: np.ndarray = np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)
    return found


def firsts(rows: np.ndarray) -> np.ndarray:
    """Where each of the different rows [n, …] stands first [k], in order."""
    found: np.ndarray = np.sort(np.unique(rows, axis=0, return_index=True)[1])
    return found


def decides(code: np.ndarray, other: np.ndarray) -> bool:
    """Whether a code [n] of few values, at most one in two inputs, tells another [n]."""
    return 2 * (int(code.max()) + 1) <= len(other) and tells(code, other)


def tells(code: np.ndarray, other: np.ndarray) -> bool:
    """Whether a code [n], of however many values, tells another [n]."""
    return len(np.unique(np.stack([code, other], axis=1), axis=0)) == int(code.max()) + 1


def in_order(code: np.ndarray, other: np.ndarray) -> bool:
    """Whether a number, given by its rank [n], tells another code [n] by few thresholds: by fewer runs of one kind than one in
    ``_RUN`` inputs."""
    if len(np.unique(np.stack([code, other], axis=1), axis=0)) > int(code.max()) + 1:
        return False
    ordered = other[np.argsort(code, kind="stable")]
    return int((ordered[1:] != ordered[:-1]).sum() + 1) * _RUN <= len(other)


__all__ = ["decides", "firsts", "in_order", "numbered", "tells"]
