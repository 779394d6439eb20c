"""The names that a metric is made of: measures, and functions of them."""

from __future__ import annotations

from collections.abc import Mapping

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
#: Null hypotheses about a circuit, each a function of a metric with a setting of its own and its default.
TESTS_OF_CIRCUITS: dict[str, dict[str, float]] = {
    "equivalence_test": {"epsilon": 0.1},
    "independence_test": {},
    "minimality_test": {"quantile": 0.9},
}
#: Of a circuit that is intervened on, each a function of a metric with its definition, in which B, A and F are those of docs/measures.md.
OF_CIRCUITS: Mapping[str, str] = {
    "faithfulness": "(F(C) - A) / (B - A) where what is outside of the circuit is written; where the circuit is written, (P - B) / (A - B), with P the patched run",
    "faithfulness_per_pair": "the mean of the ratios of `faithfulness(m)` over the pairs",
    "faithfulness_median": "the median of the ratios of `faithfulness(m)` over the pairs",
    "sufficiency": "(F(C) - A) / (B - A) in both kinds of tests",
    "necessity": "(B - F(all but C)) / (B - A): what is lost where the circuit is written",
    "completeness": "the largest of abs(F(C without K) - F(all but K)) / abs(B - A), over 12 subsets K of the circuit (Wang et al. 2023)",
    "minimality": "the smallest effect of a member v: abs(F(C without K and v) - F(C without K)) / abs(B - A), the larger of K empty and K a random half",
    "cpr": "over a sweep of circuits of several sizes, the area under f, with f the faithfulness, over the weighted edges as a share of all (Mueller et al. 2025)",
    "cmd": "over a sweep of circuits of several sizes, the area under abs(1 - f), with f the faithfulness, over the weighted edges as a share of all (Mueller et al. 2025)",
    "equivalence_test": "the p-value of the null hypothesis that the circuit alone scores more than the network in half of the pairs, up to `epsilon` (Shi et al. 2024)",
    "independence_test": "the p-value of the null hypothesis that m of the network without the circuit is independent of m of the network (Shi et al. 2024)",
    "minimality_test": "the p-value of the null hypothesis that each member does more than a random one with a probability of at least `quantile` (Shi et al. 2024)",
}
#: Of a whole alignment; those that are also functions of a metric.
OF_ALIGNMENTS = tuple(name for name, measure in MEASURES.own.items() if "placed" in measure.needs)
WITH_METRIC = ("scrubbed", "carried")
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
#: Names that no metric of a spec may have.
RESERVED = frozenset((*MEASURES.own, *FUNCTIONS))
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")


def short(text: str) -> str:
    """A text as messages quote it: cut where it is long."""
    return text if len(text) <= 60 else text[:59] + "…"
