"""Nodes of dictionaries in circuits: the functions of their values.

A write notes what is at a place before anything is written there, and the nodes move the vector by what their numbers change: several
of one dictionary, at tokens that overlap, are all computed from the vector that they found.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from causal_dsl.base.faults import OwnFault
from causal_dsl.engine.values import Edit, Here, kept_rows
from causal_dsl.planning import graph as g
from causal_dsl.vocabulary.locations import Place


def noted(node: g.Noted, here: Here) -> Edit:
    """The vectors as they are; they are noted."""

    def note(current: Tensor) -> Tensor:
        here.values.noted[here.family.resume, here.write.place] = (here.alive, current)
        return current

    return note


def nodes_read(node: g.NodesRead, here: Here) -> Edit:
    """The numbers of nodes in the vectors that were kept, pair by pair."""
    parts = [kept_rows(capture, here) for capture in node.captures]

    def numbers(current: Tensor) -> Tensor:
        vectors = [part().to(current.device) for part in parts]
        nodes, read = here.values.given.nodes(node.nodes, vectors)
        return nodes.of(read, vectors[-1])

    return numbers


def nodes_averaged(node: g.NodesAveraged, here: Here) -> Edit:
    """The means of the numbers of some nodes, out of those of all of them: latents first, then the error term."""
    mean = here.edit(node.mean)

    def numbers(current: Tensor) -> Tensor:
        every = mean(current)
        assert isinstance(every, Tensor)
        width = here.values.noted[here.family.resume, here.write.place][1].shape[1]
        count = every.shape[1] - width
        latents = every[:, :count]
        if not node.nodes.whole:
            latents = latents[:, torch.tensor(node.nodes.latents, dtype=torch.int64, device=every.device)]
        return torch.cat([latents, every[:, count:]], dim=1) if node.nodes.error else latents

    return numbers


def nodes_moved(node: g.NodesMoved, here: Here) -> Edit:
    """The change of the vectors that are there, where nodes have other numbers."""
    new = here.edit(node.value)

    def moved(current: Tensor) -> Tensor:
        vectors = [_noted(place, here).to(current.device) for place in node.seen]
        nodes, read = here.values.given.nodes(node.nodes, vectors)
        before = nodes.of(read, vectors[-1])
        after = new(before)
        if not isinstance(after, Tensor):
            after = before.new_full((1, 1), after)
        after = after.to(before)
        return nodes.moved(read, (after if node.add else after - before).expand_as(before), current.shape[1])

    return moved


def _noted(place: Place, here: Here) -> Tensor:
    alive, vectors = here.values.noted[here.family.resume, place]
    if not np.array_equal(np.arange(len(here.which))[alive], np.arange(len(here.which))[here.alive]):
        raise OwnFault(f"other tokens of `{place}` were noted than those at which its nodes are written")
    return vectors


__all__ = ["nodes_averaged", "nodes_moved", "nodes_read", "noted"]
