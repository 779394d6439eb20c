"""How much a sample can say: weights of rows that are all there are, too few inputs, effects that cancel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from causal_dsl.measures.cell_data import CellData
from causal_dsl.measures.per_cell import CellScore, PairMean
from causal_dsl.measures.per_pair import ANSWER, Change
from causal_dsl.score.estimate import Estimator
from causal_dsl.score.estimates_and_findings import Finding
from causal_dsl.score.format_numbers import counted, show, show_estimate, show_percent

if TYPE_CHECKING:
    from causal_dsl.causal.cover import Cover

#: Fewer inputs than this, and no interval keeps its coverage (benchmarks/coverage).
FEW = 20
#: A mean whose interval holds 0 hides effects where the mean size of a change is this many times larger.
HIDES = 4.0


def steady(cover: Cover, frames: Sequence[CellData], rows: np.ndarray | None) -> np.ndarray | None:
    """The weights of the rows that are scored, each group of equal rows counted once, where these gave equal answers; None
    where they did not (noise). Sums of them are exact (:class:`~causal_dsl.causal.cover.Cover`)."""
    if cover.weights is None or cover.group is None or not frames:
        return None
    if any(ANSWER not in frame.columns.base for frame in frames):
        return None  # numbers of equal rows differ by rounding
    group = cover.group if rows is None else cover.group[rows]
    if not len(group):
        return None
    _, first, back = np.unique(group, return_index=True, return_inverse=True)
    for frame in frames:
        for run in ("base", "patched") if frame.columns.patched else ("base",):
            said = frame.column(run, ANSWER)
            if (said != said[first][back.reshape(-1)]).any():
                return None
    from causal_dsl.causal.cover import once

    return once(cover.weights if rows is None else cover.weights[rows], group)


def few_inputs(estimator: Estimator, roles: Sequence[str]) -> list[Finding]:
    """A finding where there are too few inputs for any interval."""
    inputs = estimator.resampling.clusters()
    if not estimator.n or inputs >= FEW:
        return []
    if estimator.draws:
        return [
            Finding(
                "few_inputs",
                f"There {'is' if inputs == 1 else 'are'} {counted(inputs)}: no interval keeps its 95% with so few.",
            )
        ]
    counts = {role: len(np.unique(estimator.ids[role])) for role in roles if role in estimator.ids}
    told = ", ".join(f"{count} of `{role}`" for role, count in counts.items())
    made = f"The {estimator.n} pairs are" if estimator.n > 1 else "The one pair is"
    text = f"{made} made of few distinct inputs ({told}): no interval keeps its 95% with so few."
    return [Finding("few_inputs", text)]


def effects(estimator: Estimator, scores: Sequence[CellScore], cell: int) -> list[Finding]:
    """Findings of mean changes near 0 that hide large ones of both signs."""
    found = []
    for score in scores:
        if not isinstance(score, PairMean) or not isinstance(score.pair, Change):
            continue
        estimate = estimator.estimate(score, cell)
        among = estimator.for_score(score)
        numbers = score.pair.of(among.frames[cell], score.run)
        if estimate.value is None or not len(numbers):
            continue
        size = float(np.average(np.abs(numbers), weights=among.own))
        if size > 0 and size >= HIDES * abs(estimate.value):
            ups, downs = float((numbers > 0).mean()), float((numbers < 0).mean())
            text = f"`{score.text}` is {show_estimate(estimate)} in the mean, and {show(size)} in mean size: it rises in {show_percent(ups)} of pairs and falls in {show_percent(downs)}, and these cancel."
            found.append(Finding("cancels", text))
    return found
