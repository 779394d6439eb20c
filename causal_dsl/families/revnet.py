"""A map that bends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from causal_dsl.vocabulary.features import DIM, SEED, FeatureFamily
from causal_dsl.vocabulary.settings import Setting

if TYPE_CHECKING:
    from causal_dsl.features.base import Feature
    from causal_dsl.features.instantiate import Making


def revnet(making: Making) -> Feature:
    from causal_dsl.features.invertible import RevNet

    layers, hidden = int(making.number("layers")), int(making.number("width"))
    return RevNet(making.width, making.dim(), layers, hidden, making.seed, making.dtype)


FAMILY = (
    FeatureFamily(
        "revnet",
        {
            "layers": Setting("int", 4, low=1, says="the number of its coupling layers"),
            "width": Setting("int", 64, low=1, says="the width of the hidden layer in each of them"),
            "dim": DIM,
            "seed": SEED,
        },
        f"{__name__}:revnet",
        "the first `dim` coordinates of the vector after an invertible network",
        "couplings: Dinh et al. 2015; reasons for caution: Sutter et al. 2025",
        trained=True,
        dim="dim",
        shared=True,
        complete=True,
        bends="layers",
        numbers=lambda width, said: int(said["layers"]) * (int(said["width"]) * (width + 1) + 2 * width),
        tiny={"layers": 2, "width": 8},
    ),
)
