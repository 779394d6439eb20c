"""What is printed beside gradients at places: the exact effects of the same places, how the two go together, and completeness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from causal_dsl.measures.quantities import EXACT, Columns, Quantity
from causal_dsl.program.program import GradientWay, Test
from causal_dsl.quick_dataclasses import dataclass
from causal_dsl.score.as_json import number
from causal_dsl.score.results import TestResult
from causal_dsl.syntax.format import format_expr
from causal_dsl.vocabulary.readings import READINGS

if TYPE_CHECKING:
    from causal_dsl import shapes


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


def with_gradient_checks(
    result: TestResult, test: Test, numbers: Sequence[int], columns: Sequence[Columns], kept: np.ndarray | None
) -> TestResult:
    """The result with what its gradients are held against; ``numbers`` are those of the cells of ``columns``, ``kept`` [n] the pairs that
    are scored (None: all)."""
    found: dict[str, tuple[int, list[tuple[Mapping[str, Any], float, float | None]]]] = {}
    for place, own in zip(numbers, columns, strict=True):
        cell = test.cells[place]
        for look in cell.looks:
            if look.kind not in READINGS or READINGS[look.kind].of != "gradients" or look.asked.reading is None:
                continue
            way = look.arguments[0]
            assert isinstance(way, GradientWay)
            for run in (own.base, own.patched):
                scores, effects = (run.get(Quantity(kind, place=look.asked)) for kind in (look.kind, EXACT))
                if scores is None or effects is None:
                    continue
                score, exact = (
                    float((values if kept is None else values[kept]).mean()) for values in (scores, effects)
                )
                text = f"{format_expr(look.asked.reading)} @ {format_expr(look.asked.site)}"
                if run is own.base and test.intervenes:
                    text += " in the base run"
                computed = not np.isnan(effects).all()
                found.setdefault(text, (way.steps, []))[1].append((cell.settings, score, exact if computed else None))
    checks = tuple(GradientCheck(text, steps, tuple(cells)) for text, (steps, cells) in found.items())
    return replace(result, gradients=checks) if checks else result


__all__ = ["GradientCheck", "with_gradient_checks"]
