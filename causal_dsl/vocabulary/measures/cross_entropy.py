"""The cross entropy of a token, in nats."""

from __future__ import annotations

import numpy as np

from causal_dsl.vocabulary.measures.measure import Measure


def cross_entropy(logit: np.ndarray, log_normalizer: np.ndarray) -> np.ndarray:
    return -(logit - log_normalizer)


MEASURE = Measure(
    name="cross_entropy",
    says="-`log_prob(x)`",
    unit="nats",
    per="pair",
    needs=("token", "distribution"),
    formula=cross_entropy,
    better=None,
    interval="mean",
    least=0.0,
)
