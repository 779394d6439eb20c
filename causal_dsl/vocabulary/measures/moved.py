"""How often an intervention changes the answer."""

from __future__ import annotations

from causal_dsl.vocabulary.measures.record import Measure

MEASURE = Measure(
    name="moved",
    says="P(answer of the patched run differs from the base run's); where both say none of the answers, the first tokens that they say are compared",
    unit="share",
    per="pair",
    needs=("answer", "patched"),
    formula="causal_dsl.measures.shares:moved",
    better=None,
    interval="share",
)
