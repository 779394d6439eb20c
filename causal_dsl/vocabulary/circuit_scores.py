"""The scores of a circuit that a test intervenes on: ``faithfulness(m)``, each a function of a metric m, in one record.

In the definitions B, A and F are those of docs/measures.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.vocabulary.record_tables import table


@dataclass(frozen=True)
class CircuitScore:
    """``says`` is its definition. ``make`` is the dotted name of what makes the compiled score, given its text, the metric, the circuit and
    the number of its ``setting`` (a name and the default; None where it has none, and ``below`` which the number must be).
    ``over_sizes``: it is of the circuits of a sweep, and is given its ``name`` in place of that number. ``asks``: its place in the table
    of the measures of one alignment, and what it asks there."""

    name: str
    says: str
    make: str
    setting: tuple[str, float] | None = None
    below: float = 1.0
    over_sizes: bool = False
    asks: tuple[int, str] | None = None


_MADE = "causal_dsl.measures.made_circuit_scores"

CIRCUIT_SCORES: Mapping[str, CircuitScore] = table(
    "scores of circuits",
    (
        CircuitScore(
            "faithfulness",
            "(F(C) - A) / (B - A) where what is outside of the circuit is written; where the circuit is written, (P - B) / (A - B), with P the patched run",
            f"{_MADE}:faithfulness",
            asks=(8, "how much of the metric the circuit keeps alone (no share of right answers)"),
        ),
        CircuitScore(
            "faithfulness_per_pair",
            "the mean of the ratios of `faithfulness(m)` over the pairs",
            f"{_MADE}:faithfulness_per_pair",
        ),
        CircuitScore(
            "faithfulness_median",
            "the median of the ratios of `faithfulness(m)` over the pairs",
            f"{_MADE}:faithfulness_median",
        ),
        CircuitScore("sufficiency", "(F(C) - A) / (B - A) in both kinds of tests", f"{_MADE}:sufficiency"),
        CircuitScore(
            "necessity",
            "(B - F(all but C)) / (B - A): what is lost where the circuit is written",
            f"{_MADE}:necessity",
        ),
        CircuitScore(
            "completeness",
            "the largest of abs(F(C without K) - F(all but K)) / abs(B - A), over 12 subsets K of the circuit (Wang et al. 2023)",
            f"{_MADE}:completeness",
        ),
        CircuitScore(
            "minimality",
            "the smallest effect of a member v: abs(F(C without K and v) - F(C without K)) / abs(B - A), the larger of K empty and K a random half",
            f"{_MADE}:minimality",
        ),
        CircuitScore(
            "cpr",
            "over a sweep of circuits of several sizes, the area under f, with f the faithfulness, over the weighted edges as a share of all (Mueller et al. 2025)",
            f"{_MADE}:area",
            over_sizes=True,
        ),
        CircuitScore(
            "cmd",
            "over a sweep of circuits of several sizes, the area under abs(1 - f), with f the faithfulness, over the weighted edges as a share of all (Mueller et al. 2025)",
            f"{_MADE}:area",
            over_sizes=True,
        ),
        CircuitScore(
            "equivalence_test",
            "the p-value of the null hypothesis that the circuit alone scores more than the network in half of the pairs, up to `epsilon` (Shi et al. 2024)",
            f"{_MADE}:equivalence_test",
            setting=("epsilon", 0.1),
            below=0.5,
        ),
        CircuitScore(
            "independence_test",
            "the p-value of the null hypothesis that m of the network without the circuit is independent of m of the network (Shi et al. 2024)",
            f"{_MADE}:independence_test",
        ),
        CircuitScore(
            "minimality_test",
            "the p-value of the null hypothesis that each member does more than a random one with a probability of at least `quantile` (Shi et al. 2024)",
            f"{_MADE}:minimality_test",
            setting=("quantile", 0.9),
        ),
    ),
)

__all__ = ["CIRCUIT_SCORES", "CircuitScore"]
