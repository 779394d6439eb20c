"""Orthonormal maps that are learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from causal_dsl.vocabulary.features import DIM, SEED, FeatureFamily
from causal_dsl.vocabulary.settings import Setting

if TYPE_CHECKING:
    from causal_dsl.features.base import Feature
    from causal_dsl.features.instantiate import Making


def rotation(making: Making) -> Feature:
    from causal_dsl.features.orthonormal import Rotation, haar

    return Rotation(haar(making.width, making.dim(), making.seed), making.dtype)


def boundless(making: Making) -> Feature:
    from causal_dsl.features.orthonormal import Boundless, haar

    start, end, weight = (making.number(name) for name in ("start", "end", "weight"))
    return Boundless(haar(making.width, making.width, making.seed), start, end, weight, making.dtype)


FAMILY = (
    FeatureFamily(
        "rotation",
        {"dim": DIM, "seed": SEED},
        f"{__name__}:rotation",
        "the coordinates in a subspace of `dim` orthonormal directions",
        "distributed alignment search: Geiger et al. 2024",
        trained=True,
        dim="dim",
        shared=True,
        complete=True,
        numbers=lambda width, said: width * min(width, int(said["dim"])),
    ),
    FeatureFamily(
        "boundless",
        {
            "seed": SEED,
            "start": Setting("number", 50.0, low=1e-6, says="the temperature of the boundary as the fit begins"),
            "end": Setting("number", 0.1, low=1e-6, says="the temperature of the boundary as it ends"),
            "weight": Setting("number", 1.0, low=0, says="the loss grows by this times the boundary b"),
        },
        f"{__name__}:boundless",
        "the first coordinates of a rotation of the whole vector; their number is learned",
        "Wu et al. 2023",
        trained=True,
        gated=True,
        numbers=lambda width, said: width * width + 1,
    ),
)
