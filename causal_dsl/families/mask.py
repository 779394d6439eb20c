"""Gates on coordinates, heads or whole sites."""

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
    if over not in ("coordinates", "heads", "sites"):
        raise ValueError(f"`mask` has gates over coordinates, heads or sites, not over {over}")
    if over == "heads" and making.heads is None:
        raise fail(
            "E723",
            "`mask(over=heads)` needs a vector of heads side by side",
            making.span,
            help="place it at q, k, v or z, or write over=coordinates",
        )
    start, end, weight = (making.number(name) for name in ("start", "end", "weight"))
    groups = (1, making.width) if over == "sites" else making.heads if over == "heads" else None
    return Mask(making.width, groups, start, end, weight, making.dtype, str(over))


FAMILY = (
    FeatureFamily(
        "mask",
        {
            "over": Setting(
                "word",
                "coordinates",
                choices=("coordinates", "heads", "sites"),
                says="each of these has a gate of its own",
            ),
            "seed": SEED,
            "start": Setting("number", 1.0, low=1e-6, says="the temperature of the gates as the fit begins"),
            "end": Setting("number", 0.01, low=1e-6, says="the temperature of the gates as it ends"),
            "weight": Setting("number", 0.001, low=0, says="the loss grows by this times the sum of the gates"),
        },
        f"{__name__}:mask",
        "the coordinates whose gate opens; with `over=heads` the heads, with `over=sites` the whole sites",
        "De Cao et al. 2020; Csordás et al. 2021; Davies et al. 2023",
        trained=True,
        gated=True,
        numbers=lambda width, said: {"coordinates": width, "sites": 1}.get(str(said["over"]), 2**5),
    ),
)
