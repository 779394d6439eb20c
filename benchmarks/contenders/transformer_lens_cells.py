"""TransformerLens 4.3: ``TransformerBridge`` (``HookedTransformer`` is gone since 4.0), hooks by name and a cache of the sources.

The bridge rewrites the model that it is given, and runs attention eagerly so that its hooks see the weights. It cannot
resume: ``start_at_layer`` still runs every block below and drops what they give.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from benchmarks.contenders.plain import Once, contiguous_unembedding, empty, wanted_logits
from benchmarks.workloads import Arrays


class Cells:
    """``run_with_cache`` of the sources, then ``run_with_hooks`` per cell, all pairs in one batch.

    Only the last token meets the unembedding: what the bridge does not know it passes on to the model.
    """

    def __init__(self, folder: Path):
        self.once = Once()
        self.model = TransformerBridge.boot_transformers(str(folder), device="cpu", dtype=torch.float32)
        self.model.requires_grad_(False)
        contiguous_unembedding(self.model.original_model)

    @torch.no_grad()
    def run(self, arrays: Arrays) -> np.ndarray:
        found = empty(arrays)
        base = torch.from_numpy(arrays.base)
        layers = arrays.by_layer()
        names = {self._name(arrays.site, layer) for layer in layers}
        source = torch.from_numpy(arrays.source)
        with self.once:
            _, cache = self.model.run_with_cache(
                source, names_filter=lambda name: name in names, stop_at_layer=max(layers) + 1
            )
        for layer, cells in layers.items():
            name = self._name(arrays.site, layer)
            for batch in self._batches(cells):
                logits = self.model.run_with_hooks(
                    base.repeat(len(batch), 1),
                    return_type="logits",
                    logits_to_keep=1,
                    fwd_hooks=[(name, partial(self._write, arrays=arrays, cells=batch, taken=cache[name]))],
                )
                found[batch] = wanted_logits(logits[:, -1], arrays.wanted)
        return found

    def _batches(self, cells: np.ndarray) -> list[np.ndarray]:
        """The cells of a layer by the call that runs them."""
        return [cells[i : i + 1] for i in range(len(cells))]

    @staticmethod
    def _name(site: str, layer: int) -> str:
        return f"blocks.{layer}.attn.hook_z" if site == "z" else f"blocks.{layer}.hook_resid_post"

    @staticmethod
    def _write(hidden: Tensor, hook: Any, arrays: Arrays, cells: np.ndarray, taken: Tensor) -> Tensor:
        """Each cell's vector in the rows of that cell; ``hidden`` is [rows, tokens, width], of heads [rows, tokens, heads, width]."""
        parts = hidden.view(len(cells), arrays.pairs, *hidden.shape[1:])
        for part, cell in zip(parts, cells, strict=True):
            target, origin, head = arrays.targets[cell], arrays.origins[cell], arrays.heads[cell]
            if arrays.site == "z":
                part[:, target, head] = taken[:, origin, head]
            else:
                part[:, target] = taken[:, origin]
        return hidden


class Folded(Cells):
    """The cells of a layer are one call: bases repeated, each repetition written at its own token or head."""

    def _batches(self, cells: np.ndarray) -> list[np.ndarray]:
        return [cells]
