"""The names that a metric is made of: measures, and functions of them."""

from __future__ import annotations

from causal_dsl.vocabulary.measures import MEASURES

BETWEEN_RUNS = (
    "recovered",
    "recovered_per_pair",
    "recovered_median",
    "change",
    "relative_change",
    "relative_change_per_pair",
    "relative_change_median",
)
#: Null hypotheses about a circuit, each a function of a metric with a setting of its own and its default.
TESTS_OF_CIRCUITS: dict[str, dict[str, float]] = {
    "equivalence_test": {"epsilon": 0.1},
    "independence_test": {},
    "minimality_test": {"quantile": 0.9},
}
#: Of a circuit that is intervened on, each a function of a metric.
OF_CIRCUITS = (
    "faithfulness",
    "faithfulness_per_pair",
    "faithfulness_median",
    "sufficiency",
    "necessity",
    "completeness",
    "minimality",
    "cpr",
    "cmd",
    *TESTS_OF_CIRCUITS,
)
#: Of a whole alignment; those that are also functions of a metric.
OF_ALIGNMENTS = tuple(name for name, measure in MEASURES.own.items() if "placed" in measure.needs)
WITH_METRIC = ("scrubbed", "carried")
AGGREGATIONS = ("mean", "median", "min", "max")
CHOICES = ("argmax", "argmin", "best")
FUNCTIONS = (*BETWEEN_RUNS, *OF_CIRCUITS, *AGGREGATIONS, *CHOICES)
#: Names that no metric of a spec may have.
RESERVED = frozenset((*MEASURES.own, *FUNCTIONS))
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")


def short(text: str) -> str:
    """A text as messages quote it: cut where it is long."""
    return text if len(text) <= 60 else text[:59] + "…"
