"""Interchange intervention accuracy where the interchange should change the answer."""

from __future__ import annotations

from causal_dsl.vocabulary.measures.measure import Measure

MEASURE = Measure(
    name="iia_informative",
    says="`iia` over the pairs whose label differs from the base's own answer",
    unit="share",
    per="cell",
    needs=("answer", "label"),
    formula="causal_dsl.measures.shares:iia_informative",
    better="higher",
    interval="share",
    given=("interchange", 3),
    perfect=1.0,
    paired=True,
)
