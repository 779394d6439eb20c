"""How well the network gives the number that the causal model does, with nothing intervened on."""

from __future__ import annotations

from causal_dsl.vocabulary.measures.measure import Measure

MEASURE = Measure(
    name="r2_unpatched",
    says="of an output that is a number: `r2` of the unpatched runs, with the number of H(b) as y",
    unit="ratio",
    per="cell",
    needs=("number",),
    formula="causal_dsl.measures.of_numbers:r2_unpatched",
    better="higher",
    interval="resampled",
    most=1.0,
    given=("number", 1),
)
