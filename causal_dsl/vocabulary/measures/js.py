"""How far two runs say something else, the same both ways round (Lin 1991)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from causal_dsl.vocabulary.measures.kl import divergence
from causal_dsl.vocabulary.measures.measure import Measure

if TYPE_CHECKING:
    from torch import Tensor


def js(patched: Tensor, base: Tensor) -> Tensor:
    middle = base.logaddexp(patched) - math.log(2)
    found = (divergence(base, middle) + divergence(patched, middle)) / 2
    # rounding leaves a distribution and itself a little apart
    return found.masked_fill((base == patched).all(dim=1), 0.0)


MEASURE = Measure(
    name="js",
    says="Jensen-Shannon divergence of the two runs: the mean of KL(base ‖ m) and KL(patched ‖ m), where m is their mean",
    unit="nats",
    per="pair",
    needs=("distribution", "patched"),
    formula=js,
    better=None,
    interval="mean",
    least=0.0,
    most=math.log(2),
)
