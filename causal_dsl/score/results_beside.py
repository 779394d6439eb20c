"""The records beside the scores of a test: other inputs than its own, and what gradients and attributions are held against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.score.as_json import number
from causal_dsl.score.circuit_results import CLOSE
from causal_dsl.score.estimates_and_findings import Estimate

if TYPE_CHECKING:
    from causal_dsl import shapes


@dataclass(frozen=True)
class BeyondWhere:
    """Of pairs that do not pass the `where` of a test: ``own``, the share whose base the network answers right by itself, and ``right``, of
    those of which it answers all inputs right, the share that gives what the causal model says of the interchange. ``pairs`` and
    ``answered``: how many distinct pairs these are (0: not known)."""

    own: Estimate
    right: Estimate
    pairs: int = 0
    answered: int = 0

    def to_json(self) -> shapes.BeyondJson:
        return {
            "own": self.own.to_json(),
            "right": self.right.to_json(),
            "pairs": self.pairs,
            "answered": self.answered,
        }


@dataclass(frozen=True)
class GradientCheck:
    """One reading of gradients over the cells of a test. ``scores`` and ``exact`` are the means of each cell, the latter only where they were
    computed; ``steps``: gradients were taken along a way, so that the two are equal but for its steps."""

    text: str
    steps: int
    cells: tuple[tuple[Mapping[str, Any], float, float | None], ...]

    @property
    def both(self) -> tuple[np.ndarray, np.ndarray]:
        """Scores and exact effects of the cells that have both."""
        known = [(score, exact) for _, score, exact in self.cells if exact is not None]
        scores, exact = (np.array([one[i] for one in known]) for i in (0, 1))
        return scores, exact

    @property
    def correlation(self) -> float | None:
        """Pearson's, of scores and exact effects over the cells; None of fewer than three, and where one does not vary."""
        scores, exact = self.both
        if len(scores) < 3 or not np.isfinite([scores, exact]).all() or np.ptp(scores) == 0 or np.ptp(exact) == 0:
            return None
        return float(np.corrcoef(scores, exact)[0, 1])

    @property
    def apart(self) -> float:
        """The largest difference of a score from its exact effect."""
        scores, exact = self.both
        return float(np.abs(scores - exact).max(initial=0.0))

    @property
    def scale(self) -> float:
        """The largest exact effect."""
        return float(np.abs(self.both[1]).max(initial=0.0))

    def to_json(self) -> shapes.GradientReadingJson:
        return {
            "of": self.text,
            "steps": self.steps,
            "correlation": number(self.correlation),
            "apart": number(self.apart),
            "scale": number(self.scale),
            "cells": [
                {"cell": dict(cell), "score": number(score), "exact": number(exact)}
                for cell, score, exact in self.cells
            ],
        }


@dataclass(frozen=True)
class AttributionCheck:
    """The terms of one logit in one run: means over the pairs of all cells, in logits. ``apart`` is the largest difference of their sum
    from the logit in a pair, ``heads_apart`` that of the heads of a layer and the biases behind them from what attention adds there.
    ``written``: something is written into the stream itself, so that the sum lacks it."""

    run: str
    of: str
    parts: Mapping[str, float]
    whole: float
    logit: float
    apart: float
    heads_apart: float
    scale: float
    written: bool = False

    @property
    def holds(self) -> bool:
        """Whether what is apart is rounding; of what is written into the stream only the heads are held."""
        bound = CLOSE * max(1.0, self.scale)
        return self.heads_apart <= bound and (self.written or self.apart <= bound)

    def to_json(self) -> shapes.AttributionJson:
        return {
            "run": self.run,
            "of": self.of,
            "parts": {name: number(value) for name, value in self.parts.items()},
            "sum": number(self.whole),
            "logit": number(self.logit),
            "apart": number(self.apart),
            "heads_apart": number(self.heads_apart),
            "written": self.written,
            "holds": self.holds,
        }


__all__ = ["AttributionCheck", "BeyondWhere", "GradientCheck"]
