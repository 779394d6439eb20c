"""A model of transformers with hooks written out by hand: what is at a site, and what comes out once something else is.

Apart from the package: where the sites are is ``families.PLACES``, and one prompt is run at a time, unpadded and whole.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

COMPARED = ("q_rot", "k_rot", "pattern")
Change = Callable[[Tensor], Tensor]


class ByHand:
    """One family's model. Vectors of heads are flat, all heads one after the other; weights are [tokens, heads, keys]."""

    def __init__(self, name: str):
        from tests.network.families import PLACES, layer_path, model_of

        self.name = name.partition(":")[0]
        self.model: Any = model_of(name)
        self.places = PLACES[self.name]
        count = 0
        while True:
            try:
                self.model.get_submodule(layer_path(self.name, count))
            except AttributeError:
                break
            count += 1
        self.layers = count
        self._seen: dict[tuple[tuple[int, ...], bool], dict[tuple[str, int | None], Tensor]] = {}

    def logits(self, ids: tuple[int, ...]) -> Tensor:
        """[tokens, vocabulary]"""
        with torch.no_grad():
            return self.model(input_ids=torch.tensor([ids])).logits[0]

    def vector(self, ids: tuple[int, ...], component: str, layer: int | None) -> Tensor:
        """What a prompt has at a site, all tokens of it [tokens, width]."""
        compared = component in COMPARED
        if (ids, compared) not in self._seen:
            self._seen[ids, compared] = self._compared(ids) if compared else self._plain(ids)
        return self._seen[ids, compared][component, layer]

    def _plain(self, ids: tuple[int, ...]) -> dict[tuple[str, int | None], Tensor]:
        found: dict[tuple[str, int | None], Tensor] = {}

        def keep(key: tuple[str, int | None], columns: list[int] | None, factor: float) -> Change:
            def look(tensor: Tensor) -> Tensor:
                found[key] = (tensor[0] if columns is None else tensor[0][:, columns]).detach().clone() * factor
                return tensor

            return look

        with ExitStack() as stack:
            for component, (path, side, columns, factor) in self.places.items():
                for layer in range(self.layers) if "{l}" in path else [None]:
                    module = self.model.get_submodule(path.format(l=layer))
                    stack.callback(hook(module, side, keep((component, layer), columns, factor)).remove)
            found["logits", None] = self.logits(ids)
        return found

    def _compared(self, ids: tuple[int, ...]) -> dict[tuple[str, int | None], Tensor]:
        found: dict[tuple[str, int | None], Tensor] = {}

        def look(layer: int, what: str, tensor: Tensor) -> Tensor:
            if what == "pattern":
                found[what, layer] = tensor[0].transpose(0, 1).detach().clone()
            else:
                found[what, layer] = tensor[0].transpose(0, 1).flatten(1).detach().clone()
            return tensor

        with self.attention(look):
            self.logits(ids)
        return found

    def patched(self, ids: tuple[int, ...], component: str, layer: int | None, at: int, new: Tensor) -> Tensor:
        """The logits [tokens, vocabulary] once ``new`` is at a site, at one token."""
        if component == "logits":
            found = self.logits(ids).clone()
            found[at] = new
            return found
        if component in COMPARED:

            def put(number: int, what: str, tensor: Tensor) -> Tensor:
                if (what, number) != (component, layer):
                    return tensor
                tensor = tensor.clone()
                tensor[0, :, at] = new if what == "pattern" else new.view(tensor.shape[1], -1)
                return tensor

            with self.attention(put):
                return self.logits(ids)
        if component == "resid_mid":
            return self._between(ids, layer or 0, at, new)
        path, side, columns, factor = self.places[component]

        def change(tensor: Tensor) -> Tensor:
            tensor = tensor.clone()
            tensor[0, at, slice(None) if columns is None else columns] = new / factor
            return tensor

        handle = hook(self.model.get_submodule(path.format(l=layer)), side, change)
        try:
            return self.logits(ids)
        finally:
            handle.remove()

    def _between(self, ids: tuple[int, ...], layer: int, at: int, new: Tensor) -> Tensor:
        """The stream between attention and MLP is not a module's output: what follows in the layer is computed from it."""
        from tests.network.families import layer_path, rest_of_layer

        module = self.model.get_submodule(layer_path(self.name, layer))

        def leaving(tensor: Tensor) -> Tensor:
            tensor = tensor.clone()
            with torch.no_grad():
                tensor[0, at] = rest_of_layer(self.name, module, new[None, None])[0, 0]
            return tensor

        handle = hook(module, "out", leaving)
        try:
            return self.logits(ids)
        finally:
            handle.remove()

    @contextmanager
    def attention(self, change: Callable[[int, str, Tensor], Tensor]) -> Iterator[None]:
        """The model's own plain attention, with q, k and the weights [1, heads, tokens, ...] changed layer by layer."""
        from tests.network.families import layer_path

        inside = {
            module: layer
            for layer in range(self.layers)
            for module in self.model.get_submodule(layer_path(self.name, layer)).modules()
        }
        file = sys.modules[type(self.model.get_submodule(layer_path(self.name, 0))).__module__]
        plain = file.eager_attention_forward

        def attention(module: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, **more: Any) -> Any:
            layer = inside[module]
            q, k = change(layer, "q_rot", q), change(layer, "k_rot", k)
            out, weights = plain(module, q, k, v, mask, **more)
            changed = change(layer, "pattern", weights)
            if changed is not weights:
                values = v.repeat_interleave(q.shape[1] // v.shape[1], dim=1)
                out = (changed @ values).transpose(1, 2).contiguous()
            return out, weights

        usual = self.model.config._attn_implementation
        self.model.set_attn_implementation("eager")
        file.eager_attention_forward = attention
        try:
            yield
        finally:
            file.eager_attention_forward = plain
            self.model.set_attn_implementation(usual)


def hook(module: nn.Module, side: str, change: Change) -> Any:
    def before(_: nn.Module, args: tuple, kwargs: dict) -> Any:
        if args:
            return (change(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": change(kwargs["hidden_states"])}

    def after(_: nn.Module, args: tuple, output: Any) -> Any:
        from tests.network.families import changed

        return changed(module, output, change)

    if side == "in":
        return module.register_forward_pre_hook(before, with_kwargs=True)
    return module.register_forward_hook(after)
