"""Whether the other attributes stay as they are (Huang et al. 2024, RAVEL)."""

from __future__ import annotations

from causal_dsl.vocabulary.measures.measure import Measure

MEASURE = Measure(
    name="isolate",
    says="for each other attribute, `iia` over the bases that ask about it (their label is the base's own answer); then the mean of these",
    unit="share",
    per="cell",
    needs=("answer", "label"),
    formula="causal_dsl.measures.shares:isolate",
    better="higher",
    interval="resampled",
    perfect=1.0,
)
