"""How far the patched run says something else than the base run (Kullback and Leibler 1951)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from causal_dsl.vocabulary.measures.measure import Measure

if TYPE_CHECKING:
    from torch import Tensor


def kl(patched: Tensor, base: Tensor) -> Tensor:
    return divergence(base, patched)


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL from p to q, of log probabilities; what p never says counts nothing, also where q never says it. What rounding
    leaves below 0 is 0; NaN stays."""
    terms = p.exp() * (p - q)
    return terms.masked_fill(p == -math.inf, 0.0).sum(dim=1).clamp(min=0)


MEASURE = Measure(
    name="kl",
    says="KL(base run ‖ patched run): sum of p_base ln(p_base / p_patched)",
    unit="nats",
    per="pair",
    needs=("distribution", "patched"),
    formula=kl,
    better=None,
    interval="mean",
    least=0.0,
)
