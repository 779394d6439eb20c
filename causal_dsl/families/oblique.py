"""Maps that read a variable along some directions and write it along others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from causal_dsl.vocabulary.features import DIM, SEED, FeatureFamily

if TYPE_CHECKING:
    from causal_dsl.features.base import Feature
    from causal_dsl.features.instantiate import Making


def lowrank(making: Making) -> Feature:
    from causal_dsl.features.linear import LowRank
    from causal_dsl.features.orthonormal import haar

    return LowRank(haar(making.width, making.dim(), making.seed), making.dtype)


def affine(making: Making) -> Feature:
    from causal_dsl.features.linear import Affine
    from causal_dsl.features.orthonormal import haar

    return Affine(haar(making.width, making.width, making.seed), making.dim(), making.dtype)


FAMILY = (
    FeatureFamily(
        "lowrank",
        {"dim": DIM, "seed": SEED},
        f"{__name__}:lowrank",
        "`dim` numbers that are read along some directions and written along others",
        trained=True,
        dim="dim",
        shared=True,
        complete=True,
        numbers=lambda width, said: 2 * width * min(width, int(said["dim"])),
    ),
    FeatureFamily(
        "affine",
        {"dim": DIM, "seed": SEED},
        f"{__name__}:affine",
        "the first `dim` coordinates under an invertible matrix",
        trained=True,
        dim="dim",
        shared=True,
        complete=True,
        numbers=lambda width, said: width * width,
    ),
)
