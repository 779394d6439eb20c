"""Scores of an output that is a real number: how near the number that a network gives is to the causal model's.

Each function is given the run that a metric speaks of, and the metric that reads the number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.measures.cell_data import CellData
from causal_dsl.measures.evaluation import Evaluation, divide
from causal_dsl.measures.per_cell import CellScore, PairMean
from causal_dsl.measures.per_pair import Need, Pair
from causal_dsl.measures.units import NUMBER, RATIO
from causal_dsl.measures.weighted_sums import Array


def wanted(frame: CellData, run: str) -> Array:
    """The answer of the causal model for a run, ``[n]``: under the interchange where there is one, else of the base."""
    return frame.base_answers if frame.labels is None or run == "base" else frame.labels


@dataclass(frozen=True)
class SquaredError(Pair):
    """The squared distance of the network's number from the causal model's."""

    number: Pair

    @property
    def ends(self) -> tuple[float, float]:
        return 0.0, math.inf

    def of(self, frame: CellData, run: str) -> Array:
        return np.square(self.number.of(frame, run) - wanted(frame, run))

    def needs(self, run: str) -> Iterator[Need]:
        return self.number.needs(run)


@dataclass(frozen=True)
class Explained(CellScore):
    """``1 - sum (m - y)^2 / sum (y - mean y)^2``; undefined where the causal model's number never varies."""

    number: Pair
    run: str

    def evaluate(self, env: Evaluation) -> Array:
        error = env.total(lambda f: SquaredError("", NUMBER, self.number).of(f, self.run))

        def told(frame: CellData) -> Array:
            return wanted(frame, self.run)

        return 1 - divide(error, _varying(env, told, told))

    def needs(self) -> Iterator[Need]:
        return self.number.needs(self.run)


@dataclass(frozen=True)
class Correlation(CellScore):
    """Pearson's correlation of the network's number and the causal model's."""

    number: Pair
    run: str

    def evaluate(self, env: Evaluation) -> Array:
        def mine(frame: CellData) -> Array:
            return self.number.of(frame, self.run)

        def theirs(frame: CellData) -> Array:
            return wanted(frame, self.run)

        return divide(_varying(env, mine, theirs), np.sqrt(_varying(env, mine, mine) * _varying(env, theirs, theirs)))

    def needs(self) -> Iterator[Need]:
        return self.number.needs(self.run)


def _varying(env: Evaluation, one: Callable[[CellData], Array], other: Callable[[CellData], Array]) -> Array:
    """The weighted sum of products of the distances of two numbers of a pair from their weighted means, ``[R, C]``."""

    def shifted(numbers: Callable[[CellData], Array], frame: CellData) -> Array:
        found = np.asarray(numbers(frame), np.float64)  # a shift changes nothing but the rounding
        return found - (found.mean() if len(found) else 0.0)

    weight = env.sums.whole()
    products = env.total(lambda f: shifted(one, f) * shifted(other, f))
    sums = env.total(lambda f: shifted(one, f)) * env.total(lambda f: shifted(other, f))
    found = products - divide(sums, weight)
    size = env.total(lambda f: np.abs(shifted(one, f) * shifted(other, f)))
    return np.where(np.abs(found) <= 1e-12 * size, 0.0, found)  # what rounding leaves of numbers that are all the same


def mse(run: str, number: Pair) -> PairMean:
    return PairMean("mse", NUMBER, SquaredError("mse", NUMBER, number), run)


def r2(run: str, number: Pair) -> Explained:
    return Explained("r2", RATIO, number, run)


def r2_unpatched(run: str, number: Pair) -> Explained:
    return Explained("r2_unpatched", RATIO, number, "base")


def corr(run: str, number: Pair) -> Correlation:
    return Correlation("corr", RATIO, number, run)
