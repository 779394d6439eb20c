"""``noise(std=…)``: Gaussian noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from causal_dsl.vocabulary.settings import Setting
from causal_dsl.vocabulary.written import Example, Hand, Value, Written

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Noise(Value):
    """Independent Gaussian noise with this standard deviation, in the units of the site."""

    function = "causal_dsl.engine.values:noise"
    random = True
    std: float
    seed: int = 0

    def __str__(self) -> str:
        return f"noise(std={self.std:g}, seed={self.seed})"


def _by_hand(hand: Hand) -> Tensor:
    import torch

    generator = torch.Generator().manual_seed(3 * 1_000_003 + hand.row)
    return 0.5 * torch.randn(1, *hand.current.shape, generator=generator)[0]


WORD = Written(
    "noise",
    Noise,
    "`noise(std=3)`",
    "Gaussian noise, of another `seed` another",
    (Example("= noise(std=0.5, seed=3)", _by_hand),),
    {"std": Setting("number", required=True, low=0), "seed": Setting("int", 0)},
)
