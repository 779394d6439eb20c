"""Findings beside ratios: whether what they divide by differs from 0, and the pairs in which they are worst."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.measures.cell_data import CellData
from causal_dsl.measures.known_answers import values_needed
from causal_dsl.measures.per_cell import CellScore, PairMean
from causal_dsl.measures.per_pair import Change
from causal_dsl.measures.ratios import Contrast, OverPairs, Ratio, Relative
from causal_dsl.score.estimate import Estimator
from causal_dsl.score.estimates_and_findings import Estimate, Finding
from causal_dsl.score.format_numbers import show
from causal_dsl.score.results import WorstPair
from causal_dsl.score.wrong_answers import Speech

#: How many pairs are told of.
_MOST = 3
#: A mean without an interval is hardly different from 0 where it is smaller than this share of the mean size of the numbers.
_HARDLY = 0.05
#: Numbers that differ by less than this share of the largest are alike: none of them is the worst.
_ALIKE = 1e-6


@dataclass
class Relatives:
    """Scores that are relative to the same: the ``first``, and the names of all."""

    first: Relative
    names: list[str]


def contrasts(scores: Iterable[CellScore]) -> list[PairMean]:
    """The means that scores are relative to, each once."""
    return [Contrast.mean_of(own.first) for own in _grouped((one.text, one) for one in scores).values()]


def _grouped(scores: Iterable[tuple[str, CellScore]]) -> dict[tuple[str, str], Relatives]:
    """The scores that are relative, by what they are relative to, with their names."""
    found: dict[tuple[str, str], Relatives] = {}
    for name, score in scores:
        for part in score.walk():
            if isinstance(part, Relative) and part.relative:
                one = found.setdefault((part.pair.text, part.between), Relatives(part, []))
                one.names.append(name)
    return found


def no_contrast(estimator: Estimator, scores: Mapping[str, CellScore], cell: int) -> list[Finding]:
    """A finding for scores that are relative to a mean that may be 0: by the interval that a report gives such a mean."""
    found = []
    for (metric, between), own in _grouped(scores.items()).items():
        among, frame = estimator.for_score(own.first), estimator.for_score(own.first).frames[cell]
        numbers = own.first.contrast(frame)
        if not frame.n or not np.isfinite(numbers).all() or not among.own.sum() > 0:
            continue
        estimate = estimator.estimate(Contrast.mean_of(own.first), cell)
        held = _may_be_0(estimate, numbers, among.own)
        if estimate.value is None or held is None:
            continue
        about = tuple(dict.fromkeys(own.names))
        *names, last = [f"`{name}`" for name in about]
        told = f"{', '.join(names)} and {last}" if names else last
        is_, pronoun, says = ("are", "they", "say") if names else ("is", "it", "says")
        where = between.replace("its mean", f"the mean of `{metric}`").replace(
            "the mean difference", f"the mean difference of `{metric}`"
        )
        found.append(
            Finding(
                "no_contrast",
                f"{told} {is_} relative to {where}, which is {show(estimate.value)}{held}; {pronoun} {says} nothing, then.",
                about=about,
            )
        )
    return found


def silenced(findings: Iterable[Finding]) -> frozenset[str]:
    """The names of the scores that :func:`no_contrast` finds to say nothing."""
    return frozenset(name for one in findings if one.code == "no_contrast" for name in one.about)


def _may_be_0(estimate: Estimate, numbers: np.ndarray, weights: np.ndarray) -> str | None:
    """In words that the mean of numbers may be 0; None where it is not."""
    if estimate.value is None:
        return None
    if estimate.low is not None and estimate.high is not None:
        low, high = estimate.low, estimate.high
        return f" [{show(low)}, {show(high)}]: its interval contains 0" if low <= 0 <= high else None
    size = float(np.average(np.abs(numbers), weights=weights))
    if abs(estimate.value) > _HARDLY * size:
        return None
    return (
        ": there is no such difference" if size == 0 else f", of a mean size of {show(size)}: it hardly differs from 0"
    )


def worst_pairs(scores: Mapping[str, CellScore], frame: CellData, speech: Speech) -> dict[str, tuple[WorstPair, ...]]:
    """The pairs in which ratios of means, and means of changes, are worst: the lowest ratios, and the changes furthest against the mean
    change."""
    found = {}
    whole = frame
    for name, score in scores.items():
        frame = whole if score.parts else whole.among(whole.known(values_needed(score)))
        numbers, there = _numbers(score, frame)
        if numbers is None or not there.any():
            continue
        rows = np.flatnonzero(there & np.isfinite(numbers))
        if not len(rows) or np.ptp(numbers[rows]) <= _ALIKE * np.abs(numbers[rows]).max():
            continue
        order = rows[np.argsort(numbers[rows], kind="stable")][:_MOST].tolist()
        values = _shown(score, frame)
        found[name] = tuple(_pair(i, float(values[i]), frame, speech) for i in order)
    return found


def _numbers(score: CellScore, frame: CellData) -> tuple[np.ndarray | None, np.ndarray]:
    """By what the pairs are ordered, and which have it."""
    if isinstance(score, Ratio) and not isinstance(score, OverPairs):
        return score.ratios(frame)
    if isinstance(score, PairMean) and isinstance(score.pair, Change) and frame.n:
        changes = score.pair.of(frame, score.run)
        return changes * (1.0 if np.nansum(changes) >= 0 else -1.0), np.ones(frame.n, bool)
    return None, np.zeros(0, bool)


def _shown(score: CellScore, frame: CellData) -> np.ndarray:
    return score.ratios(frame)[0] if isinstance(score, Ratio) else score.pair.of(frame, score.run)  # type: ignore[attr-defined]


def _pair(row: int, value: float, frame: CellData, speech: Speech) -> WorstPair:
    pair = row if frame.rows is None else int(frame.rows[row])
    return WorstPair(pair, value, "" if speech.base is None else speech.base(pair))


__all__ = ["contrasts", "no_contrast", "silenced", "worst_pairs"]
