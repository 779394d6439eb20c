"""The logit of a token."""

from __future__ import annotations

import numpy as np

from causal_dsl.vocabulary.measures.measure import Measure


def _logit(logit: np.ndarray, log_normalizer: np.ndarray | None) -> np.ndarray:
    return logit


MEASURE = Measure(
    name="logit",
    says="the logit of x at the read-out",
    unit="logits",
    per="pair",
    needs=("token",),
    formula=_logit,
    better=None,
    interval="mean",
)
