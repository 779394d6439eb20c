"""How much of what the causal model says of a number the network gives (Mueller et al. 2025, MIB, for interchanges)."""

from __future__ import annotations

from causal_dsl.vocabulary.measures.measure import Measure

MEASURE = Measure(
    name="r2",
    says="of an output that is a number: 1 - (sum of (m - y)^2) / (sum of (y - mean y)^2), where m is the number of L on b, with the sites of X holding their values from L(s), and y the label; without an interchange y is the number of H(b)",
    unit="ratio",
    per="cell",
    needs=("number",),
    formula="causal_dsl.measures.of_numbers:r2",
    better="higher",
    interval="resampled",
    most=1.0,
    given=("number", 2),
    leads=3,
)
