"""Whether each place follows from the places of its parents (Geiger et al. 2025)."""

from __future__ import annotations

from causal_dsl.vocabulary.measures.measure import Measure

MEASURE = Measure(
    name="local_consistency",
    says="for each variable, P(answer = that of H(b) with the variable set to what its mechanism gives for its parents), with its site taken from a run in which the site of each parent comes from an input of its own; the mean over the placed variables and the output",
    unit="share",
    per="cell",
    needs=("answer", "placed"),
    formula="causal_dsl.measures.of_alignments:local_consistency",
    better="higher",
    interval="runs",
    asks=(5, "is each place computed from those of its parents"),
)
