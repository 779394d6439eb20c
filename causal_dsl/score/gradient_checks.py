"""The lines beside gradients at places: the exact effects of the same places, how the two go together, and completeness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from causal_dsl.measures.quantities import EXACT, Columns, Quantity
from causal_dsl.program.program import GradientWay, Test
from causal_dsl.score.results import TestResult
from causal_dsl.score.results_beside import GradientCheck
from causal_dsl.syntax.format import format_expr
from causal_dsl.vocabulary.readings import READINGS


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


__all__ = ["with_gradient_checks"]
