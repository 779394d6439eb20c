"""Interchange intervention accuracy above chance, as a share of what there is above chance."""

from __future__ import annotations

import math

from causal_dsl.vocabulary.measures.measure import Measure

MEASURE = Measure(
    name="iia_star",
    says="(`iia` - output_only) / (1 - output_only); undefined where the ceiling is 1",
    unit="share",
    per="cell",
    needs=("answer", "label"),
    formula="causal_dsl.measures.shares:iia_star",
    better="higher",
    interval="share",
    least=-math.inf,
    given=("interchange", 4),
    perfect=1.0,
)
