"""The trace of a network as it runs, inputs and outputs of its modules in their order, from which a layout is inferred."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import field
from typing import Any

import torch
from torch import Tensor, nn

from causal_dsl.base.quick_dataclasses import dataclass


class Unclear(Exception):
    """Why a layout, or a part of it, cannot be inferred, in the words of a message."""


@dataclass(eq=False)
class Event:
    """One run of a module: ``given`` and ``gave`` are the first tensors that entered and left it, [tokens, width], None
    where they have no vector a token; ``began`` and ``ended`` count what happened in the run."""

    path: str
    module: nn.Module
    given: Tensor | None = None
    gave: Tensor | None = None
    began: int = 0
    ended: int = 0

    @property
    def depth(self) -> int:
        """How deep it lies: a child of what was traced has depth 1."""
        return self.path.count(".") + 1


@dataclass(eq=False)
class LayerCall:
    """How a layer was called; its first argument is the residual stream ``hidden`` [rows, tokens, width]."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    hidden: Tensor

    def on(self, layer: nn.Module, hidden: Tensor) -> Tensor:
        """The output of a layer on another stream in the place of its own."""
        if self.args:
            found = layer(hidden, *self.args[1:], **self.kwargs)
        else:
            found = layer(**{**self.kwargs, "hidden_states": hidden})
        return first(found)

    def single(self) -> LayerCall:
        """The same call, its numbers in the type that a layer copied by :func:`exact` computes in."""
        return LayerCall(_cast(self.args), _cast(self.kwargs), self.hidden.to(torch.float32))


def first(output: Any) -> Any:
    """The tensor that a hook takes for a module's output."""
    return output[0] if isinstance(output, tuple | list) and output else output


def entering(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The tensor that a hook takes for a module's input."""
    if args:
        return args[0]
    return kwargs["hidden_states"] if "hidden_states" in kwargs else next(iter(kwargs.values()), None)


def _cast(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.to(torch.float32) if value.is_floating_point() else value
    if type(value) in (tuple, list):
        return type(value)(_cast(item) for item in value)
    if type(value) is dict:
        return {name: _cast(item) for name, item in value.items()}
    return value


#: As many parameters of a layer are copied: 4 GB of them.
_LARGEST = 1_000_000_000


def exact(layer: nn.Module) -> nn.Module:
    """A layer whose sums can be told apart: itself, or a copy of it in float32 if that is not too large."""
    floats = [parameter for parameter in layer.parameters() if parameter.is_floating_point()]
    if {parameter.dtype for parameter in floats} <= {torch.float32, torch.float64}:
        return layer
    if any(parameter.is_meta for parameter in floats) or sum(p.numel() for p in floats) > _LARGEST:
        return layer
    return copy.deepcopy(layer).float()


@dataclass(eq=False)
class Trace:
    """The events of a run, in the order in which modules ended; those of modules that ran twice are left out."""

    events: list[Event] = field(default_factory=list)
    times: dict[str, int] = field(default_factory=dict)

    def once(self) -> list[Event]:
        """The events of modules that ran once."""
        return [event for event in self.events if self.times[event.path] == 1]


@contextmanager
def traced(root: nn.Module, tokens: int, within: Callable[[str], bool] = lambda path: True) -> Iterator[Trace]:
    """Follow the modules below ``root`` (those whose paths are ``within``) in what is run inside."""
    trace, clock = Trace(), iter(range(10**9))
    handles = []

    def flat(tensor: Any) -> Tensor | None:
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or tensor.ndim < 2:
            return None
        for axes in (1, 2):
            if tensor.ndim > axes and int(torch.tensor(tensor.shape[:axes]).prod()) == tokens:
                return tensor.detach().reshape(tokens, -1).float().clone()
        return None

    def watch(path: str, module: nn.Module) -> None:
        began: list[Event] = []

        def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            began.append(Event(path, module, flat(entering(args, kwargs)), began=next(clock)))

        def after(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            event = began.pop()
            event.gave, event.ended = flat(first(output)), next(clock)
            trace.events.append(event)
            trace.times[path] = trace.times.get(path, 0) + 1

        handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(module.register_forward_hook(after))

    for path, module in root.named_modules():
        if path and within(path):
            watch(path, module)
    try:
        yield trace
    finally:
        for handle in handles:
            handle.remove()


def alike(one: Tensor | None, other: Tensor | None, tolerance: float = 1e-4) -> bool:
    """Whether two tensors hold the same numbers, but for rounding."""
    if one is None or other is None or one.shape != other.shape:
        return False
    size = float(other.norm())
    return float((one - other).norm()) <= tolerance * max(size, 1e-12)


def matrix(module: nn.Module) -> bool:
    """Whether a module is one linear map: nothing but a matrix, and a bias perhaps."""
    own = dict(module.named_parameters(recurse=False))
    return "weight" in own and own["weight"].ndim == 2 and not any(True for _ in module.children())


def weighty(module: nn.Module) -> bool:
    """Whether there are matrices in a module: norms and activations have none."""
    return any(parameter.ndim > 1 for parameter in module.parameters())


__all__ = [
    "Event",
    "LayerCall",
    "Trace",
    "Unclear",
    "alike",
    "entering",
    "exact",
    "first",
    "matrix",
    "traced",
    "weighty",
]
