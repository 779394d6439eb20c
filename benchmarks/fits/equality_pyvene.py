"""pyvene's side of :mod:`benchmarks.fits.equality`: ``python -m benchmarks.fits.equality_pyvene ARRAYS.npz RESULT.json``."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyvene
import torch
from pyvene.models.mlp.modelings_mlp import MLPConfig, MLPForClassification
from torch import Tensor
from torch.nn import functional


def main(read: Path, write: Path) -> None:
    torch.set_num_threads(1)
    with np.load(read) as file:
        arrays = {name: file[name] for name in file.files}
    model = network(arrays)
    found = [fitted(model, arrays, seed) for seed in range(len(arrays["starts"]))]
    write.write_text(
        json.dumps({"iia": [one[0] for one in found], "loss": [one[1] for one in found]}), encoding="utf-8"
    )


def network(arrays: dict[str, np.ndarray]) -> Any:
    """pyvene's own MLP with the weights of ours."""
    config = MLPConfig(h_dim=16, n_layer=3, num_classes=2, activation_function="relu", pdrop=0.0)
    model = MLPForClassification(config)
    named = {}
    for layer in range(3):
        for kind in ("weight", "bias"):
            named[f"mlp.h.{layer}.ff1.{kind}"] = arrays[f"weights_layers.{layer}.0.{kind}"]
            named[f"score.{kind}"] = arrays[f"weights_logits.{kind}"]
    model.load_state_dict({name: torch.from_numpy(value) for name, value in named.items()})
    return model.eval()


def fitted(model: Any, arrays: dict[str, np.ndarray], seed: int) -> tuple[float, float]:
    """The interchange accuracy of a fit on the pairs it is judged on, and its least loss on those that end it."""
    start = torch.from_numpy(arrays["starts"][seed])
    intervened = pyvene.IntervenableModel(
        [
            {
                "layer": 0,
                "component": "block_output",
                "unit": "pos",
                "max_number_of_units": 1,
                "low_rank_dimension": start.shape[1],
                "intervention_type": pyvene.LowRankRotatedSpaceIntervention,
            }
        ],
        model=model,
    )
    intervened.disable_model_gradients()
    (intervention,) = intervened.interventions.values()
    intervention.rotate_layer.weight = start

    def logits(part: str, picked: Any = slice(None)) -> Tensor:
        base, source = (torch.from_numpy(arrays[f"{part}_{role}"][picked])[:, None] for role in ("base", "source"))
        _, output = intervened(
            {"inputs_embeds": base, "return_dict": True},
            [{"inputs_embeds": source, "return_dict": True}],
            {"sources->base": ([[[0]] * len(base)], [[[0]] * len(base)])},
        )
        found: Tensor = output.logits
        return found

    def label(part: str, picked: Any = slice(None)) -> Tensor:
        return torch.from_numpy(arrays[f"{part}_label"][picked])

    # A step of this parametrisation turns the rotation twice as far as one of the factor Q.
    adam = torch.optim.Adam(intervened.get_trainable_parameters(), lr=float(arrays["rate"]) / 2)
    best: tuple[float, Any] = (float("inf"), None)
    for step, picked in enumerate(arrays["order"][seed], 1):
        loss = functional.cross_entropy(logits("fit", picked), label("fit", picked))
        adam.zero_grad()
        loss.backward()
        adam.step()
        if step % int(arrays["epoch"]) == 0:
            with torch.no_grad():
                now = float(functional.cross_entropy(logits("check"), label("check")))
            if now < best[0]:
                best = (now, copy.deepcopy(intervention.state_dict()))
    intervention.load_state_dict(best[1])
    with torch.no_grad():
        right = logits("test").argmax(1) == label("test")
    return float(right.float().mean()), best[0]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
