"""The directions between the means of the variable's values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from causal_dsl.vocabulary.features import FeatureFamily

if TYPE_CHECKING:
    from causal_dsl.features.base import Feature
    from causal_dsl.features.instantiate import Making


def make(making: Making) -> Feature:
    """Orthonormal axes [width, r] of the span of the values' means about their own mean, the one with the largest spread first;
    r is at most the number of values less one. Means that are no further apart than rounding span nothing (E722)."""
    import torch

    from causal_dsl.features.linear import Axes
    from causal_dsl.features.natural import principal_axes

    if making.saved is not None:
        return making.saved_axes()
    data = making.natural().double()
    if making.labels is None:
        raise ValueError("`mean_difference` needs the class of the variable in each activation")
    values = torch.unique(making.labels)
    means = torch.stack([data[making.labels == value].mean(dim=0) for value in values])
    _, axes, variance = principal_axes(means)
    apart = variance > (torch.finfo(torch.float32).eps * float(data.abs().max())) ** 2
    if not bool(apart.any()):
        raise making.unfitted("the means of the variable's values are the same")
    return Axes("mean_difference", axes[:, apart], data.mean(dim=0), making.dtype)


FAMILY = (
    FeatureFamily(
        "mean_difference",
        {},
        f"{__name__}:make",
        "the directions between the means of the vectors in which the variable has one value and another",
        "Marks and Tegmark 2023, The geometry of truth",
        classes=True,
        unsized=True,
        complete=True,
    ),
)
