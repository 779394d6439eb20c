"""Feed-forward blocks, some tokens at a time, and compiled where that is asked for.

A block does to each token by itself what it does, so a pass of many tokens may go through it in slices: its inner
vectors, the widest of a layer, then fit a cache and are never all there at once.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from causal_dsl.network.known_of_network import compiled_block
from causal_dsl.network.network import Network
from causal_dsl.planning.memory import SLICE_CPU

#: Tokens that go through a block at a time.
SLICE = SLICE_CPU


def sliced(network: Network, watched: set[nn.Module], stack: ExitStack, compiled: bool) -> None:
    """Until ``stack`` closes, run the blocks of a network in slices, except those in which something is read or written
    (``watched``) and those whose weights a hook brings from elsewhere. ``compiled``: through ``torch.compile``."""
    if network.layout is None:
        return
    for number, layer in enumerate(network.layers):
        path = network.layout.at(number).mlp
        if not path:
            continue
        block = layer.get_submodule(path)
        if watched.intersection(block.modules()) or "forward" in vars(block):
            continue
        whole: Callable[..., Any] = compiled_block(network, block) if compiled else block.forward
        vars(block)["forward"] = whole if network.device_of(block).type != "cpu" else _in_slices(whole)
        stack.callback(vars(block).pop, "forward")


def _in_slices(whole: Callable[..., Any]) -> Callable[..., Any]:
    def forward(hidden: Tensor, *more: Any, **named: Any) -> Any:
        tokens = hidden.shape[:-1].numel()
        if tokens <= SLICE or more or named or hidden.ndim != 3 or hidden.shape[0] != 1:
            return whole(hidden, *more, **named)
        if torch.is_grad_enabled():
            parts = [whole(part) for part in hidden.split(SLICE, dim=1)]
            if isinstance(parts[0], Tensor):
                return torch.cat(parts, dim=1)
            return whole(hidden)
        out: Tensor | None = None
        for start in range(0, tokens, SLICE):
            part = whole(hidden[:, start : start + SLICE])
            if not isinstance(part, Tensor):
                return whole(hidden)
            if out is None:
                out = part.new_empty(1, tokens, part.shape[-1])
            out[:, start : start + SLICE] = part
        return out

    return forward
