"""How often the network answers as the causal model does, with nothing intervened on."""

from __future__ import annotations

from causal_dsl.vocabulary.measures.measure import Measure

MEASURE = Measure(
    name="accuracy",
    says="P(answer of L(b) = answer of H(b))",
    unit="share",
    per="cell",
    needs=("answer",),
    formula="causal_dsl.measures.shares:accuracy",
    better="higher",
    interval="share",
    given=("answer", 1),
    leads=2,
    perfect=1.0,
    asks=(1, "is the network right by itself"),
    paired=True,
)
