"""Attention weights to named tokens: which columns of all weights they are, row by row."""

from __future__ import annotations

import numpy as np
from torch import Tensor
from torch.nn import functional

from causal_dsl.planning import graph as g
from causal_dsl.planning.rows import Layouts
from causal_dsl.vocabulary.locations import Place


def keys_of(layouts: Layouts, place: Place, run: g.Forward, pairs: np.ndarray) -> np.ndarray:
    """The tokens that are looked at in the runs of some pairs, as columns [pairs, keys]. Where they are fewer in a row than in
    others, its last one stands for those that lack."""
    bounds, tokens, _ = layouts.spans(place.key, run)
    counts = bounds[pairs + 1] - bounds[pairs]
    each = np.arange(int(counts.max(initial=1)))
    columns: np.ndarray = tokens[bounds[pairs][:, None] + np.minimum(each[None, :], counts[:, None] - 1)]
    return columns


def heads_of(place: Place, heads: int) -> int:
    """Of how many heads a place holds weights, in a network of ``heads`` heads."""
    return len(place.site.heads) or heads


def pick(weights: Tensor, heads: int, columns: Tensor) -> Tensor:
    """Of weights [m, heads x tokens] those in ``columns`` [m, keys], as [m, heads x keys]."""
    split = weights.view(len(weights), heads, -1)
    return split.gather(2, _on_each(columns, heads)).reshape(len(weights), -1)


def as_wide(weights: Tensor, heads: int, width: int) -> Tensor:
    """Weights [m, heads x tokens] to ``width`` tokens: cut off, or 0 where there are no more."""
    split = weights.view(len(weights), heads, -1)
    return functional.pad(split, (0, width - split.shape[2])).reshape(len(weights), -1)


def put(weights: Tensor, heads: int, columns: Tensor, new: Tensor) -> Tensor:
    """Weights [m, heads x tokens] with those in ``columns`` [m, keys] as in ``new`` [m, heads x keys]."""
    split = weights.view(len(weights), heads, -1)
    made = new.to(weights.dtype).view(len(weights), heads, columns.shape[1])
    return split.scatter(2, _on_each(columns, heads), made).view_as(weights)


def _on_each(columns: Tensor, heads: int) -> Tensor:
    return columns[:, None, :].expand(-1, heads, -1)


__all__ = ["as_wide", "heads_of", "keys_of", "pick", "put"]
