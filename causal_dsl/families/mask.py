"""Gates on coordinates or heads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from causal_dsl.vocabulary.features import SEED, FeatureFamily
from causal_dsl.vocabulary.settings import Setting

if TYPE_CHECKING:
    from causal_dsl.features.base import Feature
    from causal_dsl.features.instantiate import Making


def mask(making: Making) -> Feature:
    from causal_dsl.diagnostics import fail
    from causal_dsl.features.elementwise import Mask

    over = making.setting("over")
    if over not in ("coordinates", "heads"):
        raise ValueError(f"`mask` has gates over coordinates or heads, not over {over}")
    if over == "heads" and making.heads is None:
        raise fail(
            "E723",
            "`mask(over=heads)` needs a vector of heads side by side",
            making.span,
            help="place it at q, k, v or z, or write over=coordinates",
        )
    start, end, weight = (making.number(name) for name in ("start", "end", "weight"))
    return Mask(making.width, making.heads if over == "heads" else None, start, end, weight, making.dtype)


FAMILY = (
    FeatureFamily(
        "mask",
        {
            "over": Setting("word", "coordinates", choices=("coordinates", "heads")),
            "seed": SEED,
            "start": Setting("number", 1.0, low=1e-6),
            "end": Setting("number", 0.01, low=1e-6),
            "weight": Setting("number", 0.001, low=0),
        },
        f"{__name__}:mask",
        "the coordinates whose gate opens, or with `over=heads` the heads",
        "De Cao et al. 2020; Csordás et al. 2021; Davies et al. 2023",
        trained=True,
        gated=True,
    ),
)
