"""How far attributes are told apart (Huang et al. 2024, RAVEL)."""

from __future__ import annotations

from causal_dsl.vocabulary.measures.measure import Measure

MEASURE = Measure(
    name="disentangle",
    says="(`cause` + `isolate`) / 2 (Huang et al. 2024)",
    unit="share",
    per="cell",
    needs=("answer", "label"),
    formula="causal_dsl.measures.shares:disentangle",
    better="higher",
    interval="resampled",
    perfect=1.0,
)
