"""The same, with what is mapped to nothing taken from another input."""

from __future__ import annotations

from causal_dsl.vocabulary.measures.measure import Measure

MEASURE = Measure(
    name="abstraction_error_resampled",
    says="`abstraction_error`, with everything that the alignment does not place taken from another input",
    unit="share",
    per="cell",
    needs=("answer", "placed"),
    formula="causal_dsl.measures.of_alignments:abstraction_error_resampled",
    better="lower",
    interval="runs",
    asks=(7, "the same, with the rest of the network from other inputs"),
)
