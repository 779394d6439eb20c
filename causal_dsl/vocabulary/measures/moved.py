"""How often an intervention changes the answer."""

from __future__ import annotations

from causal_dsl.vocabulary.measures.measure import Measure

MEASURE = Measure(
    name="moved",
    says="P(answer of the patched run differs from the base run's); if neither run gives an answer, the first tokens that they give are compared",
    unit="share",
    per="pair",
    needs=("answer", "patched"),
    formula="causal_dsl.measures.shares:moved",
    better=None,
    interval="share",
    paired=True,
)
