"""pyvene 0.1.8: ``IntervenableModel`` calls that are given the sources' representations instead of source inputs.

Sources are collected once, in one forward with a ``CollectIntervention`` at every site; without that pyvene runs a
source forward per site and call. Unit locations are nested lists, one a pair: an integer would turn ``use_fast`` on,
which stays on and then takes the first pair's location for all of a folded batch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyvene
import torch
from torch import Tensor

from benchmarks.contenders.plain import Once, contiguous_unembedding, empty, head_slice, load_model, wanted_logits
from benchmarks.workloads import Arrays


class Cells:
    """One call per cell, with all pairs in one batch; only the last token meets the unembedding."""

    def __init__(self, folder: Path):
        self.once = Once()
        self.model = load_model(folder)
        contiguous_unembedding(self.model)

    @torch.no_grad()
    def run(self, arrays: Arrays) -> np.ndarray:
        found = empty(arrays)
        base = torch.from_numpy(arrays.base)
        with self.once:
            taken = self.captured(arrays)
        for layer, cells in arrays.by_layer().items():
            intervened = self._intervened(arrays.site, layer)
            for batch in self._batches(cells):
                rows = {"input_ids": base.repeat(len(batch), 1), "logits_to_keep": 1}
                _, output = intervened(
                    rows,
                    source_representations={intervened.sorted_keys[0]: torch.cat([taken[cell] for cell in batch])},
                    unit_locations={"sources->base": (None, [self._locations(arrays, batch)])},
                    use_cache=False,
                )
                found[batch] = wanted_logits(output.logits[:, -1], arrays.wanted)
        return found

    def _batches(self, cells: np.ndarray) -> list[np.ndarray]:
        """The cells of a layer by the call that runs them."""
        return [cells[i : i + 1] for i in range(len(cells))]

    def captured(self, arrays: Arrays) -> list[Tensor]:
        """The source's vectors of every cell, [pairs, 1, width] (of a head: [pairs, 1, 1, width]), from one forward."""
        component = "attention_value_output" if arrays.site == "z" else "block_output"
        by_layer = arrays.by_layer()
        origins = {layer: np.unique(arrays.origins[cells]) for layer, cells in by_layer.items()}
        collecting = pyvene.IntervenableModel(
            [
                {
                    "layer": layer,
                    "component": component,
                    "unit": "pos",
                    "max_number_of_units": len(origins[layer]),
                    "intervention_type": pyvene.CollectIntervention,
                }
                for layer in by_layer
            ],
            model=self.model,
        )
        units = [[origins[layer].tolist()] * arrays.pairs for layer in by_layer]
        source = {"input_ids": torch.from_numpy(arrays.source), "logits_to_keep": 1}
        (_, collected), _ = collecting(source, unit_locations={"sources->base": (None, units)}, use_cache=False)
        taken: list[Tensor] = [torch.empty(0)] * len(arrays.layers)
        for (layer, cells), vectors in zip(by_layer.items(), collected, strict=True):
            for cell in cells:
                vector = vectors[:, np.searchsorted(origins[layer], arrays.origins[cell])][:, None]
                head = arrays.site == "z"
                taken[cell] = vector[:, None, :, head_slice(self.model, int(arrays.heads[cell]))] if head else vector
        return taken

    def _intervened(self, site: str, layer: int) -> Any:
        kind: dict[str, Any] = {"layer": layer, "intervention_type": pyvene.VanillaIntervention}
        if site == "z":
            kind |= {"component": "head_attention_value_output", "unit": "h.pos"}
        else:
            kind |= {"component": "block_output", "unit": "pos"}
        return pyvene.IntervenableModel([kind], model=self.model)

    def _locations(self, arrays: Arrays, batch: np.ndarray) -> Any:
        """Where each row of a batch is written: ``[[token], …]``, of heads the pair of that for heads and tokens."""
        tokens = [[int(arrays.targets[cell])] for cell in batch for _ in range(arrays.pairs)]
        if arrays.site != "z":
            return tokens
        return [[[int(arrays.heads[cell])] for cell in batch for _ in range(arrays.pairs)], tokens]


class Folded(Cells):
    """The cells of a layer are one call: bases repeated, each repetition written at its own token or head."""

    def _batches(self, cells: np.ndarray) -> list[np.ndarray]:
        return [cells]
