"""nnsight 0.8.1: traces on a wrapped transformers model, sources captured in one trace for all cells.

What a trace needs from outside is taken before it: inside, code runs when the forward gets there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nnsight
import numpy as np
import torch
from torch import Tensor

from benchmarks.contenders.plain import (
    Once,
    contiguous_unembedding,
    empty,
    head_slice,
    load_model,
    wanted_logits,
)
from benchmarks.workloads import Arrays


class Cells:
    """One trace per cell, with all pairs in one batch; only the last token meets the unembedding."""

    def __init__(self, folder: Path):
        from transformers import AutoTokenizer

        self.once = Once()
        self.plain = load_model(folder)
        contiguous_unembedding(self.plain)
        self.model = nnsight.TransformersModel(self.plain, tokenizer=AutoTokenizer.from_pretrained(folder))
        self.layers = self.model.model.layers

    @torch.no_grad()
    def run(self, arrays: Arrays) -> np.ndarray:
        found = empty(arrays)
        base = torch.from_numpy(arrays.base)
        with self.once:
            taken = self.captured(arrays)
        for cell in range(len(found)):
            site, columns = self._site(arrays, cell)
            target, value = int(arrays.targets[cell]), taken[cell]
            with self.model.trace(base, use_cache=False, logits_to_keep=1):
                if arrays.site == "z":
                    site.input[:, target, columns] = value
                else:
                    site.output[:, target] = value
                logits = self.model.lm_head.output[:, -1].save()
            found[cell] = wanted_logits(logits, arrays.wanted)[0]
        return found

    def captured(self, arrays: Arrays) -> list[Tensor]:
        """The source's vectors of every cell, each [pairs, width], from one trace."""
        source = torch.from_numpy(arrays.source)
        by_layer = arrays.by_layer()
        streams = self.streams(source, arrays.site, list(by_layer))
        taken: list[Tensor] = [torch.empty(0)] * len(arrays.layers)
        for layer, cells in by_layer.items():
            for cell in cells:
                taken[cell] = streams[layer][:, arrays.origins[cell], self._site(arrays, cell)[1]]
        return taken

    def streams(self, rows: Tensor, site: str, layers: list[int]) -> dict[int, Tensor]:
        """What leaves each layer, or (``z``) what enters the output projection of its attention; it stops at the last."""
        with self.model.trace(rows, use_cache=False) as tracer:
            kept = nnsight.save({})
            for layer in layers:
                if site == "z":
                    kept[layer] = self.layers[layer].self_attn.o_proj.input.clone()
                else:
                    kept[layer] = self.layers[layer].output.clone()
            tracer.stop()
        return kept

    def _site(self, arrays: Arrays, cell: int) -> tuple[Any, slice]:
        """Whose input or output is written, and which of its columns."""
        module = self.layers[int(arrays.layers[cell])]
        if arrays.site == "z":
            return module.self_attn.o_proj, head_slice(self.plain, int(arrays.heads[cell]))
        return module, slice(None)


class Folded(Cells):
    """The cells of a layer are invokes of one trace: nnsight runs them as one batch."""

    @torch.no_grad()
    def run(self, arrays: Arrays) -> np.ndarray:
        found = empty(arrays)
        base = torch.from_numpy(arrays.base)
        with self.once:
            taken = self.captured(arrays)
        for cells in arrays.by_layer().values():
            with self.model.trace(use_cache=False, logits_to_keep=1) as tracer:
                logits = nnsight.save([None] * len(cells))
                for number, cell in enumerate(cells):
                    site, columns = self._site(arrays, cell)
                    target, value = int(arrays.targets[cell]), taken[cell]
                    with tracer.invoke(base):
                        if arrays.site == "z":
                            site.input[:, target, columns] = value
                        else:
                            site.output[:, target] = value
                        logits[number] = self.model.lm_head.output[:, -1]
            found[cells] = np.concatenate([wanted_logits(part, arrays.wanted) for part in logits])
        return found


class Skipped(Cells):
    """The cells of a layer are one batch that resumes: every layer up to the written one is skipped."""

    @torch.no_grad()
    def run(self, arrays: Arrays) -> np.ndarray:
        found = empty(arrays)
        base = torch.from_numpy(arrays.base)
        with self.once:
            taken = self.captured(arrays)
        by_layer = arrays.by_layer()
        heads = arrays.site == "z"
        with self.once:
            streams = self.streams(base, "resid_post", [layer - heads for layer in by_layer if layer - heads >= 0])
        for layer, cells in by_layer.items():
            rows = base.repeat(len(cells), 1)
            last = layer - heads  # the last layer that is skipped
            stream = streams[last].repeat(len(cells), 1, 1) if last >= 0 else None
            if not heads:
                self._write(arrays, cells, taken, stream)
            with self.model.trace(rows, use_cache=False, logits_to_keep=1):
                for skipped in range(last + 1):
                    self.layers[skipped].skip(stream)
                if heads:
                    self._write(arrays, cells, taken, self.layers[layer].self_attn.o_proj.input)
                logits = self.model.lm_head.output[:, -1].save()
            found[cells] = wanted_logits(logits, arrays.wanted)
        return found

    def _write(self, arrays: Arrays, cells: np.ndarray, taken: list[Tensor], hidden: Tensor) -> None:
        """Each cell's vector in the rows of that cell."""
        parts = hidden.view(len(cells), arrays.pairs, *hidden.shape[1:])
        for part, cell in zip(parts, cells, strict=True):
            part[:, arrays.targets[cell], self._site(arrays, cell)[1]] = taken[cell]
