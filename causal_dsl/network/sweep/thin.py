"""Linear maps of few vectors, the other way round.

A step of a fit runs some tens of tokens, for which a linear map is as fast as its weights come from memory. Of ``x W^T``
and ``(W x^T)^T`` the second then takes half to three quarters of the time, forwards and backwards, with the libraries that
torch multiplies by on a CPU. (Measured with MKL; from some hundreds of rows on both are alike.)
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Up to so many vectors are few.
FEW = 128


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``functional.linear``."""
    rows = x.shape[:-1].numel()
    if not 1 < rows <= FEW or weight.device.type != "cpu":
        return functional.linear(x, weight, bias)
    found = torch.mm(weight, x.reshape(rows, -1).T).T.contiguous().view(*x.shape[:-1], -1)
    return found if bias is None else found + bias


def turned(layers: Iterable[nn.Module], stack: ExitStack) -> None:
    """Until ``stack`` closes, run the linear maps in some layers by :func:`linear`, except those that something else has
    taken over."""
    for layer in layers:
        for module in layer.modules():
            if type(module) is nn.Linear and "forward" not in vars(module) and module.weight.device.type == "cpu":
                vars(module)["forward"] = partial(_linear, module)
                stack.callback(vars(module).pop, "forward")


def _linear(module: nn.Linear, input: Tensor) -> Tensor:
    return linear(input, module.weight, module.bias)
