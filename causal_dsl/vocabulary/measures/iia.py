"""Interchange intervention accuracy (Geiger et al. 2021)."""

from __future__ import annotations

from causal_dsl.vocabulary.measures.measure import Measure

MEASURE = Measure(
    name="iia",
    says="interchange intervention accuracy: P(answer of L on b, with the sites of X holding their values from L(s), = label)",
    unit="share",
    per="cell",
    needs=("answer", "label"),
    formula="causal_dsl.measures.shares:iia",
    better="higher",
    interval="share",
    given=("interchange", 2),
    leads=1,
    perfect=1.0,
    asks=(2, "does the place change the answer as the causal model says"),
    paired=True,
)
