"""``noise(std=…)``: Gaussian noise."""

from __future__ import annotations

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.vocabulary.settings import Setting
from causal_dsl.vocabulary.written import Example, Value, Written


@dataclass(frozen=True)
class Noise(Value):
    """Independent Gaussian noise with this standard deviation, in the units of the site."""

    function = "causal_dsl.engine.values:noise"
    runless = False
    random = True
    std: float
    seed: int = 0

    def __str__(self) -> str:
        return f"noise(std={self.std:g}, seed={self.seed})"


FAMILY = (
    Written(
        "noise",
        Noise,
        "`noise(std=3)`",
        "Gaussian noise; another `seed` gives other noise",
        (Example("= noise(std=0.5, seed=3)", lambda hand: 0.5 * hand.noise(3)),),
        {
            "std": Setting("number", required=True, low=0, says="the standard deviation of each coordinate"),
            "seed": Setting("int", 0, says="another seed draws other noise"),
        },
    ),
)
