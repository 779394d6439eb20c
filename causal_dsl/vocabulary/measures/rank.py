"""Which place a token has among all that the run could say."""

from __future__ import annotations

import numpy as np

from causal_dsl.vocabulary.measures.measure import Measure


def rank(order: np.ndarray, log_normalizer: np.ndarray | None) -> np.ndarray:
    return order + 1


MEASURE = Measure(
    name="rank",
    says="the number of tokens (or classes) whose logit is larger than that of x, plus 1: 1 for the most likely one",
    unit="number",
    per="pair",
    needs=("token", "order"),
    formula=rank,
    better=None,
    interval="mean",
    least=1.0,
)
