"""``zoo("tracr-reverse")`` and the others of its kind: RASP programs that Tracr compiled to weights.

A transformer without norms, with ReLU in its MLPs, whose tokens look at all others. Every coordinate of the stream is a
value of a variable of the program: ``program.json`` says which, and which blocks write and read it, as the compiler laid
it out (``docs/compile_tracr.py``). So where a variable is, is known. Every bias but that of the unembedding is 0 or what
the compiler gave.

Lindner, Kramár, Farquhar, Rahtz, McGrath and Mikulik 2023.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from causal_dsl.diagnostics import NOWHERE
from causal_dsl.program.zoo_entries import program_of


class TracrAttention(nn.Module):
    """Every token looks at every other that is no padding. ``pattern`` gives the weights as they are."""

    def __init__(self, width: int, heads: int, size: int):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v = (nn.Linear(width, heads * size) for _ in range(3))
        self.out = nn.Linear(heads * size, width)
        self.pattern = nn.Identity()

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        rows, tokens = x.shape[:2]
        q, k, v = (part(x).view(rows, tokens, self.heads, -1).transpose(1, 2) for part in (self.q, self.k, self.v))
        scores = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5
        if mask is not None:
            scores = scores.masked_fill(mask[:, None, None, :] == 0, float("-inf"))
        mixed = self.pattern(scores.softmax(-1)) @ v
        found: Tensor = self.out(mixed.transpose(1, 2).reshape(rows, tokens, -1))
        return found


class TracrMlp(nn.Module):
    """One ReLU layer."""

    def __init__(self, width: int, neurons: int):
        super().__init__()
        self.up, self.down = nn.Linear(width, neurons), nn.Linear(neurons, width)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.down(self.up(x).relu())
        return found


class TracrBlock(nn.Module):
    """Attention and MLP, each added to the stream."""

    def __init__(self, width: int, heads: int, size: int, neurons: int):
        super().__init__()
        self.attn, self.mlp = TracrAttention(width, heads, size), TracrMlp(width, neurons)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x + self.attn(x, mask)
        return x + self.mlp(x)


class Tracr(nn.Module):
    """Token ids [batch, tokens] to logits [batch, tokens, words]."""

    def __init__(self, program: dict[str, Any]):
        super().__init__()
        width, words = program["width"], len(program["words"])
        self.embed, self.positions = nn.Embedding(words, width), nn.Embedding(program["context"], width)
        sizes = width, program["heads"], program["head"], program["neurons"]
        self.blocks = nn.ModuleList(TracrBlock(*sizes) for _ in range(program["layers"]))
        self.unembed = nn.Linear(width, words)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        x = self.embed(input_ids) + self.positions(torch.arange(input_ids.shape[1], device=input_ids.device))
        for block in self.blocks:
            x = block(x, attention_mask)
        found: Tensor = self.unembed(x)
        return found


def build(folder: Path) -> nn.Module:
    """The network of a folder that ``docs/compile_tracr.py`` wrote."""
    from causal_dsl.network.factory import load_weights

    with torch.random.fork_rng(devices=[]):
        model = Tracr(program_of(folder))
    load_weights(model, folder / "model.safetensors", NOWHERE)
    return model


__all__ = ["Tracr", "build"]
