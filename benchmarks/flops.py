"""The FLOPs of each way of doing a sweep, from the sizes of the layers: a multiplication and an addition are two.

Bases are run whole by the cheapest ways, for the spec reads their answers too. Counted are the linear layers, the two products of attention as they are computed (every query with all keys of its
prompt), and the rows of the unembedding; not norms, rotary angles, softmax and activations, which are a few per cent.

The ways go from the plainest to the cheapest that is known, the *bound*: each does what the one before does, less
something that cannot change the wanted logits.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.fits.workloads import FitArrays
from benchmarks.workloads import Arrays

WAYS = {
    "all": "a source and a patched forward per cell and pair",
    "cached": "sources once; a patched forward per cell and pair",
    "one-position": "… with logits at the last token alone",
    "above": "… from the written layer on; bases once",
    "trimmed": "… from the written token on (one pass for all cells)",
    "two-rows": "… with two rows of the unembedding",
    "bound": "… the top layer at the last token alone, dead sites dropped, sources no further than they are read",
}

FIT_WAYS = {
    "fit-both": "a step: a source and a base forward, the layers above the written one backward, logits of one position",
    "fit-base": "… sources once",
    "fit-stop": "… sources in each step again, but no further than they are read",
    "fit-resume": "… sources once, and bases once up to the written layer",
    "fit-bound": "… a step runs the written token alone; each distinct prompt once",
}


@dataclass(frozen=True)
class Shape:
    """The sizes of a network of the Llama kind."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    vocabulary: int

    @classmethod
    def of(cls, folder: Path) -> Shape:
        """As ``config.json`` of a checkpoint has them."""
        read = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return cls(
            read["num_hidden_layers"],
            read["hidden_size"],
            read["num_attention_heads"],
            read["num_key_value_heads"],
            read["head_dim"],
            read["intermediate_size"],
            read["vocab_size"],
        )

    @property
    def keys(self) -> int:
        """Keys and values of one token in one layer."""
        return 2 * self.width * 2 * self.kv_heads * self.head_dim

    @property
    def after(self) -> int:
        """What follows attention: its output projection and the MLP, for one token."""
        return 2 * self.width * (self.heads * self.head_dim + 3 * self.mlp)

    def rest(self, tokens: int) -> int:
        """A layer without keys and values, for one query that sees so many tokens."""
        return 2 * self.width * self.heads * self.head_dim + 4 * self.heads * self.head_dim * tokens + self.after

    def layer(self, queries: int, tokens: int) -> int:
        """A layer for so many queries of a prompt of so many tokens; the other tokens' keys are there already."""
        return queries * (self.keys + self.rest(tokens))

    def top(self, queries: int, tokens: int) -> int:
        """The same where only the last token's output is wanted."""
        return queries * self.keys + self.rest(tokens)

    def unembedding(self, rows: int) -> int:
        return 2 * self.width * rows

    def forward(self, tokens: int, logits: int) -> int:
        """A whole forward of one prompt with the logits of so many tokens."""
        return self.layers * self.layer(tokens, tokens) + logits * self.unembedding(self.vocabulary)


def ways(arrays: Arrays, shape: Shape) -> dict[str, float]:
    """GFLOPs of each of :data:`WAYS`."""
    tokens, pairs = arrays.base.shape[1], arrays.pairs
    cells = list(zip(arrays.layers.tolist(), arrays.targets.tolist(), strict=True))
    whole, short = shape.forward(tokens, tokens), shape.forward(tokens, 1)
    every, last = shape.unembedding(shape.vocabulary), shape.unembedding(2)
    heads = arrays.site == "z"
    above = trimmed = bound = 0
    for layer, target in cells:
        inside = shape.after if heads else 0  # a head is written within its layer, before the output projection
        further, suffix = shape.layers - 1 - layer, tokens - target
        above += further * shape.layer(tokens, tokens) + tokens * inside
        trimmed += further * shape.layer(suffix, tokens) + inside
        if further:
            bound += (further - 1) * shape.layer(suffix, tokens) + shape.top(suffix, tokens) + inside + last
        elif target == tokens - 1:
            bound += inside + last
    once = (int(arrays.layers.max()) + 1) * shape.layer(tokens, tokens)  # to the deepest layer that is read
    found = {
        "all": pairs * (2 * len(cells) * whole),
        "cached": pairs * (len(cells) * whole + once),
        "one-position": pairs * (len(cells) * short + once),
        "above": pairs * (above + len(cells) * every + 2 * once),
        "trimmed": pairs * (trimmed + len(cells) * every + once + short),
        "two-rows": pairs * (trimmed + len(cells) * last + once + short),
        "bound": pairs * bound + _unpatched(arrays, shape),
    }
    return {name: flops / 1e9 for name, flops in found.items()}


def _unpatched(arrays: Arrays, shape: Shape) -> int:
    """Bases and sources, each distinct prompt once: bases as far as their keys are needed, sources as far as they are read."""
    tokens = arrays.base.shape[1]
    bases = np.unique(arrays.base, axis=0)
    sources = {tuple(row) for row in arrays.source.tolist()} - {tuple(row) for row in bases.tolist()}
    alive = (arrays.layers < shape.layers - 1) | (arrays.targets == tokens - 1)
    if not alive.any():
        return 0
    base = (shape.layers - 1) * shape.layer(tokens, tokens) + tokens * shape.keys
    deepest, furthest = int(arrays.layers[alive].max()), int(arrays.origins[alive].max()) + 1
    # at the deepest layer only the tokens that are read there need more than keys
    read = len(np.unique(arrays.origins[alive & (arrays.layers == deepest)]))
    source = deepest * shape.layer(furthest, furthest) + furthest * shape.keys + read * shape.rest(furthest)
    return len(bases) * base + len(sources) * source


def fit_ways(arrays: FitArrays, shape: Shape) -> dict[str, float]:
    """GFLOPs of each of :data:`FIT_WAYS`, looking at the other pairs after each epoch among them. A backward pass to the
    inputs of layers takes as much as the forward one (a little more in attention, which is left out)."""
    tokens, one = arrays.base.shape[1], shape.layer(1, arrays.base.shape[1])
    layer, head = shape.layer(tokens, tokens), shape.unembedding(shape.vocabulary)
    whole, trained, looked = shape.forward(tokens, 1), arrays.order[0].size, arrays.epochs * len(arrays.check_base)
    found = dict.fromkeys(FIT_WAYS, 0)
    for above in (shape.layers - 1 - arrays.layers).tolist():
        below = (shape.layers - above) * layer
        once = (len(arrays.base) + len(arrays.check_base)) * below
        back = trained * (above * layer + head)
        runs = trained + looked
        found["fit-both"] += runs * 2 * whole + back
        found["fit-base"] += runs * whole + back + once
        found["fit-stop"] += runs * (whole + below) + back
        found["fit-resume"] += runs * (above * layer + head) + back + 2 * once
        found["fit-bound"] += (runs + trained) * (above * one + head)
    bases, sources = (
        len(np.unique(np.concatenate([getattr(arrays, name), getattr(arrays, f"check_{name}")]), axis=0))
        for name in ("base", "source")
    )
    found["fit-bound"] += bases * shape.layers * layer + sources * (int(arrays.layers.max()) + 1) * layer
    return {name: flops / 1e9 for name, flops in found.items()}


def forward_gflop(prompts: int, tokens: int, shape: Shape) -> float:
    """GFLOPs of whole forwards with logits at the last token."""
    return prompts * shape.forward(tokens, 1) / 1e9
