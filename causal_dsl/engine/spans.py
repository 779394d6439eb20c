"""Vectors without their part in the span of some directions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

#: Of the largest singular value, what is none: directions may depend on each other.
_SAME = 1e-6


def without_span(current: Tensor, directions: Sequence[Tensor]) -> Tensor:
    """``current`` [m, width] less its projection on the span of ``directions``, each [1 or m, width] and none of them zero."""
    spanned = torch.stack([found / found.norm(dim=-1, keepdim=True) for found in directions], dim=-2)
    _, sizes, axes = torch.linalg.svd(spanned, full_matrices=False)  # [1 or m, k, width]
    axes = axes * (sizes > _SAME * sizes[..., :1])[..., None]
    return current - ((axes @ current[..., None]).mT @ axes)[..., 0, :]


__all__ = ["without_span"]
