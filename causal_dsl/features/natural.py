"""The natural activations of a site: their centre, their spread, and the axes on which they lie."""

from __future__ import annotations

import torch
from torch import Tensor


def spread(data: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [width] and standard deviation [width] (over n, not n - 1) of activations [n, width], in float64."""
    exact = data.double()
    return exact.mean(dim=0), exact.std(dim=0, correction=0)


def principal_axes(data: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The mean [width], the principal axes [width, r] and the variance on each [r] of activations [n, width], in
    float64, the largest first; r is the smaller of n and width.

    Each axis points so that its largest coordinate (the first of those of equal size) is positive.
    """
    exact = data.double()
    mean = exact.mean(dim=0)
    _, singular, rows = torch.linalg.svd(exact - mean, full_matrices=False)
    return mean, signed(rows.T), singular.square() / len(exact)


def signed(axes: Tensor) -> Tensor:
    """The axes [width, r], each turned so that its largest coordinate is positive."""
    if axes.numel() == 0:
        return axes
    largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))
    return axes * torch.where(largest < 0, -1, 1)
