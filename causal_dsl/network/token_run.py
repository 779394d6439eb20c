"""A module that reads token ids, as it is run before anything of it is known: on ids of its own, with noise, and what passes its places."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from causal_dsl.base.counter import below, bits, key, normals
from causal_dsl.base.faults import foreign
from causal_dsl.diagnostics import Span, SpecError, fail
from causal_dsl.network.compare import told
from causal_dsl.network.forward import hook_tensor


class TokenRun:
    """A model, and how it is given token ids."""

    def __init__(self, model: nn.Module):
        self.model = model
        self.accepts = inspect.signature(model.forward).parameters
        self.device = next((t.device for t in [*model.parameters(), *model.buffers()]), torch.device("cpu"))

    def __call__(self, ids: Tensor) -> Any:
        ids = ids.to(self.device)
        with foreign:
            found = self.model(input_ids=ids) if "input_ids" in self.accepts else self.model(ids)
        found = getattr(found, "logits", found)
        return found[0] if isinstance(found, tuple) and found else found

    def surely(self, ids: Tensor, span: Span) -> Any:
        """The logits of more inputs, once it was seen to run. Raises E752 with what its own code raises of these."""
        try:
            return self(ids)
        except (MemoryError, torch.OutOfMemoryError, SpecError):
            raise
        except Exception as error:
            raise fail(
                "E752",
                f"{with_article(self.model)} can be run on some token ids, and not on others",
                span,
                notes=(told(error), f"it was given whole numbers {list(ids.shape)}: prompts and their tokens"),
                help="let `forward` take any number of prompts, of any length up to `context=`",
            ) from error


def token_ids(rows: int, length: int, most: int, seed: int = 0) -> Tensor:
    """Token ids below ``most``, drawn by the counter."""
    drawn = below(bits(key("sequence", seed), np.arange(rows * length)), most)
    return torch.from_numpy(drawn.astype(np.int64).reshape(rows, length))


def token_noise(like: Tensor, seed: int = 0) -> Tensor:
    return torch.from_numpy(normals(seed, tuple(like.shape), "sequence")).to(like)


@contextmanager
def passing(model: nn.Module, places: Mapping[str, str]) -> Iterator[dict[str, Tensor]]:
    """The tensors that pass places (``path<`` or ``path>``) of a model within, by the names of the places."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[Tensor], Tensor]:
        def act(tensor: Tensor) -> Tensor:
            found[name] = tensor
            return tensor

        return act

    handles = [
        hook_tensor(model.get_submodule(place[:-1]), "in" if place.endswith("<") else "out", keep(name))
        for name, place in places.items()
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def with_article(model: nn.Module) -> str:
    kind = type(model).__name__
    return f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"
