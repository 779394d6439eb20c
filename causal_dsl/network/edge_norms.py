"""The norm before attention in a pass of edges. It is run for each receiver, so it is computed within memory that is used again, or
with the columns that one receiver reads of a projection behind it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.network.network import Network

#: As close as rounding lets two orders of the same operations be, relative.
CLOSE = 1e-6


@dataclass(frozen=True, eq=False)
class RootMeanSquare:
    """The formula of a norm of a vector x of its width: ``weight`` x / √(mean x² + ``eps``)."""

    weight: Tensor
    eps: float

    def __call__(self, given: Tensor, out: Tensor) -> Tensor:
        """Of ``given`` [rows, tokens, width], into ``out``, which is given back."""
        return torch.mul(given, self.factor(given), out=out).mul_(self.weight)

    def factor(self, given: Tensor) -> Tensor:
        """The factor of each vector of ``given`` [rows, tokens, width] beside the weight [rows, tokens, 1]."""
        size = torch.linalg.vector_norm(given, dim=-1, keepdim=True)
        return size.square_().div_(given.shape[-1]).add_(self.eps).rsqrt_()


def root_mean_square(module: nn.Module, width: int) -> RootMeanSquare | None:
    """The formula of a module, where that is the norm of Zhang and Sennrich (2019) in 32 bits on a CPU: what the module gives is
    compared with it. None of all others."""
    weight = getattr(module, "weight", None)
    eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    if not isinstance(weight, Tensor) or not isinstance(eps, float) or weight.shape != (width,):
        return None
    if weight.dtype != torch.float32 or weight.device.type != "cpu" or type(module).forward is nn.LayerNorm.forward:
        return None
    for scale in (weight.detach(), 1 + weight.detach()):
        found = RootMeanSquare(scale, eps)
        if _same(module, found, width):
            return found
    return None


def _same(module: nn.Module, found: RootMeanSquare, width: int) -> bool:
    """On vectors of several sizes, of which the smallest are below ``eps``."""
    angles = torch.arange(4 * width, dtype=torch.float64).view(4, 1, width)
    given = ((angles * 0.7).sin() + 0.3).float() * torch.tensor([1e-4, 1e-2, 1.0, 1e3])[:, None, None]
    with torch.no_grad():
        expected, got = module.forward(given.clone()), found(given, torch.empty_like(given))
    return (
        isinstance(expected, Tensor)
        and expected.dtype == got.dtype
        and expected.shape == got.shape
        and bool(((got - expected).abs() <= CLOSE * expected.abs() + torch.finfo(torch.float32).tiny).all())
    )


#: Of models the norm, by its path, that each linear map reads as it is: this takes their code, and no weights.
_READ: WeakKeyDictionary[nn.Module, Mapping[str, str]] = WeakKeyDictionary()


def read_as_it_is(network: Network) -> dict[nn.Module, nn.Module]:
    """The linear maps that are given what a module gives, and nothing done to it, with that module: seen in one short pass of the
    network, once. None where processes share the weights out, for not all of them may come here."""
    model = network.model
    if network.sharded is not None:
        return {}
    if model not in _READ:
        _READ[model] = _seen(network)
    return {model.get_submodule(path): model.get_submodule(norm) for path, norm in _READ[model].items()}


@torch.no_grad()
def _seen(network: Network) -> dict[str, str]:
    gave: dict[int, tuple[str, Tensor]] = {}  # the tensors are held, so that no other has their identity
    found: dict[str, str] = {}

    def after(path: str, _: nn.Module, __: Any, given: Any) -> None:
        if isinstance(given, Tensor):
            gave[id(given)] = path, given

    def before(path: str, _: nn.Module, args: tuple[Any, ...]) -> None:
        if args and id(args[0]) in gave:
            found[path] = gave[id(args[0])][0]

    with ExitStack() as stack:
        for path, module in network.model.named_modules():
            if isinstance(module, nn.Linear):
                stack.callback(module.register_forward_pre_hook(partial(before, path)).remove)
            elif path and not any(module.children()):
                stack.callback(module.register_forward_hook(partial(after, path)).remove)
        [prompts] = network.given.standard(network.facts)
        batch = network.given.batch(network, prompts, network.padding)
        network.run(*batch.arguments, **batch.named)
    return found


__all__ = ["RootMeanSquare", "read_as_it_is", "root_mean_square"]
