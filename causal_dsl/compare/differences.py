"""How far a score of one run is from that of another, with the interval of the difference.

*Over the same pairs* the two scores rise and fall together, so what both share falls out. The difference of two shares has the
score interval of Tango (1998), of as many independent pairs as would vary as much (Korn and Graubard 1998), where pairs share
inputs. Other scores, means and medians, are resampled together: each resample of the inputs gives both scores
(:mod:`causal_dsl.score.intervals`).

*Over other pairs* the intervals of both scores are put together as independent ones (Zou and Donner 2008). The same is done
where no column of the pairs makes up the score, as in a ratio of means.

A score is taken from the pairs only if their numbers give back what both runs reported.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.compare.pairing import CellRows, Match
from causal_dsl.measures.weighted_sums import weighted_order
from causal_dsl.score.as_json import number
from causal_dsl.score.estimates_and_findings import Estimate
from causal_dsl.score.intervals import LEVEL, Resampling, mean_variance, percentiles
from causal_dsl.vocabulary.measures import MEASURES, of_counts

Way = Literal["paired score", "paired bootstrap", "unpaired", "exact", "none"]
#: How far two scores may be apart by the rounding of networks in float32, as a part of the larger one.
SINGLE = 1e-6
#: How far a score may be from that of its pairs: both are float64, and summed in another order.
_ROUNDING = 1e-9
#: The median, the least or the largest of a number over the pairs.
_ORDER = re.compile(r"(median|min|max)\((.+)\)", re.DOTALL)
#: Why a score is not paired over the same pairs.
_NO_COLUMN = "no column of the stored pairs has its numbers"
_NO_CEILING = "its ceiling is not exact, and no column of the stored pairs has it"
_EACH_OUTPUT = "the test reads several outputs, and the stored pairs of one of them do not give the score"
_NO_SPREAD = "resamples of the pairs do not tell how far it varies"


@dataclass(frozen=True)
class Difference:
    """The second run's score less the first's. ``low`` and ``high`` are its 95% interval, None where there is none; ``why``
    says why it is not paired. ``scale`` is the larger of the two scores, at least 1."""

    value: float | None
    low: float | None = None
    high: float | None = None
    way: Way = "none"
    why: str = ""
    scale: float = 1.0

    @property
    def paired(self) -> bool:
        return self.way.startswith("paired")

    @property
    def apart(self) -> bool:
        """Whether the interval lies on one side of 0, or the difference is exact and not 0; what rounding makes is 0."""
        found = self.estimate
        if self.way == "exact":
            return bool(found.value)
        return found.low is not None and found.high is not None and (found.low > 0 or found.high < 0)

    @property
    def estimate(self) -> Estimate:
        """As an estimate that maps and tables show: what rounding makes of two equal numbers is shown as 0."""
        value, low, high = map(self._told, (self.value, self.low, self.high))
        return Estimate(value, low, high, 0, "exact" if self.way == "exact" else "none")

    def _told(self, number: float | None) -> float | None:
        return 0.0 if number is not None and abs(number) <= SINGLE * self.scale else number

    def to_json(self) -> dict[str, Any]:
        return {
            "value": number(self.value),
            "low": number(self.low),
            "high": number(self.high),
            "method": self.way,
            "paired": self.paired,
            "why": self.why,
        }


@dataclass(frozen=True, eq=False)
class _OfPairs:
    """A score as the mean of ``values`` [n] over the rows ``asked`` [n], on another scale: (mean - shift) * times; or as their
    ``median``.

    ``counts``: its measure is 0 or 1 in each pair, so that the mean is a share of them.
    """

    values: np.ndarray
    asked: np.ndarray
    counts: bool
    shift: float = 0.0
    times: float = 1.0
    median: bool = False

    @property
    def share(self) -> bool:
        """Whether it is a share of counts: by its measure, and each of its pairs is 0 or 1."""
        own = self.values[self.asked]
        return self.counts and not self.median and bool(((own == 0) | (own == 1)).all())

    def under(self, weights: np.ndarray) -> np.ndarray:
        """The score under rows of weights [R, n]: ``[R]``; NaN where none of the rows counts."""
        if self.median:
            return weighted_order(self.values[self.asked], weights[:, self.asked], "median")
        values = np.where(self.asked, self.values, 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            found = (weights @ values) / (weights @ self.asked.astype(np.float64))
        return (found - self.shift) * self.times

    def is_that(self, value: float) -> bool:
        if not self.asked.any() or not np.isfinite(self.values[self.asked]).all():
            return False
        own = float(self.under(np.ones((1, len(self.values))))[0])
        return math.isclose(own, value, rel_tol=_ROUNDING, abs_tol=_ROUNDING)


def difference(
    score: str,
    first: Mapping[str, Any],
    second: Mapping[str, Any],
    match: Match,
    rows: tuple[CellRows, CellRows] | None,
    ceilings: tuple[float | None, float | None],
    unit: str,
) -> Difference:
    """The difference of the ``score`` of one cell, from its estimates as JSON has them, and its ``rows`` where the pairs are the
    same. ``ceilings`` are those of output_only over the pairs that the score is over, in both runs, where they are exact;
    ``unit`` is that of the score."""
    a, b = first["value"], second["value"]
    if a is None or b is None:
        return Difference(
            None, why=f"it is undefined in {'both' if a is None and b is None else 'A' if a is None else 'B'}"
        )
    found = _interval_of(score, first, second, match, rows, ceilings, of_counts(score, unit))
    return replace(found, scale=max(1.0, abs(a), abs(b)))


def _interval_of(
    score: str,
    first: Mapping[str, Any],
    second: Mapping[str, Any],
    match: Match,
    rows: tuple[CellRows, CellRows] | None,
    ceilings: tuple[float | None, float | None],
    counted: bool,
) -> Difference:
    """The difference of two scores that are defined."""
    a, b = first["value"], second["value"]
    gap = float(b) - float(a)
    if first.get("method") == second.get("method") == "exact":
        return Difference(gap, way="exact")
    why = match.why
    if rows is not None and "exact" not in (first.get("method"), second.get("method")):
        own = [_of_pairs(score, one, top, counted) for one, top in zip(rows, ceilings, strict=True)]
        made = [one for one in own if isinstance(one, _OfPairs)]
        other = [which for which, one, value in zip("AB", made, (a, b), strict=False) if not one.is_that(value)]
        if len(made) < 2:
            why = next(one for one in own if isinstance(one, str))
        elif other and rows[0].of_output:
            why = _EACH_OUTPUT
        elif other:
            why = f"the stored pairs, a number each, do not give the value that {' and '.join(other)} reported"
        else:
            draws = first.get("about") == second.get("about") == "draws"
            found = _paired(gap, made[0], made[1], Resampling(rows[0].ids, draws))
            if found is not None:
                return found
            why = _NO_SPREAD
    return _unpaired(gap, first, second, why)


def output_of(score: str) -> str:
    """The output that a score such as ``iia(same)`` is of; empty for others."""
    name, bracket, rest = score.removesuffix("_unfiltered").partition("(")
    known = name in MEASURES and MEASURES[name].paired
    return rest[:-1] if bracket and known and rest[:-1].isidentifier() else ""


def _of_pairs(score: str, rows: CellRows, ceiling: float | None, counted: bool) -> _OfPairs | str:
    """How the numbers of the pairs may make up a score; why they do not."""
    kept = rows.kept()
    if score.endswith("_unfiltered"):
        kept, score = np.ones_like(kept), score.removesuffix("_unfiltered")
    if output_of(score):
        score = score.partition("(")[0]
    if score in ("iia_informative", "iia_star"):
        values, differs = rows.numbers("iia"), rows.differs()
        if values is None or (differs is None and score == "iia_informative"):
            return _NO_COLUMN
        if score == "iia_informative":
            return _OfPairs(values, kept & differs, counted)
        if ceiling is None or ceiling >= 1:
            return _NO_CEILING
        return _OfPairs(values, kept, counted, ceiling, 1 / (1 - ceiling))
    values = rows.numbers(score)
    if values is not None:
        return _OfPairs(values, kept, counted)
    order = _ORDER.fullmatch(score)
    values = rows.numbers(order[2]) if order else None
    if order is None or values is None:
        return _NO_COLUMN
    # the largest number of a resample is never larger than that of the sample
    return _OfPairs(values, kept, False, median=True) if order[1] == "median" else _NO_SPREAD


def _paired(gap: float, one: _OfPairs, other: _OfPairs, resampling: Resampling) -> Difference | None:
    """The difference with an interval over the same pairs; None where resamples are undefined, or all alike for shares: a share
    that is 1 in all that was drawn need not be 1."""
    alike = bool((one.asked == other.asked).all()) and (one.shift, one.times) == (other.shift, other.times)
    if alike and one.share and other.share:
        low, high = share_difference(one.values, other.values, one.asked, resampling)
        return Difference(gap, low * one.times, high * one.times, "paired score")
    if resampling.clusters(one.asked) < 2 or resampling.clusters(other.asked) < 2:
        return None
    apart = [other.under(weights) - one.under(weights) for weights in resampling.weights()]
    found = percentiles(np.concatenate(apart))
    if found is None or (found[0] == found[1] and one.share and other.share):
        return None
    return Difference(gap, *found, "paired bootstrap")


def share_difference(
    one: np.ndarray, other: np.ndarray, asked: np.ndarray, resampling: Resampling, level: float = LEVEL
) -> tuple[float, float]:
    """The interval of the share of ``other`` less that of ``one``, both 0 and 1 [n], over the pairs ``asked`` for [n]."""
    from scipy.special import ndtri, stdtrit

    gap = np.where(asked, other - one, 0.0)
    n = int(asked.sum())
    ups, downs = int((gap > 0).sum()), int((gap < 0).sum())
    quantile = float(ndtri((1 + level) / 2))
    counts: float = n
    if not resampling.independent:
        clusters = resampling.clusters(asked)
        variance, least = mean_variance(gap, asked, resampling.inverses, resampling.groups)
        plain = (ups + downs - (ups - downs) ** 2 / n) / n**2
        # no pair varies by itself: as if all pairs with one base, or one source, went together
        counts = min(float(n), n * plain / variance) if variance > 0 and plain > 0 else float(min(n, clusters))
        quantile = float(stdtrit(max(1, least - 1), (1 + level) / 2))
    return paired_shares(ups * counts / n, downs * counts / n, counts, quantile)


def paired_shares(ups: float, downs: float, n: float, z: float) -> tuple[float, float]:
    """The score interval of the difference of two shares over the same n pairs (Tango 1998): ``ups`` pairs are right in the second
    alone and ``downs`` in the first alone. ``z``: how many standard errors it is wide."""

    def statistic(delta: float) -> float:
        # the probability of the pairs that are right in the first alone, likeliest if the difference is delta
        linear = -ups - downs + (2 * n - ups + downs) * delta
        constant = -downs * delta * (1 - delta)
        root = math.sqrt(max(0.0, linear * linear - 8 * n * constant))
        likeliest = (root - linear) / (4 * n)
        spread = n * (2 * likeliest + delta * (1 - delta))
        return math.inf if spread <= 0 else (ups - downs - n * delta) / math.sqrt(spread)

    gap = (ups - downs) / n
    return _edge(statistic, gap, -1.0, z), _edge(statistic, gap, 1.0, -z)


def _edge(statistic: Any, inner: float, outer: float, wanted: float) -> float:
    """Where the statistic, which falls, has the wanted value between the estimate and an end of [-1, 1], by bisection."""
    if inner == outer:
        return outer
    for _ in range(60):
        middle = (inner + outer) / 2
        found = statistic(middle)
        within = found < wanted if wanted > 0 else found > wanted
        inner, outer = (middle, outer) if within and math.isfinite(found) else (inner, middle)
    return (inner + outer) / 2


def _unpaired(gap: float, first: Mapping[str, Any], second: Mapping[str, Any], why: str) -> Difference:
    """Both intervals put together as independent ones (Zou and Donner 2008)."""
    ends = []
    for one in (first, second):
        exact = one.get("method") == "exact"
        low, high = (one["value"], one["value"]) if exact else (one["low"], one["high"])
        if low is None or high is None:
            return Difference(gap, why=why or "a score has no interval")
        ends.append((one["value"] - low, high - one["value"]))
    (below_a, above_a), (below_b, above_b) = ends
    return Difference(gap, gap - math.hypot(below_b, above_a), gap + math.hypot(above_b, below_a), "unpaired", why)


__all__ = ["Difference", "difference", "output_of", "paired_shares", "share_difference"]
