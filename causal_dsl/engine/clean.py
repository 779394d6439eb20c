"""Unpatched runs: each distinct prompt once, as deep as it is read, with all that anyone wants kept of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from causal_dsl.engine.memory import rows_that_fit
from causal_dsl.network.forward import Read, forward
from causal_dsl.network.network import Network
from causal_dsl.planning.inputs import Inputs
from causal_dsl.program.components import depth
from causal_dsl.program.locations import Place, Site


@dataclass
class Demand:
    """What is wanted of the unpatched runs of one network.

    ``vectors[site]`` maps (run, token) to the row in which its vector is kept; ``logits`` are the runs whose logits
    at the read-out are kept. A run is the index of an input; inputs with equal tokens are one run.
    """

    inputs: Inputs
    vectors: dict[Site, dict[tuple[int, int], int]] = field(default_factory=dict)
    logits: dict[int, int] = field(default_factory=dict)
    _wanted: dict[int, set[Site]] = field(default_factory=dict)
    _seen: set[tuple[Place, bytes]] = field(default_factory=set)

    def want(self, place: Place, rows: np.ndarray) -> None:
        """Keep the vectors of a place in the runs of ``rows`` (indices of inputs)."""
        slots = self.vectors.setdefault(place.site, {})
        for index in np.unique(rows).tolist():
            run = self.inputs.run_of(index)
            self._wanted.setdefault(run, set()).add(place.site)
            for token in self.inputs.where(place.position, index):
                slots.setdefault((run, token), len(slots))

    def want_logits(self, rows: np.ndarray) -> None:
        """Keep the logits at the read-out of the runs of ``rows``."""
        for index in np.unique(rows).tolist():
            run = self.inputs.run_of(index)
            self._wanted.setdefault(run, set())
            self.logits.setdefault(run, len(self.logits))

    @property
    def runs(self) -> list[int]:
        """Every run that is wanted for anything."""
        return list(self._wanted)

    def groups(self) -> Iterator[tuple[bool, list[int]]]:
        """Runs that go equally deep, those of like length together; True: as far as the logits."""
        by_depth: dict[tuple[bool, float], list[int]] = {}
        for run, sites in self._wanted.items():
            deepest = max((_depth(site) for site in sites), default=0.0)
            key = (True, 0.0) if run in self.logits else (False, deepest)
            by_depth.setdefault(key, []).append(run)
        for (whole, _), runs in sorted(by_depth.items(), key=lambda item: item[0]):
            yield whole, sorted(runs, key=self.inputs.length)

    def sites_of(self, run: int) -> set[Site]:
        return self._wanted[run]


def _depth(site: Site) -> float:
    found = depth(site)
    return float("inf") if found is None else found[0]


@dataclass
class Clean:
    """What the unpatched runs left behind: ``vectors[site]`` [rows, width] and ``logits`` [runs, vocabulary]."""

    demand: Demand
    vectors: dict[Site, Tensor]
    logits: Tensor | None

    def rows_of(self, site: Site, runs_and_tokens: list[tuple[int, int]]) -> Tensor:
        """The kept vectors [m, width] of (run, token) pairs."""
        slots = self.demand.vectors[site]
        index = torch.tensor([slots[key] for key in runs_and_tokens], dtype=torch.long)
        return self.vectors[site].index_select(0, index.to(self.vectors[site].device))

    def logits_of(self, rows: np.ndarray) -> Tensor:
        """The kept logits [m, vocabulary] of inputs."""
        assert self.logits is not None
        index = torch.tensor(
            [self.demand.logits[self.demand.inputs.run_of(i)] for i in rows.tolist()], dtype=torch.long
        )
        return self.logits.index_select(0, index.to(self.logits.device))


def run_clean(network: Network, demand: Demand, memory: int, tick: Callable[[int], None]) -> Clean:
    """Run what is demanded, batch by batch; ``tick`` hears the number of rows of each batch."""
    vectors: dict[Site, Tensor] = {}
    logits: Tensor | None = None
    for whole, runs in demand.groups():
        for batch in batches(demand.inputs, runs, network, memory, whole):
            reads, slots = _reads(demand, batch)
            outcome = forward(
                network, forward_inputs(demand.inputs, batch, network), reads, [],
                readout=torch.arange(len(batch)) if whole else None, stop=not whole, padding=network.padding,
            )  # fmt: skip
            for (site, index), read, raw in zip(slots, reads, outcome.reads, strict=True):
                values = _own_keys(raw, site, [demand.inputs.length(batch[row]) for row in read.rows.tolist()])
                if site not in vectors:
                    vectors[site] = values.new_empty((len(demand.vectors[site]), values.shape[1]))
                vectors[site][index.to(values.device)] = values
            if whole:
                assert outcome.logits is not None
                if logits is None:
                    logits = outcome.logits.new_empty((len(demand.logits), outcome.logits.shape[1]))
                logits[torch.tensor([demand.logits[run] for run in batch])] = outcome.logits
            tick(len(batch))
    return Clean(demand, vectors, logits)


def _own_keys(values: Tensor, site: Site, lengths: list[int]) -> Tensor:
    """Attention weights come as wide as the longest prompt of their batch: cut them to their own prompts' length."""
    if site.component != "pattern":
        return values
    heads = len(site.heads)
    return values.reshape(len(values), heads, -1)[:, :, : lengths[0]].reshape(len(values), -1)


def _reads(demand: Demand, batch: list[int]) -> tuple[list[Read], list[tuple[Site, Tensor]]]:
    """The reads of a batch, and the rows of the store in which each of them goes."""
    row_of = {run: row for row, run in enumerate(batch)}
    reads, slots = [], []
    for site, wanted in demand.vectors.items():
        here = [(row_of[run], token, slot) for (run, token), slot in wanted.items() if run in row_of]
        if here:
            rows, tokens, kept = (torch.tensor(column, dtype=torch.long) for column in zip(*here, strict=True))
            reads.append(Read(site, rows, tokens))
            slots.append((site, kept))
    return reads, slots


def batches(inputs: Inputs, runs: list[int], network: Network, memory: int, logits: bool) -> Iterator[list[int]]:
    """Cut runs, sorted by length, into batches that fit the memory."""
    start = 0
    while start < len(runs):
        # Sorted by length: the last of a batch is the longest, and says how wide the batch is.
        size = max(1, rows_that_fit(network, inputs.length(runs[start]), memory, logits))
        while (
            size > 1
            and rows_that_fit(network, inputs.length(runs[min(start + size, len(runs)) - 1]), memory, logits) < size
        ):
            size -= max(1, size // 8)
        yield runs[start : start + size]
        start += size


def forward_inputs(inputs: Inputs, batch: list[int], network: Network) -> list[list[int]] | Tensor:
    """The inputs of a batch as the network reads them: lists of token ids, or a float tensor [m, width]."""
    if inputs.sequence:
        return [list(inputs.ids(index)) for index in batch]
    return torch.tensor(
        np.stack([inputs.vectors[index] for index in batch]), dtype=network.dtype, device=network.device
    )
