"""Causal scrubbing of an alignment (Chan et al. 2022)."""

from __future__ import annotations

from causal_dsl.vocabulary.measures.measure import Measure

MEASURE = Measure(
    name="scrubbed",
    says="causal scrubbing: P(answer = that of H(b)) in a run on another input that agrees with b in all that the alignment does not place, with the site of each placed variable taken from an input that gives the variable the same value, and so on down the causal model",
    unit="share",
    per="cell",
    needs=("answer", "placed"),
    formula="causal_dsl.measures.of_alignments:scrubbed",
    better="higher",
    interval="runs",
    asks=(4, "can inputs that the alignment calls alike stand for each other"),
    of_metric=True,
)
