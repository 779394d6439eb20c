"""How undecided the network is: the entropy of what it says (Shannon 1948)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from causal_dsl.vocabulary.measures.measure import Measure

if TYPE_CHECKING:
    from torch import Tensor


def entropy(log_probs: Tensor) -> Tensor:
    terms = (log_probs.exp() * log_probs).masked_fill(log_probs == -math.inf, 0.0)
    return 0.0 - terms.sum(dim=1)


MEASURE = Measure(
    name="entropy",
    says="the entropy of the run's distribution: -sum of p ln p, over the same tokens or classes as `prob(x)`. It is 0 if one has all the probability, and ln of their number if all are equally likely",
    unit="nats",
    per="pair",
    needs=("distribution",),
    formula=entropy,
    better=None,
    interval="mean",
    least=0.0,
)
