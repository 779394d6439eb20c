"""Indices on their way to the device that computes with them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def sent(numbers: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """Numbers as a tensor on a device. Nothing waits for it: it goes from pinned memory, in the order of the work there."""
    tensor = numbers if isinstance(numbers, Tensor) else torch.from_numpy(np.ascontiguousarray(numbers))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


__all__ = ["sent"]
