"""Constants that were found for an intervention, as it writes them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from causal_dsl.engine.values import Here
from causal_dsl.store.tensors import load_tensors
from causal_dsl.vocabulary.values.optimal import FittedConstant, Optimal


def unfitted(value: Optimal, here: Here) -> Callable[[Tensor], Tensor]:
    """A constant for passes whose numbers are not looked at, before it is found."""
    return lambda current: current.mean(dim=0, keepdim=True)


def fitted(value: FittedConstant, here: Here) -> Callable[[Tensor], Tensor]:
    """The constant of each token of the span, or of all."""
    which = here.which
    order = here.index((np.arange(len(which)) - np.searchsorted(which, which))[here.alive])

    def made(current: Tensor) -> Tensor:
        each = _tensors(value.path)[value.key].to(current.device, current.dtype)
        return each if len(each) == 1 else each.index_select(0, order.to(each.device))

    return made


@lru_cache(maxsize=8)
def _tensors(path: Path) -> dict[str, torch.Tensor]:
    return load_tensors(path)[0]


__all__ = ["fitted", "unfitted"]
