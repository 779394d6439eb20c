"""The log probability of a token, in nats."""

from __future__ import annotations

import numpy as np

from causal_dsl.vocabulary.measures.measure import Measure


def log_prob(logit: np.ndarray, log_normalizer: np.ndarray) -> np.ndarray:
    return logit - log_normalizer


MEASURE = Measure(
    name="log_prob",
    says="ln of `prob(x)`",
    unit="nats",
    per="pair",
    needs=("token", "distribution"),
    formula=log_prob,
    better=None,
    interval="mean",
    most=0.0,
)
