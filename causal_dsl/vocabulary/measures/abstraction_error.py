"""The error of an alignment as a causal abstraction (Beckers, Eberhardt and Halpern 2020)."""

from __future__ import annotations

from causal_dsl.vocabulary.measures.measure import Measure

MEASURE = Measure(
    name="abstraction_error",
    says="the share of wrong values over interventions: some variables take their sites from inputs of their own, and each variable that is computed from them, the output included, is compared with H",
    unit="share",
    per="cell",
    needs=("answer", "placed"),
    formula="causal_dsl.measures.of_alignments:abstraction_error",
    better="lower",
    interval="runs",
    asks=(6, "how many values are wrong under interventions"),
)
