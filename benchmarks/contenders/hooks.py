"""Hand-written forward hooks on a plain transformers model: what a careful user writes for this one task."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.contenders.plain import (
    Once,
    Stopped,
    contiguous_unembedding,
    empty,
    head_slice,
    load_model,
    wanted_logits,
)
from benchmarks.workloads import Arrays


class OnePosition:
    """Sources captured in one forward; then a whole patched forward per cell, with all pairs in one batch.

    Only the last token meets the unembedding (``logits_to_keep=1``, made contiguous).
    """

    keep = 1

    def __init__(self, folder: Path):
        self.once = Once()
        self.model = load_model(folder)
        if self.keep:
            contiguous_unembedding(self.model)

    @torch.no_grad()
    def run(self, arrays: Arrays) -> np.ndarray:
        found = empty(arrays)
        base = torch.from_numpy(arrays.base)
        taken = self.captured(arrays)
        for cell in range(len(found)):
            handle = self._write(arrays, cell, taken[cell])
            logits = self.model(base, use_cache=False, logits_to_keep=self.keep).logits
            handle.remove()
            found[cell] = wanted_logits(logits[:, -1], arrays.wanted)[0]
        return found

    def captured(self, arrays: Arrays) -> list[Tensor]:
        """The source's vectors of every cell, each [pairs, width], from one forward that stops at the deepest site."""
        taken: list[Tensor] = [torch.empty(0)] * len(arrays.layers)

        def keep(layer: int, hidden: Tensor) -> None:
            for cell in np.flatnonzero(arrays.layers == layer).tolist():
                taken[cell] = hidden[:, arrays.origins[cell], self._columns(arrays, cell)].clone()

        with self.once:
            self._read(torch.from_numpy(arrays.source), arrays.site, sorted(arrays.by_layer()), keep)
        return taken

    def _read(self, rows: Tensor, site: str, layers: list[int], keep: Callable[[int, Tensor], None]) -> None:
        """Give ``keep`` each layer's output, or (``z``) the input of its attention's output projection."""

        def see(layer: int, hidden: Tensor) -> None:
            keep(layer, hidden)
            if layer == layers[-1]:
                raise Stopped

        handles = []
        for layer in layers:
            module = self.model.model.layers[layer]
            if site == "z":
                hook = module.self_attn.o_proj.register_forward_pre_hook(lambda _, args, at=layer: see(at, args[0]))
            else:
                hook = module.register_forward_hook(lambda _, args, output, at=layer: see(at, output))
            handles.append(hook)
        with suppress(Stopped):
            self.model.model(rows, use_cache=False)
        for handle in handles:
            handle.remove()

    def _columns(self, arrays: Arrays, cell: int) -> slice:
        return head_slice(self.model, int(arrays.heads[cell])) if arrays.site == "z" else slice(None)

    def _write(self, arrays: Arrays, cell: int, value: Tensor) -> Any:
        """A hook that writes a cell's vector; nothing else reads the tensor before, so it is written in place."""
        module, target = self.model.model.layers[int(arrays.layers[cell])], int(arrays.targets[cell])
        columns = self._columns(arrays, cell)

        def write(hidden: Tensor) -> None:
            hidden[:, target, columns] = value

        if arrays.site == "z":
            return module.self_attn.o_proj.register_forward_pre_hook(lambda _, args: write(args[0]))
        return module.register_forward_hook(lambda _, args, output: write(output))


class AllLogits(OnePosition):
    """The same with the logits of all positions, as a model gives them when nothing is said."""

    keep = 0


class Plain(AllLogits):
    """What one writes first: for each cell the source's whole forward, then the patched one."""

    @torch.no_grad()
    def run(self, arrays: Arrays) -> np.ndarray:
        found = empty(arrays)
        base, source = torch.from_numpy(arrays.base), torch.from_numpy(arrays.source)
        for cell in range(len(found)):
            kept: list[Tensor] = []
            handle = self._see(arrays, cell, kept)
            self.model(source, use_cache=False)
            handle.remove()
            handle = self._write(arrays, cell, kept[0])
            logits = self.model(base, use_cache=False).logits
            handle.remove()
            found[cell] = wanted_logits(logits[:, -1], arrays.wanted)[0]
        return found

    def _see(self, arrays: Arrays, cell: int, kept: list[Tensor]) -> Any:
        module, origin = self.model.model.layers[int(arrays.layers[cell])], arrays.origins[cell]
        columns = self._columns(arrays, cell)

        def see(hidden: Tensor) -> None:
            kept.append(hidden[:, origin, columns].clone())

        if arrays.site == "z":
            return module.self_attn.o_proj.register_forward_pre_hook(lambda _, args: see(args[0]))
        return module.register_forward_hook(lambda _, args, output: see(output))


class Resumed(OnePosition):
    """Bases are kept as well: each layer's cells are one batch that starts from the base's residual stream there.

    The layers are called by hand; the final norm and the unembedding see the last token only.
    """

    @torch.no_grad()
    def run(self, arrays: Arrays) -> np.ndarray:
        found = empty(arrays)
        taken = self.captured(arrays)
        streams = self._streams(arrays)
        inner = self.model.model
        angles = inner.rotary_emb(next(iter(streams.values())), torch.arange(arrays.base.shape[1])[None])
        for layer, cells in arrays.by_layer().items():
            hidden = streams[layer].repeat(len(cells), 1, 1)
            if arrays.site == "z":
                hidden = self._layer_with_heads(arrays, layer, cells, taken, hidden, angles)
            else:
                parts = hidden.view(len(cells), arrays.pairs, *hidden.shape[1:])
                for part, cell in zip(parts, cells, strict=True):
                    part[:, arrays.targets[cell]] = taken[cell]
            for block in inner.layers[layer + 1 :]:
                hidden = block(hidden, position_embeddings=angles, attention_mask=None)
            logits = self.model.lm_head(inner.norm(hidden[:, -1].contiguous()))
            found[cells] = wanted_logits(logits, arrays.wanted)
        return found

    def _streams(self, arrays: Arrays) -> dict[int, Tensor]:
        """The base's residual stream, by layer: what leaves it (``resid_post``), or what enters it (``z``)."""
        base, kept = torch.from_numpy(arrays.base), {}
        heads = arrays.site == "z"
        if heads:
            kept[0] = self.model.model.embed_tokens(base)

        def keep(layer: int, hidden: Tensor) -> None:
            kept[layer + heads] = hidden.clone()

        with self.once:
            below = [layer - heads for layer in arrays.by_layer() if layer - heads >= 0]
            if below:
                self._read(base, "resid_post", sorted(below), keep)
        return kept

    def _layer_with_heads(
        self, arrays: Arrays, layer: int, cells: np.ndarray, taken: list[Tensor], hidden: Tensor, angles: Any
    ) -> Tensor:
        """One layer run with each cell's head written, in the rows of that cell."""
        module = self.model.model.layers[layer]

        def write(_: Any, args: tuple[Tensor]) -> None:
            parts = args[0].view(len(cells), arrays.pairs, *args[0].shape[1:])
            for part, cell in zip(parts, cells, strict=True):
                part[:, arrays.targets[cell], self._columns(arrays, cell)] = taken[cell]

        handle = module.self_attn.o_proj.register_forward_pre_hook(write)
        hidden = module(hidden, position_embeddings=angles, attention_mask=None)
        handle.remove()
        return hidden
