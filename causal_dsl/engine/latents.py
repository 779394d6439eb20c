"""Transcoders and crosscoders, which read at other places than they write: the functions of their values."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from causal_dsl.engine.values import Edit, Here, kept_rows
from causal_dsl.features.sae import Sae

if TYPE_CHECKING:
    from causal_dsl.planning import graph as g


def encoded(node: g.ReadAcross, here: Here) -> Edit:
    """Its numbers [m, size] in the vectors that were kept, pair by pair."""
    vectors = _vectors(node, here)

    def numbers(current: Tensor) -> Tensor:
        found = vectors().to(current.device)
        return here.values.given.of(node.feature, found).encode(found)[0]

    return numbers


def decoded(node: g.Decoded, here: Here) -> Edit:
    """The sum that is added to the vectors that are there [m, width]: the change of its numbers times their decoder directions."""
    vectors, new, ref = _vectors(node.now, here), here.edit(node.value), node.now.feature

    def moved(current: Tensor) -> Tensor:
        read = vectors().to(current.device)
        feature = here.values.given.of(ref, read)
        assert isinstance(feature, Sae)
        before, _ = feature.encode(read)
        after = new(before)
        if not isinstance(after, Tensor):
            after = before.new_full((1, 1), after)
        after = after.to(before)
        return feature.moved((after if node.add else after - before).expand_as(before), ref.output, current.shape[1])

    return moved


def _vectors(node: g.ReadAcross, here: Here) -> Callable[[], Tensor]:
    """All vectors that it reads together, side by side."""
    parts = [kept_rows(capture, here) for capture in node.captures]

    def vectors() -> Tensor:
        found = [part() for part in parts]
        return torch.cat([one.to(found[0].device) for one in found], dim=1)

    return vectors


__all__ = ["decoded", "encoded"]
