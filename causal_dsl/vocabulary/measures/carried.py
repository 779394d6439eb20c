"""Whether the places of an alignment carry the answer by themselves."""

from __future__ import annotations

from causal_dsl.vocabulary.measures.measure import Measure

MEASURE = Measure(
    name="carried",
    says="P(answer = that of H(b)) in the runs of `scrubbed`, with the site of each variable holding its value from L(b)",
    unit="share",
    per="cell",
    needs=("answer", "placed"),
    formula="causal_dsl.measures.of_alignments:carried",
    better="higher",
    interval="runs",
    asks=(3, "is the answer kept with the rest of the network from other inputs"),
    of_metric=True,
)
