"""The probability of a token."""

from __future__ import annotations

import numpy as np

from causal_dsl.vocabulary.measures.measure import Measure


def prob(logit: np.ndarray, log_normalizer: np.ndarray) -> np.ndarray:
    return np.exp(logit - log_normalizer)


MEASURE = Measure(
    name="prob",
    says="exp(logit(x)) / sum of exp(logits), over the whole vocabulary, even if answers are read `among` some tokens; for a vector network over the classes that are read",
    unit="share",
    per="pair",
    needs=("token", "distribution"),
    formula=prob,
    better=None,
    interval="mean",
)
