"""What natural activations say of a site: their centre, their spread, and the axes on which they lie."""

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


def natural_axes(data: Tensor, share: float = 0.99) -> tuple[Tensor, Tensor]:
    """Where activations [n, width] naturally vary, every coordinate in units of its own spread: :func:`alive_axes` of
    those, and the spreads [width] (0 for a coordinate that never moves).

    In units of its own, for in a residual stream a few coordinates hold nearly all of the variance, and what the others
    say would count for nothing.
    """
    mean, std = spread(data)
    scaled = torch.where(std > 0, (data.double() - mean) / torch.where(std > 0, std, 1), 0.0)
    kind = torch.promote_types(data.dtype, torch.float32)
    return alive_axes(scaled.to(kind), share), std.to(kind)


def alive_axes(data: Tensor, share: float = 0.99) -> Tensor:
    """The fewest principal axes [width, r] that hold ``share`` of the variance of activations [n, width]: where the
    network can be told to live. Orthonormal, of the data's type, float32 at least; r is 0 where nothing varies."""
    _, axes, variance = principal_axes(data)
    held = variance.cumsum(dim=0)
    total = held[-1] if len(held) else held.new_zeros(())
    count = int((held < share * total).sum()) + 1 if float(total) > 0 else 0
    return axes[:, :count].to(torch.promote_types(data.dtype, torch.float32)).contiguous()
