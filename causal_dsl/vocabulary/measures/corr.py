"""Whether the network's number goes with the causal model's, whatever its scale (Pearson 1895)."""

from __future__ import annotations

from causal_dsl.vocabulary.measures.measure import Measure

MEASURE = Measure(
    name="corr",
    says="of an output that is a number: Pearson's correlation of m and y, with m and y as in `r2`; undefined where one of them is the same in all pairs",
    unit="ratio",
    per="cell",
    needs=("number",),
    formula="causal_dsl.measures.of_numbers:corr",
    better="higher",
    interval="resampled",
    least=-1.0,
    most=1.0,
    given=("number", 3),
)
