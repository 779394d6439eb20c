"""Values and intervals of compiled scores over the cells of a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from causal_dsl.score.frames import Env, Frame
from causal_dsl.score.intervals import Resampling, halves, percentiles, share_interval
from causal_dsl.score.results import Estimate
from causal_dsl.score.scores import Best, Chosen, Mean, Order, OverCells, Score, Star
from causal_dsl.score.units import SHARE


@dataclass
class Estimator:
    """Scores over the same pairs. ``ids`` are the input ids of each role, ``[n]``; ``exhaustive``: no intervals."""

    frames: Sequence[Frame]
    cells: Sequence[Mapping[str, Any]]
    ids: Mapping[str, np.ndarray]
    exhaustive: bool = False
    ceiling: float | np.ndarray | None = None
    points: dict[Score, np.ndarray] = field(default_factory=dict)
    replicates: dict[Score, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.n = self.frames[0].n if self.frames else 0
        self.resampling = Resampling(self.ids)
        base = next(iter(self.ids.values()), np.zeros(self.n))
        choosing = halves(base) if self.n else np.zeros(0, bool)
        self.env = Env(self.frames, self.cells, np.ones((1, self.n)), choosing, self.ceiling)

    def prepare(self, scores: Sequence[Score]) -> None:
        """Compute the scores and, unless the pairs are all there are, their bootstrap replicates."""
        new = list(dict.fromkeys(score for score in scores if score not in self.points))
        with np.errstate(invalid="ignore", over="ignore"):
            for score in new:
                self.points[score] = self.env.of(score)[0]
            resampled = [score for score in new if not self.exhaustive and np.isfinite(self.points[score]).any()]
            if not resampled or self.resampling.clusters() < 2:
                return
            blocks: dict[Score, list[np.ndarray]] = {score: [] for score in resampled}
            for weights in self.resampling.weights():
                env = self.env.under(weights)
                for score in resampled:
                    blocks[score].append(env.of(score))
        for score, found in blocks.items():
            self.replicates[score] = np.concatenate(found)

    def point(self, score: Score) -> np.ndarray:
        """The score in each cell, ``[C]`` (``[1]`` where it is over cells)."""
        self.prepare([score])
        return self.points[score]

    def estimate(self, score: Score, cell: int = 0) -> Estimate:
        """The score of a cell with its interval."""
        value = float(self.point(score)[0 if score.over_cells else cell])
        n = score.count(self.env, cell)
        if not np.isfinite(value):
            return Estimate(None, n=n)
        if self.exhaustive:
            return Estimate(value, n=n, method="exact")
        if isinstance(score, Star):
            return self._star(score, cell, value, n)
        counted = score.counted(self.frames[cell]) if isinstance(score, Mean) else None
        if counted is not None:
            asked, hits = counted
            clusters = self.resampling.clusters(asked)
            interval = share_interval(int(hits.sum()), int(asked.sum()), self.resampling.independent, clusters)
            if interval is not None:
                boundary = int(hits.sum()) in (0, int(asked.sum()))
                return Estimate(value, *interval, n, "rule of three" if boundary else "binomial")
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
            and isinstance(score, OverCells | Best)
        ):
            rows = ~self.env.choosing if isinstance(score, Best) and self.env.choosing is not None else None
            slack = min(1.0, 3 / max(1, self.resampling.clusters(rows)))
            low, high = (1 - slack, 1.0) if value == 1 else (0.0, slack)
            return Estimate(value, low, high, n, "rule of three")
        return Estimate(value, *interval, n, "bootstrap")

    def _star(self, score: Star, cell: int, value: float, n: int) -> Estimate:
        """With a fixed ceiling iia_star is iia on another scale, interval and all; else it is resampled as a ratio."""
        iia = self.estimate(score.iia, cell)
        ceiling = self.env.ceiling
        if isinstance(ceiling, np.ndarray) and iia.method != "rule of three":
            interval = percentiles(self.replicates[score][:, cell]) if score in self.replicates else None
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
        again = self.replicates.get(score)
        return int(found), None if again is None else float(np.mean(again[:, 0] == found))

    def best(self, score: Best) -> tuple[int, int, int] | None:
        """The cell that ``best`` chose, and the numbers of pairs that it was chosen and scored on."""
        chosen, choosing = score.chosen(self.env), self.env.choosing
        if chosen is None or choosing is None:
            return None
        return chosen, int(choosing.sum()), int((~choosing).sum())
