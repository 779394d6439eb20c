"""Values and intervals of compiled scores over the cells of a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.measures.cell_data import CellData
from causal_dsl.measures.evaluation import Evaluation
from causal_dsl.measures.known_answers import values_needed
from causal_dsl.measures.of_alignments import Agreement, OfAlignment
from causal_dsl.measures.per_cell import Best, CellScore, Chosen, OfOutput, Order, OverCells, PairMean, Star
from causal_dsl.measures.ratios import Ratio
from causal_dsl.measures.units import SHARE
from causal_dsl.measures.weighted_sums import Matrix
from causal_dsl.score.estimates_and_findings import Estimate, Method
from causal_dsl.score.intervals import (
    LEVEL,
    MeanOf,
    Resampling,
    bounded_below,
    halves,
    percentiles,
    together,
)
from causal_dsl.score.streamed_sums import SumsAsked, answer, same_in_all

#: Ratios of differences of logits are rounded by so much, of numbers of the size of 1.
_ROUNDED = 1e-5


@dataclass
class Estimator:
    """Scores over the same pairs. ``ids`` are the input ids of each role, ``[n]``; ``exhaustive``: no intervals.

    ``draws``: the rows are independent draws of inputs most of which were drawn, so that intervals are about more such
    draws; else they are about inputs that were not drawn. ``weights`` [n] are those of the rows, where they are known.
    """

    frames: Sequence[CellData]
    cells: Sequence[Mapping[str, Any]]
    ids: Mapping[str, np.ndarray]
    exhaustive: bool = False
    ceiling: float | np.ndarray | None = None
    draws: bool = False
    weights: np.ndarray | None = None
    #: whether the ceiling is the best rule's own score, and not a bound of it
    ceiling_exact: bool = True
    points: dict[CellScore, np.ndarray] = field(default_factory=dict)
    replicates: dict[CellScore, np.ndarray] = field(default_factory=dict)
    #: the same for each output, where a test reads several
    outputs: Mapping[str, Estimator] = field(default_factory=dict)

    env: Evaluation = field(init=False)

    def __post_init__(self) -> None:
        self.n = self.frames[0].n if self.frames else 0
        self.resampling = Resampling(self.ids, self.draws)
        base = next(iter(self.ids.values()), np.zeros(self.n))
        choosing = halves(base) if self.n else np.zeros(0, bool)
        #: the weight of each pair in the scores, [n]
        self.own = np.ones(self.n) if self.weights is None else self.weights
        outputs = {name: one.env.under(Matrix(self.own[None])) for name, one in self.outputs.items()}
        self.env = Evaluation(
            self.frames,
            self.cells,
            Matrix(self.own[None]),
            choosing,
            self.ceiling,
            outputs=outputs,
            rows_of=self._rows_of,
        )
        self._means: dict[tuple[PairMean, int], MeanOf | None] = {}
        self._alike: dict[PairMean, bool] = {}
        self._tried: set[CellScore] = set()
        #: the same over some of the rows, by these
        self._among: dict[bytes, Estimator] = {}

    def _rows_of(self, score: Any) -> np.ndarray | None:
        """The rows in which all that a score needs is known, where these are not all. What is made of scores leaves it to these."""
        if not self.frames or not self.frames[0].unknown or not isinstance(score, CellScore) or score.parts:
            return None
        return self.frames[0].known(values_needed(score))

    def for_score(self, score: CellScore) -> Estimator:
        """The same cells over the rows in which all that a score needs is known."""
        rows = self._rows_of(score)
        if rows is None:
            return self
        if rows.tobytes() not in self._among:
            self._among[rows.tobytes()] = Estimator(
                [frame.among(rows) for frame in self.frames],
                self.cells,
                {role: np.asarray(ids)[rows] for role, ids in self.ids.items()},
                self.exhaustive,
                self.ceiling[rows] if isinstance(self.ceiling, np.ndarray) else self.ceiling,
                self.draws,
                None if self.weights is None else self.weights[rows],
                self.ceiling_exact,
            )
        return self._among[rows.tobytes()]

    def prepare(self, scores: Sequence[CellScore], resample: bool = True) -> None:
        """Compute the scores and, unless the pairs are all there are, their bootstrap replicates (where they are to be resampled)."""
        scores = list(dict.fromkeys(scores))
        untried = [score for score in scores if resample and score not in self._tried]
        self._tried.update(untried)
        if self.resampling.clusters() < 2:
            untried = []
        varying = [s for s in untried if not self.exact(s) and all(part.resampled for part in s.walk())]
        with np.errstate(invalid="ignore", over="ignore"):
            if self.resampling.many:
                self._streamed(varying)
            plain = Matrix(self.own[None]) if self.weights is None else Matrix(self._spread[None])
            own = self.env if self.weights is None else self.env.under(plain)
            for score in scores:
                if score not in self.points:
                    self.points[score] = (own if self._of_runs(score) else self.env).of(score)[0]
            resampled = [s for s in varying if np.isfinite(self.points[s]).any() and s not in self.replicates]
            if not resampled or self.resampling.many:
                return
            blocks: dict[CellScore, list[np.ndarray]] = {score: [] for score in resampled}
            for weights in self.resampling.weights():
                env = self.env.under(Matrix(weights))
                own = env if self.weights is None else self.env.under(Matrix(weights * self._spread))
                for score in resampled:
                    blocks[score].append((own if self._of_runs(score) else env).of(score))
        for score, found in blocks.items():
            self.replicates[score] = np.concatenate(found)

    def _streamed(self, scores: Sequence[CellScore]) -> None:
        """The scores and their replicates over so many pairs that their weights are not held."""
        if not scores:
            return
        factor = (
            None if self.weights is None else self._spread
        )  # of scores of runs beside the test, as all of these then are
        asked = SumsAsked(1, self.n, [], factor)
        env = self.env.under(asked)
        for score in scores:
            env.of(score)
        weights = self.resampling.poisson
        points, again = answer(asked.requests, self.n, weights)
        env = self.env.under(SumsAsked(1, self.n, [], factor, iter(points)))
        for score in scores:
            self.points[score] = env.of(score)[0]
        env = self.env.under(SumsAsked(weights.replicates, self.n, [], factor, iter(again)))
        for score in scores:
            found = env.of(score)
            if np.isfinite(self.points[score]).any():
                self.replicates[score] = found

    def _of_runs(self, score: CellScore) -> bool:
        """Whether a score is made of runs that were drawn beside the test, though its rows are all that can be drawn."""
        return self.exhaustive and not self.exact(score)

    @cached_property
    def _spread(self) -> np.ndarray:
        """The weights of the rows [n], where each has runs of its own beside it: equal rows share theirs."""
        assert self.weights is not None
        columns = [np.asarray(column, dtype=np.float64) for column in self.ids.values()]
        _, group = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)
        group = group.reshape(-1)
        found: np.ndarray = (np.bincount(group, self.weights) / np.bincount(group))[group]
        return found

    def exact(self, score: CellScore) -> bool:
        """Whether a score is over all that can be drawn."""
        runs = [part for part in score.walk() if isinstance(part, OfAlignment)]
        return self.exhaustive and all(part.exact(self.env) for part in runs)

    def point(self, score: CellScore) -> np.ndarray:
        """The score in each cell, ``[C]`` (``[1]`` where it is over cells)."""
        self.prepare([score], resample=False)
        return self.points[score]

    @property
    def about(self) -> Literal["draws", "inputs"]:
        """The kind of population that the intervals are about."""
        return "draws" if self.draws else "inputs"

    def estimate(self, score: CellScore, cell: int = 0) -> Estimate:
        """The score of a cell with its interval."""
        if isinstance(score, OfOutput):
            return self.outputs[score.output].estimate(score.score, cell)
        found = self._estimate(score, cell)
        return found if found.low is None else replace(found, about=self.about)

    def _estimate(self, score: CellScore, cell: int) -> Estimate:
        self.prepare([score])
        value = float(self.point(score)[0 if score.over_cells else cell])
        n = self.env.pairs(score, cell)
        if not np.isfinite(value):
            return Estimate(None, n=n)
        if self.exact(score):
            bound = not self.ceiling_exact and any(isinstance(part, Star) for part in score.walk())
            return Estimate(value, n=n, method="none" if bound else "exact")
        if isinstance(score, Star):
            return self._star(score, cell, value, n)
        if isinstance(score, PairMean):
            found = self.for_score(score)._mean(score, cell)
            if found is not None:
                return Estimate(value, *found[0], n, found[1])
        extreme = isinstance(score, Order) and score.which != "median"
        if score not in self.replicates or extreme:  # resamples say nothing of what lies beyond the extremes
            return Estimate(value, n=n)
        interval = percentiles(self.replicates[score][:, 0 if score.over_cells else cell])
        if interval is None:
            return Estimate(value, n=n)
        if (
            interval[0] == interval[1]
            and score.unit == SHARE
            and value in (0.0, 1.0)
            and isinstance(score, OverCells | Best | Agreement)
        ):
            rows = ~self.env.choosing if isinstance(score, Best) and self.env.choosing is not None else None
            slack = min(1.0, 3 / max(1, self.resampling.clusters(rows)))
            low, high = (1 - slack, 1.0) if value == 1 else (0.0, slack)
            return Estimate(value, low, high, n, "rule of three")
        slack = _ROUNDED * max(1.0, abs(value))
        if isinstance(score, Ratio) and 0 < interval[1] - interval[0] < slack:  # pairs differ by rounding alone
            interval = min(interval[0], value - slack), max(interval[1], value + slack)
        if isinstance(score, Ratio):  # where its denominator may be 0, resamples may all lie on one side of it
            interval = min(interval[0], value), max(interval[1], value)
        return Estimate(value, *interval, n, "bootstrap")

    def _mean(self, score: PairMean, cell: int, level: float = LEVEL) -> tuple[tuple[float, float], Method] | None:
        """The interval of a mean over pairs, and how it was made; None where it is to be bootstrapped."""
        if (score, cell) not in self._means:
            self._means[score, cell] = self._mean_of(score, cell)
        found = self._means[score, cell]
        made = None if found is None else found.interval(level)
        if made is None:
            return None
        least, most = score.pair.ends  # by the normal approximation an interval may go beyond what the measure can be
        mean = float(self.point(score)[0 if score.over_cells else cell])  # which rounding may put beyond the ends
        return (max(made[0][0], min(least, mean)), min(made[0][1], max(most, mean))), made[1]

    def _mean_of(self, score: PairMean, cell: int) -> MeanOf | None:
        if cell and self._shared(score):
            return self._means.setdefault((score, 0), self._mean_of(score, 0))
        counted, frame = score.counted(self.frames[cell]), self.frames[cell]
        if counted is not None:
            return MeanOf(counted[1].astype(np.float64), counted[0], True, self.resampling)
        if score.where is not None:
            return None
        numbers = score.pair.of(frame, score.run)
        return MeanOf(numbers, np.ones(frame.n, bool), False, self.resampling)

    def _shared(self, score: PairMean) -> bool:
        """Whether a mean is of the same numbers in all cells."""
        if score not in self._alike:
            self._alike[score] = same_in_all(self.frames, score.counted) and same_in_all(
                self.frames, lambda frame: score.pair.of(frame, score.run)
            )
        return self._alike[score]

    def together(self, score: PairMean) -> list[tuple[float, float] | None]:
        """For each cell, the interval of a share that holds for all cells at once; None where there is none."""
        self.prepare([score])
        again, points = self.replicates.get(score), self.point(score)
        times = None if again is None else together(points, again)
        if self.exhaustive or times is None:
            level = 1 - (1 - LEVEL) / max(1, len(self.frames))
        else:
            from scipy.special import ndtr

            level = max(LEVEL, float(2 * ndtr(times) - 1))
        found: list[tuple[float, float] | None] = []
        for cell in range(len(self.frames)):
            own = self.for_score(score)
            made = None if self.exhaustive or not np.isfinite(points[cell]) else own._mean(score, cell, level)
            found.append(None if made is None else made[0])
        return found

    def difference(self, one: CellScore, cell: int, other: CellScore, before: int) -> np.ndarray | None:
        """Replicates of the score of a cell less another, over the same pairs; None where there are none."""
        self.prepare([one, other])
        if one not in self.replicates or other not in self.replicates:
            return None
        return self.replicates[one][:, cell] - self.replicates[other][:, before]

    def _star(self, score: Star, cell: int, value: float, n: int) -> Estimate:
        """With a fixed ceiling iia_star is iia on another scale, interval and all; else it is resampled as a ratio.

        It has no interval where that of the ceiling reaches 1: the ratio has no lower bound then (Fieller 1954).
        """
        iia = self.estimate(score.iia, cell)
        ceiling = self.env.ceiling
        if isinstance(ceiling, np.ndarray) and iia.method != "rule of three":
            interval = bounded_below(self.replicates[score][:, cell]) if score in self.replicates else None
            return Estimate(value, n=n) if interval is None else Estimate(value, *interval, n, "bootstrap")
        if iia.low is None or iia.high is None or ceiling is None:
            return Estimate(value, n=n)
        top = float(np.mean(ceiling))
        return Estimate(value, (iia.low - top) / (1 - top), (iia.high - top) / (1 - top), n, iia.method)

    def chosen(self, score: Chosen) -> tuple[int | None, float | None]:
        """The cell that ``argmax`` takes, and the share of resamples that take the same one."""
        found = float(self.point(score)[0])
        if not np.isfinite(found):
            return None, None
        self.prepare([score])
        again = self.replicates.get(score)
        return int(found), None if again is None else float(np.mean(again[:, 0] == found))

    def equals(self, score: Chosen, index: int) -> int:
        """How many cells have the score of the one that ``argmax`` takes, itself included."""
        points = self.point(score.score)
        return int(np.isclose(points, points[index], rtol=1e-12, atol=0).sum())

    def best(self, score: Best) -> tuple[int, int, int] | None:
        """The cell that ``best`` chose, and the numbers of pairs that it was chosen and scored on."""
        chosen, choosing = score.chosen(self.env), self.env.choosing
        if chosen is None or choosing is None:
            return None
        return chosen, int(choosing.sum()), int((~choosing).sum())
