"""Activations of unpatched runs, cached: what writes look at, and the means over it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import field

import numpy as np
import torch
from torch import Tensor

from causal_dsl.base.faults import OwnFault
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.engine.attended_keys import heads_of, keys_of, pick
from causal_dsl.features.given_maps import GivenMaps
from causal_dsl.planning import graph as g
from causal_dsl.planning.pass_layout import Layout
from causal_dsl.planning.rows import Layouts
from causal_dsl.vocabulary.locations import Site


class Activations(ABC):
    """``vectors[site]`` [vectors, width] in the order of ``keys[site]``, a number for each input and token; filled while
    passes go on, and not numbers till then. ``filled[site]`` marks those that are."""

    def __init__(self, layouts: Layouts, keys: dict[Site, np.ndarray]):
        self.layouts, self.keys = layouts, keys
        self.vectors: dict[Site, Tensor] = {}
        self.filled: dict[Site, np.ndarray] = {}

    @abstractmethod
    def slots(self, capture: g.Capture, of: g.Resume | None, pairs: np.ndarray) -> np.ndarray:
        """Where the vectors of a capture lie for some pairs, token after token [m]; ``of``: the intervention that they
        are written by, where each has copies of its own."""

    @abstractmethod
    def pairs(self, draw: g.DrawNode) -> np.ndarray:
        """The pairs of whose runs something is kept."""

    def at(self, site: Site, slots: np.ndarray | None = None) -> Tensor:
        """The vectors of a site, once all of them are there, or those of ``slots``; :class:`OwnFault` before."""
        there = self.filled.get(site)
        if there is None or not (there if slots is None else there[slots]).all():
            raise OwnFault(f"the value at `{site}` is used before it is computed")
        return self.vectors[site]

    def of(self, capture: g.Capture, pairs: np.ndarray, of: g.Resume | None = None) -> Tensor:
        """The vectors of a capture for some pairs, token after token [m, width]."""
        slots = self.slots(capture, of, pairs)
        vectors = self.at(capture.place.site, slots)
        found = vectors.index_select(0, torch.from_numpy(slots).to(vectors.device))
        if capture.place.key is None:
            return found
        columns = torch.from_numpy(self.keys_looked_at(capture, pairs)).to(found.device)
        heads = self.layouts.plan.inputs[capture.forward.network].facts.heads or 1
        return pick(found, heads_of(capture.place, heads), columns)

    def keys_looked_at(self, capture: g.Capture, pairs: np.ndarray) -> np.ndarray:
        """Of a capture of weights to named tokens, the columns that these are, token after token [m, keys]."""
        which, _ = self.layouts.tokens(capture.place, capture.forward, pairs)
        return keys_of(self.layouts, capture.place, capture.forward, pairs)[which]

    def fill(self, site: Site, values: Tensor) -> None:
        """Take all vectors of a site at once."""
        room = self.vectors.get(site)
        if room is None or room.shape != values.shape or room.device != values.device or values.requires_grad:
            self.vectors[site] = values
        else:
            room.copy_(values)
        self.filled[site] = np.ones(len(values), bool)

    def put(self, site: Site, index: Tensor, values: Tensor) -> None:
        """Fill in some vectors of a site."""
        if len(index) == len(self.keys[site]) and torch.equal(index.cpu(), torch.arange(len(index))):
            self.fill(site, values)
            return
        if site not in self.vectors:
            self.vectors[site] = values.new_full((len(self.keys[site]), values.shape[1]), float("nan"))
        self.vectors[site][index.to(values.device)] = values
        self.filled.setdefault(site, np.zeros(len(self.keys[site]), bool))[index.cpu().numpy()] = True


class PassActivations(Activations):
    """The vectors that the prompts of one pass leave behind for its writes."""

    def __init__(self, layouts: Layouts, layout: Layout):
        super().__init__(layouts, layout.keys)
        self.layout = layout

    def slots(self, capture: g.Capture, of: g.Resume | None, pairs: np.ndarray) -> np.ndarray:
        which, tokens = self.layouts.tokens(capture.place, capture.forward, pairs)
        rows = self.layout.rows_of(capture.run, of, pairs)[which]
        return self.layout.slots(capture.place.site, rows, tokens, of)

    def pairs(self, draw: g.DrawNode) -> np.ndarray:
        return self.layout.pairs[draw]


@dataclass
class Means:
    """Running means of captured vectors: over rows, or those of one prompt template, token by token of the span, or ``pooled`` over its
    tokens. Sums and counts are those of a template, 0 where all rows are taken together."""

    layouts: Layouts
    given: GivenMaps = field(default_factory=GivenMaps)
    sums: dict[tuple[g.Average, int], Tensor] = field(default_factory=dict)
    counts: dict[tuple[g.Average, int], int] = field(default_factory=dict)
    known: set[g.Average] = field(default_factory=set)

    def __contains__(self, node: g.Average) -> bool:
        return node in self.known

    def collect(self, node: g.Average, kept: Activations, of: g.Resume | None = None) -> None:
        """Add all that is kept of a run to the sums."""
        pairs = kept.pairs(node.capture.forward.draw)
        vectors = [kept.of(capture, pairs, of) for capture in node.captures]
        if node.nodes is not None:
            numbers, read = self.given.nodes(node.nodes, vectors)
            values = numbers.of(read, vectors[-1])
        else:
            values = torch.cat(vectors, dim=1)
        if node.feature is not None:
            values, _ = self.given.of(node.feature, values).encode(values)
        values = values.double()
        self.known.add(node)
        if not node.by_template:
            self._add(node, 0, pairs, values)
            return
        templates = self.templates(node.capture.forward, pairs)
        which, _ = self.layouts.tokens(node.capture.place, node.capture.forward, pairs)
        for number in np.unique(templates).tolist():
            mine = torch.from_numpy(np.flatnonzero(templates[which] == number)).to(values.device)
            self._add(node, number, pairs[templates == number], values.index_select(0, mine))

    def templates(self, run: g.Forward, pairs: np.ndarray) -> np.ndarray:
        """The number of the prompt template of each pair in a run."""
        return self.layouts.plan.drawn[run.draw].templates(run.role)[pairs]

    def _add(self, node: g.Average, number: int, pairs: np.ndarray, values: Tensor) -> None:
        """Add the vectors of some pairs, token after token, to the sums of a template."""
        if node.pooled:
            total, count = values.sum(0, keepdim=True), len(values)
        else:
            total, count = values.view(len(pairs), -1, values.shape[1]).sum(0), len(pairs)
        key = node, number
        self.sums[key] = self.sums[key] + total if key in self.sums else total
        self.counts[key] = self.counts.get(key, 0) + count

    def of(self, node: g.Average, template: int = 0) -> Tensor:
        """The mean [tokens of the span, width], or [1, width] where pooled; ``template``: over its rows, where each has its own."""
        return self.sums[node, template] / self.counts[node, template]
