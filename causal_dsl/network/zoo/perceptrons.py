"""Multi-layer perceptrons of the zoo.

``zoo("equality-mlp")`` has the shape of the network for hierarchical equality of Geiger, Wu, Potts, Icard and Goodman
2024 ("Finding alignments between interpretable causal variables and distributed neural representations"): four shapes
as embeddings of 4 numbers, three hidden layers of 16 units. Its weights are untrained: ``train(…)`` trains it.

``zoo("logic-or-of-ands")`` and ``zoo("logic-and-of-or")`` have one input-output behaviour, ``(a and b) or (b and c)`` =
``b and (a or c)`` of three equalities ``a := x1 == x2``, ``b := x3 == x4``, ``c := x5 == x6``, each shape one-hot of 4.
They were trained to compute it in different ways (:mod:`causal_dsl.training.retraining`), which shows at layer 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from causal_dsl.base.resources import resource
from causal_dsl.diagnostics import NOWHERE


class Mlp(nn.Module):
    """Floats [batch, width] to logits [batch, classes]; ``layers[l]`` are linear maps and ReLUs of ``hidden[l]`` units."""

    def __init__(self, width: int, hidden: Sequence[int], classes: int):
        super().__init__()
        self.in_features = width
        sizes = [width, *hidden]
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(before, after), nn.ReLU()) for before, after in pairwise(sizes)
        )
        self.logits = nn.Linear(sizes[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.logits(x)


def equality_mlp() -> nn.Module:
    """The untrained network, the same every time; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Mlp(16, (16, 16, 16), 2)


def blank_logic() -> nn.Module:
    """The shape of the two networks for logic, untrained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Mlp(24, (48, 32, 32), 2)


def logic(name: str, folder: Path | None = None) -> nn.Module:
    """A network for logic with the weights that ship, or with those in a folder."""
    from causal_dsl.network.factory import load_weights

    model = blank_logic()
    load_weights(model, (folder or resource("zoo", name)) / "model.safetensors", NOWHERE)
    return model
