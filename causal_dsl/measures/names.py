"""The names that a metric is made of: measures, and functions of them."""

from __future__ import annotations

from collections.abc import Mapping

from causal_dsl.vocabulary.circuit_scores import CIRCUIT_SCORES
from causal_dsl.vocabulary.measures import MEASURES

#: What intervening changes, each a function of a metric m with its definition.
BETWEEN_RUNS: Mapping[str, str] = {
    "recovered": "(mean of m patched - mean of m base) / (mean of m source - mean of m base): how far the intervention brings m from its value in the base run (0) to its value in the source run (1)",
    "recovered_per_pair": "the mean of the ratios of `recovered(m)`, over the pairs whose base run and source run differ in m",
    "recovered_median": "the median of the ratios of `recovered(m)`, over the pairs whose base run and source run differ in m",
    "change": "m of the patched run minus m of the base run, in the unit of m",
    "relative_change": "a change as a ratio of means: (mean of m patched - mean of m base) / (mean of m base)",
    "relative_change_per_pair": "the mean of the ratios of `relative_change(m)`, over the pairs whose base run has an m other than 0",
    "relative_change_median": "the median of the ratios of `relative_change(m)`, over the pairs whose base run has an m other than 0",
}
#: Of a circuit that is intervened on, each a function of a metric with its definition.
OF_CIRCUITS: Mapping[str, str] = {name: score.says for name, score in CIRCUIT_SCORES.items()}
#: Of a whole alignment; those that are also functions of a metric.
OF_ALIGNMENTS = tuple(name for name, measure in MEASURES.own.items() if "placed" in measure.needs)
WITH_METRIC = tuple(name for name, measure in MEASURES.own.items() if measure.of_metric)
#: Of a metric one number a cell; of a score one number for all cells.
AGGREGATIONS: Mapping[str, str] = {
    "mean": "the mean of a metric over the pairs, or of a score over the cells",
    "median": "the median of a metric over the pairs, or of a score over the cells",
    "min": "the least of a metric over the pairs, or of a score over the cells",
    "max": "the greatest of a metric over the pairs, or of a score over the cells",
}
CHOICES: Mapping[str, str] = {
    "argmax": "the cell with the highest score (the first of equals), whose parameters are compared: `argmax(iia).l >= 5`",
    "argmin": "the cell with the lowest score (the first of equals), whose parameters are compared: `argmin(iia).l >= 5`",
    "best": "the score, on one half of the distinct base inputs, of the cell with the highest score on the other half",
}
#: Every function of a metric or of a score, with its definition.
FUNCTIONS: Mapping[str, str] = {**BETWEEN_RUNS, **OF_CIRCUITS, **AGGREGATIONS, **CHOICES}
#: Ratios of means that have the mean and the median of the ratios of pairs beside them, under names of their own.
RATIOS_OF_MEANS = tuple(name for name in FUNCTIONS if {f"{name}_per_pair", f"{name}_median"} <= FUNCTIONS.keys())
#: Names that no metric of a spec may have.
RESERVED = frozenset((*MEASURES.own, *FUNCTIONS))
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")


def short(text: str) -> str:
    """A text as messages quote it: cut where it is long."""
    return text if len(text) <= 60 else text[:59] + "…"
