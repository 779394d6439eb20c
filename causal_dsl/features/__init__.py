"""Learned and given features: how a causal variable sits in a vector of a network."""

from causal_dsl.features.base import Feature, Gates, Rest
from causal_dsl.features.chain import Chain
from causal_dsl.features.control_features import OnAxes, on_natural_axes, random_like
from causal_dsl.features.elementwise import Whole
from causal_dsl.features.instantiate import Making, build

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
