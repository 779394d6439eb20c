"""Whether an attribute is changed where it should be (Huang et al. 2024, RAVEL)."""

from __future__ import annotations

from causal_dsl.vocabulary.measures.measure import Measure

MEASURE = Measure(
    name="cause",
    says="`iia` over the bases that ask about the interchanged variable: another value of it would change their answer",
    unit="share",
    per="cell",
    needs=("answer", "label"),
    formula="causal_dsl.measures.shares:cause",
    better="higher",
    interval="share",
    perfect=1.0,
)
