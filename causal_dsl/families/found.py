"""Maps that are found from the vectors themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from causal_dsl.vocabulary.features import FeatureFamily
from causal_dsl.vocabulary.settings import Setting

if TYPE_CHECKING:
    from causal_dsl.features.base import Feature
    from causal_dsl.features.instantiate import Making


def linear_probe(making: Making) -> Feature:
    import torch

    from causal_dsl.features.linear import Axes
    from causal_dsl.features.probe import probe_directions

    if making.saved is not None:
        return making.saved_axes()
    data = making.natural()
    if making.labels is None:
        raise ValueError("`linear_probe` needs the class of the variable in each activation")
    values, classes = torch.unique(making.labels, return_inverse=True)
    if len(values) < 2:
        raise making.unfitted("the variable has the same value in all of them")
    return Axes("linear_probe", probe_directions(data, classes), data.double().mean(dim=0), making.dtype)


def pca(making: Making) -> Feature:
    from causal_dsl.features.linear import Axes
    from causal_dsl.features.natural import principal_axes

    k = making.dim("k")
    if making.saved is not None:
        return making.saved_axes("k")
    mean, axes, _ = principal_axes(making.natural())
    if axes.shape[1] < k:
        raise making.unfitted(f"{axes.shape[1]} activations have at most {axes.shape[1]} axes, and k is {k}")
    return Axes("pca", axes[:, :k], mean, making.dtype, "k")


def standardize(making: Making) -> Feature:
    import torch

    from causal_dsl.features.elementwise import Standardize
    from causal_dsl.features.natural import spread

    if making.saved is not None:
        return Standardize(torch.zeros(making.width), torch.ones(making.width), making.dtype)
    return Standardize(*spread(making.natural()), making.dtype)


FAMILY = (
    FeatureFamily(
        "linear_probe",
        {},
        f"{__name__}:linear_probe",
        "the directions in which a logistic regression on the vectors separates the variable's values",
        classes=True,
        unsized=True,
        complete=True,
    ),
    FeatureFamily(
        "pca",
        {"k": Setting("int", required=True, low=1, says="how many principal axes the variable has")},
        f"{__name__}:pca",
        "the first `k` principal axes of the vectors there",
        dim="k",
        complete=True,
    ),
    FeatureFamily(
        "standardize",
        {},
        f"{__name__}:standardize",
        "the whole vector, each coordinate minus its mean and divided by its standard deviation: a first step of a chain",
        complete=True,
        numbers=lambda width, said: 2 * width,
    ),
)
