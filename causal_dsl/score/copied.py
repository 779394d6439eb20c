"""Whether a place holds its variable, or still the inputs that the variable is computed from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

#: Of the spread of a number, what still counts as no change.
SAME = 1e-5
#: Of the values of an input, the share that must be met by several inputs before it is said that nothing else counts.
_MET = 0.5


def copied_inputs(
    vectors: np.ndarray, inputs: Mapping[str, np.ndarray], variable: np.ndarray, read: np.ndarray
) -> tuple[str, ...]:
    """The inputs of a causal model that stand at a place as they came in; empty where they do not. Its variable is not computed there.

    ``vectors`` [n, width] at the place in n distinct inputs, ``inputs`` the codes [n] of those that the variable depends on,
    ``variable`` its codes [n], ``read`` [n, m] what the network reads. Either each number of the place depends on one
    input alone, while the variable needs several; or each is a number of the network's own input (but for scale and shift), and
    together they tell the inputs apart more finely than the variable does.
    """
    moving = [c for c in range(vectors.shape[1]) if np.ptp(vectors[:, c]) > 0]
    if not moving or not inputs:
        return ()
    codes = {name: np.unique(column, return_inverse=True)[1].reshape(-1) for name, column in inputs.items()}
    if len(codes) > 1 and not any(_follows(variable.astype(float), code) for code in codes.values()):
        owners = [next((n for n, code in codes.items() if _follows(vectors[:, c], code)), None) for c in moving]
        if None not in owners:
            return tuple(name for name in codes if name in owners)
    joint = _joint(list(codes.values()))
    coarse = len(np.unique(variable)) < joint.max() + 1
    finest = len(np.unique(np.round(vectors / _scale(vectors), 6), axis=0)) == joint.max() + 1
    if coarse and finest and all(_is_one_of(vectors[:, c], read) for c in moving):
        return tuple(codes)
    return ()


def mixed(
    vectors: np.ndarray, inputs: Mapping[str, np.ndarray], variable: np.ndarray, read: np.ndarray, same: float = SAME
) -> tuple[str, ...]:
    """The inputs of a causal model of which a place holds a linear mixture that tells all their values apart, where its
    variable needs several of them and does not; else empty. Arguments as of :func:`copied_inputs`.

    A linear map of what is read computes nothing of a variable that is not a linear map: what makes settings alike that the
    variable does not tell apart comes after it.
    """
    codes = {name: np.unique(column, return_inverse=True)[1].reshape(-1) for name, column in inputs.items()}
    if len(codes) < 2 or any(_follows(variable.astype(float), code) for code in codes.values()):
        return ()
    joint = _joint(list(codes.values()))
    settings = int(joint.max()) + 1
    if len(np.unique(variable)) >= settings:
        return ()
    patterns = np.unique(np.round(vectors / _scale(vectors), 6), axis=0, return_inverse=True)[1].reshape(-1)
    together = len(np.unique(np.stack([patterns, joint], axis=1), axis=0))
    if len(np.unique(patterns)) < settings or together != int(patterns.max()) + 1:
        return ()  # two settings look alike
    if linearly_off(variable.astype(float)[:, None], vectors)[0] <= 10 * same:
        return ()  # the variable is linear itself, and stands there
    off, rank = linearly_off(vectors, read)
    if rank >= len(np.unique(read, axis=0)):
        return ()  # any numbers would be linear in so few different inputs
    return tuple(codes) if off <= same else ()


def linearly_off(numbers: np.ndarray, of: np.ndarray) -> tuple[float, int]:
    """How far, of their spread, numbers [n, k] are from a linear map (with a shift) of other ones [n, m], and the rank of these."""
    scaled = (numbers - numbers.mean(axis=0)) / _scale(numbers)
    columns = np.concatenate([np.ones((len(of), 1)), (of - of.mean(axis=0)) / _scale(of)], axis=1)
    solution, _, rank, _ = np.linalg.lstsq(columns, scaled, rcond=None)
    return float(np.abs(scaled - columns @ solution).max(initial=0)), int(rank)


def _joint(codes: list[np.ndarray]) -> np.ndarray:
    return np.unique(np.stack(codes, axis=1), axis=0, return_inverse=True)[1].reshape(-1)


def _scale(vectors: np.ndarray) -> np.ndarray:
    spread = np.ptp(vectors, axis=0)
    return np.where(spread > 0, spread, 1.0)


def as_read(vectors: np.ndarray, read: np.ndarray) -> bool:
    """Whether each number of a place is one that the network reads, but for scale and shift."""
    return all(_is_one_of(vectors[:, c], read) for c in range(vectors.shape[1]) if np.ptp(vectors[:, c]) > 0)


def _follows(numbers: np.ndarray, code: np.ndarray) -> bool:
    """Whether numbers [n] are a function of a code [n], so far as its values are met more than once."""
    counts = np.bincount(code)
    if (counts > 1).mean() < _MET:
        return False
    low, high = np.full(len(counts), np.inf), np.full(len(counts), -np.inf)
    np.minimum.at(low, code, numbers)
    np.maximum.at(high, code, numbers)
    return bool((high - low).max() <= SAME * max(np.ptp(numbers), 1e-300))


def _is_one_of(numbers: np.ndarray, read: np.ndarray) -> bool:
    """Whether numbers [n] are one column of ``read`` [n, m], scaled and shifted."""
    centred, columns = numbers - numbers.mean(), read - read.mean(axis=0)
    norms = np.linalg.norm(columns, axis=0) * np.linalg.norm(centred)
    alike = np.abs(centred @ columns) >= (1 - SAME) * norms
    return bool((alike & (norms > 0)).any())


__all__ = ["SAME", "copied_inputs", "linearly_off", "mixed"]
