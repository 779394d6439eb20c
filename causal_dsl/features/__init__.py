"""Learned and given features: how a causal variable sits in a vector of a network."""

from causal_dsl.features.base import Feature, Gates, Rest
from causal_dsl.features.build import Making, build
from causal_dsl.features.chain import Chain
from causal_dsl.features.controls import OnAxes, on_natural_axes, random_like
from causal_dsl.features.elementwise import Whole

__all__ = [
    "Chain",
    "Feature",
    "Gates",
    "Making",
    "OnAxes",
    "Rest",
    "Whole",
    "build",
    "on_natural_axes",
    "random_like",
]
