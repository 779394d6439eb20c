"""Networks made linear in place: what a component reads of the stream is all that changes with it, and by a fixed matrix."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def made_linear(model: Any) -> Iterator[None]:
    """Within, a gpt2 model has no norms and no activation functions, and its heads attend to all tokens alike."""
    changed: list[nn.Module] = [model.transformer.ln_f]
    weights: list[Tensor] = []
    for layer in model.transformer.h:
        changed += [layer.ln_1, layer.ln_2, layer.mlp.act]
        weights += [layer.attn.c_attn.weight, layer.attn.c_attn.bias]
    width = model.config.n_embd
    before = [weight.detach().clone() for weight in weights]
    for module in changed:
        module.forward = lambda given: given
    with torch.no_grad():
        for weight in weights:
            weight[..., : 2 * width] = 0  # queries and keys
    try:
        yield
    finally:
        for module in changed:
            del module.forward
        with torch.no_grad():
            for weight, old in zip(weights, before, strict=True):
                weight.copy_(old)
