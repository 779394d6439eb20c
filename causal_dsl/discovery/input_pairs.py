"""Pairs of inputs, base and counterfactual, in batches that fit the memory."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.inputs import Inputs
from causal_dsl.inputs.protocol import InputRows
from causal_dsl.network.network import Network
from causal_dsl.planning.layer_costs import costs_of
from causal_dsl.planning.memory import Budget
from causal_dsl.vocabulary.locations import Position


@dataclass(frozen=True, eq=False)
class Pairs:
    """``base[i]`` and ``source[i]`` are the numbers of the inputs of pair i. ``instead`` is what stands in the place of a part that is taken
    away: what it gives in the ``run`` on the source, which has as many tokens as the base; its ``mean`` over the sources, token by token or
    ``pooled`` over tokens; or ``zero``."""

    inputs: Inputs
    base: np.ndarray
    source: np.ndarray
    instead: str = "run"

    def __len__(self) -> int:
        return len(self.base)

    @cached_property
    def lengths(self) -> np.ndarray:
        return self.inputs.lengths[self.base]

    def rows(self, role: str, which: np.ndarray) -> InputRows:
        """The inputs of some pairs."""
        return self.inputs.rows((self.base if role == "base" else self.source)[which])

    def read(self, which: np.ndarray, role: str = "base") -> Tensor:
        """The token of the base (or the source) of each pair at which the answer is read."""
        return torch.from_numpy(self.inputs.reads[(self.base if role == "base" else self.source)[which]])

    def spots(self, role: str, position: Position | None, which: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """The tokens of a position in some pairs, pair after pair (None: all tokens): which of the pairs, and the token without padding."""
        rows = (self.base if role == "base" else self.source)[which]
        found, tokens = self.inputs.spots(position, rows)
        return torch.from_numpy(found), None if tokens is None else torch.from_numpy(tokens)

    def columns(
        self, role: str, spots: tuple[Tensor, Tensor | None], which: np.ndarray, padding: str
    ) -> tuple[Tensor, ...]:
        """Where tokens stand in a padded batch of some pairs: an index of its tensors."""
        rows, tokens = spots
        if tokens is None:
            return (rows,)
        lengths = torch.from_numpy(self.inputs.lengths[(self.base if role == "base" else self.source)[which]])
        ahead = (lengths.max() - lengths) if padding == "left" else torch.zeros_like(lengths)
        return rows, tokens + ahead[rows]

    def mask(self, which: np.ndarray, padding: str) -> Tensor | None:
        """Which tokens of a batch of some pairs are there [rows, tokens, 1]; None where there are no tokens."""
        there = self.inputs.there(self.base[which], padding)
        return None if there is None else torch.from_numpy(there)[..., None]

    def batches(self, network: Network, budget: Budget, gradients: bool) -> Iterator[np.ndarray]:
        """The pairs, those of like length together, as many at a time as fit."""
        order = np.argsort(self.lengths, kind="stable")[::-1]
        while len(order):
            size = most_rows(network, budget, int(self.lengths[order[0]]), gradients)
            yield order[:size]
            order = order[size:]


def most_rows(network: Network, budget: Budget, tokens: int, gradients: bool) -> int:
    """How many rows of so many tokens fit the budget: with gradients everything that a pass computes stays."""
    return costs_of(network.facts.traits).rows_back(tokens, network.facts, budget, gradients)


__all__ = ["Pairs", "most_rows"]
