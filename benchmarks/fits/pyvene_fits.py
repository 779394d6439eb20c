"""pyvene 0.1.8: an ``IntervenableModel`` with a ``LowRankRotatedSpaceIntervention``, as its tutorials fit one.

The weights are frozen, only the last token meets the unembedding, and the location is one number for the whole batch,
which turns pyvene's ``use_fast`` on. Its rotation is torch's orthogonal parametrisation by Householder reflections, set
to the common start; a step of Adam turns it exactly twice as far as the factor Q of a free matrix, so it is given half the rate.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyvene
import torch
from torch import Tensor

from benchmarks.fits.hooks import Fitter
from benchmarks.fits.workloads import FitArrays


class Sources(Fitter):
    """Bases and sources are given to every call, which runs both."""

    slower = 0.5

    def start(self, arrays: FitArrays, cell: int) -> None:
        start = torch.from_numpy(arrays.starts[cell])
        self.intervened = pyvene.IntervenableModel(
            [
                {
                    "layer": int(arrays.layers[cell]),
                    "component": "block_output",
                    "unit": "pos",
                    "max_number_of_units": 1,
                    "low_rank_dimension": start.shape[1],
                    "intervention_type": pyvene.LowRankRotatedSpaceIntervention,
                }
            ],
            model=self.model,
        )
        self.intervened.disable_model_gradients()
        self.intervened.eval()
        (self.key,) = self.intervened.sorted_keys
        self.intervention = self.intervened.interventions[self.key]
        layer = self.intervention.rotate_layer
        layer.weight = start
        assert torch.allclose(layer.weight, start, atol=1e-5), "the start is another"
        own = type(self.intervention).forward

        def seen(base: Tensor, source: Tensor, subspaces: Any = None, **more: Any) -> Tensor:
            found: Tensor = own(self.intervention, base, source, subspaces, **more)
            self.vectors[:] = [found.detach().reshape(len(found), -1)]
            return found

        self.intervention.forward = seen

    def parameters(self) -> list[torch.nn.Parameter]:
        return list(self.intervened.get_trainable_parameters())

    def logits(self, which: str, pairs: np.ndarray) -> Tensor:
        rows = self.rows(f"{which}base", pairs)
        _, output = self.intervened(
            {"input_ids": rows, "logits_to_keep": 1},
            unit_locations={"sources->base": rows.shape[1] - 1},
            use_cache=False,
            **self.given(which, pairs),
        )
        logits: Tensor = output.logits[:, -1]
        return logits

    def given(self, which: str, pairs: np.ndarray) -> dict[str, Any]:
        """What says what the sources have."""
        source = {"input_ids": self.rows(f"{which}source", pairs), "logits_to_keep": 1, "use_cache": False}
        return {"sources": [source]}


class Cached(Sources):
    """The sources' vectors are collected once, by hand, and given as ``source_representations``."""

    def begin(self, arrays: FitArrays) -> None:
        super().begin(arrays)
        self.kept = {
            (layer, which): self.stream(torch.from_numpy(getattr(arrays, f"{which}source")), layer, last=True)
            for layer in np.unique(arrays.layers).tolist()
            for which in ("", "check_")
        }

    def given(self, which: str, pairs: np.ndarray) -> dict[str, Any]:
        vectors = self.kept[int(self.arrays.layers[self.cell]), which][pairs]
        return {"source_representations": {self.key: vectors[:, None]}}
