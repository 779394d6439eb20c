"""How far the network's number is from the causal model's: the mean squared error."""

from __future__ import annotations

from causal_dsl.vocabulary.measures.measure import Measure

MEASURE = Measure(
    name="mse",
    says="of an output that is a number: the mean of (m - y)^2, with m and y as in `r2`",
    unit="number",
    per="cell",
    needs=("number",),
    formula="causal_dsl.measures.of_numbers:mse",
    better="lower",
    interval="mean",
    least=0.0,
    given=("number", 4),
)
