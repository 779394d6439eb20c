"""Scores that are relative: to the way from one run to another, or to the value in the base run.

A ratio of means and a mean of ratios are two numbers (Miller et al. 2024), and a few pairs that hardly differ can make the second one
anything. So each such score is there in both orders of averaging, and as the median of the ratios, under three names.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.measures.cell_data import CellData
from causal_dsl.measures.evaluation import Evaluation, divide
from causal_dsl.measures.per_cell import CellScore, PairMean
from causal_dsl.measures.per_pair import Need, Pair
from causal_dsl.measures.units import RATIO, SHARE, TRUTH
from causal_dsl.measures.weighted_sums import Array


@dataclass(frozen=True)
class Relative(CellScore):
    """A score of the metric ``pair`` that is divided by a contrast: a mean that says nothing where it hardly differs from 0."""

    pair: Pair

    #: whether it is: a score of this kind that is not divided by the contrast says so
    relative: ClassVar[bool] = True

    def contrast(self, frame: CellData) -> Array:
        """The divisor of the mean, a number for each pair [n]."""
        raise NotImplementedError

    @property
    def between(self) -> str:
        """The contrast, in words."""
        raise NotImplementedError


@dataclass(frozen=True)
class Contrast(Pair):
    """The divisor of ``score``, as a metric: its mean has the interval that a report gives the mean of any metric."""

    score: Relative

    @classmethod
    def mean_of(cls, score: Relative) -> PairMean:
        unit = RATIO if score.pair.unit in (SHARE, TRUTH) else score.pair.unit
        text = f"contrast of {score.text}"
        return PairMean(text, unit, cls(text, unit, score), "base")

    def of(self, frame: CellData, run: str) -> Array:
        return self.score.contrast(frame)

    def needs(self, run: str) -> Iterator[Need]:
        return self.score.needs()


@dataclass(frozen=True)
class Ratio(Relative):
    """A ratio of means: of what was ``gained`` and of the ``contrast``."""

    def gained(self, frame: CellData) -> Array:
        """The numerator, a number for each pair [n]."""
        raise NotImplementedError

    def evaluate(self, env: Evaluation) -> Array:
        # Sums suffice: the common total weight cancels. A pair's differences are taken first, which loses least.
        return divide(env.total(self.gained), env.total(self.contrast))

    def ratios(self, frame: CellData) -> tuple[Array, Array]:
        """The ratio in each pair [n], 0 where it has none, and whether it has one."""
        whole = self.contrast(frame)
        return np.where(whole == 0, 0.0, divide(self.gained(frame), whole)), whole != 0


class OverPairs(Ratio):
    """The same over the pairs that have a ratio."""

    def count(self, env: Evaluation, cell: int) -> int:
        return int(self.ratios(env.frames[cell])[1].sum())


class MeanOfRatios(OverPairs):
    """The same as a mean of ratios, over the pairs that have one."""

    def evaluate(self, env: Evaluation) -> Array:
        defined = env.total(lambda f: self.ratios(f)[1])
        return divide(env.total(lambda f: self.ratios(f)[0]), defined)


class MedianOfRatios(OverPairs):
    """The same as the median of the ratios of the pairs that have one."""

    def evaluate(self, env: Evaluation) -> Array:
        return env.ordered(self.ratios)


@dataclass(frozen=True)
class Recovered(Ratio):
    """How far ``m`` goes from the base run (0) to the source run (1), as a ratio of means; never clipped. ``asked``: the arguments, as the
    spec writes them, by which its other averages are named."""

    clean: str
    asked: str

    def gained(self, frame: CellData) -> Array:
        return self.pair.of(frame, "patched") - self.pair.of(frame, "base")

    def contrast(self, frame: CellData) -> Array:
        return self.pair.of(frame, self.clean) - self.pair.of(frame, "base")

    @property
    def between(self) -> str:
        return f"the mean difference between the run of `{self.clean}` and the base run"

    def needs(self) -> Iterator[Need]:
        for run in ("patched", "base", self.clean):
            yield from self.pair.needs(run)


@dataclass(frozen=True)
class RecoveredPerPair(MeanOfRatios, Recovered):
    """The same as a mean of ratios, over the pairs whose two runs differ in ``m``."""


@dataclass(frozen=True)
class RecoveredMedian(MedianOfRatios, Recovered):
    """The same as the median of the ratios, over the pairs whose two runs differ in ``m``."""


@dataclass(frozen=True)
class RelativeChange(Ratio):
    """The change of ``m`` from the base run to the patched one, relative to what ``m`` is in the base run."""

    def gained(self, frame: CellData) -> Array:
        return self.pair.of(frame, "patched") - self.pair.of(frame, "base")

    def contrast(self, frame: CellData) -> Array:
        return self.pair.of(frame, "base")

    @property
    def between(self) -> str:
        return "its mean in the base run"

    def needs(self) -> Iterator[Need]:
        for run in ("patched", "base"):
            yield from self.pair.needs(run)


@dataclass(frozen=True)
class RelativeChangePerPair(MeanOfRatios, RelativeChange):
    """The same as a mean of ratios, over the pairs in whose base run ``m`` is not 0."""


@dataclass(frozen=True)
class RelativeChangeMedian(MedianOfRatios, RelativeChange):
    """The same as the median of the ratios, over the pairs in whose base run ``m`` is not 0."""


__all__ = [
    "Contrast",
    "MeanOfRatios",
    "MedianOfRatios",
    "OverPairs",
    "Ratio",
    "Recovered",
    "RecoveredMedian",
    "RecoveredPerPair",
    "Relative",
    "RelativeChange",
    "RelativeChangeMedian",
    "RelativeChangePerPair",
]
