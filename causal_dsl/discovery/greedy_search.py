"""Automatic circuit discovery (ACDC, Conmy et al. 2023): parts are dropped one by one, from the logits backwards, where a loss then rises
by less than a threshold.

A part that was dropped is as in the counterfactual run from then on. The receivers are gone through from the logits to the first
layer, and of each the senders from the last to the first; of nodes the last one is the first. What a component reads that gives
nothing on any more is dropped without a pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.discovery.exact_effects import Exact, Part, PlainRuns, bare_of
from causal_dsl.discovery.part_scores import Scored
from causal_dsl.measures.per_pair import OfDistribution
from causal_dsl.measures.units import NATS
from causal_dsl.program.edge_sets import nodes_at, ports_of
from causal_dsl.program.nodes import OutputNode, stage_of
from causal_dsl.vocabulary.ports import Ports


@dataclass(eq=False)
class GreedySearch:
    """Drops ``parts`` of a network. The ``loss`` is ``kl``, of the base run from what is left, or the ``fall`` of the metric."""

    exact: Exact
    parts: Sequence[Part]
    threshold: float
    loss: str

    def __post_init__(self) -> None:
        if self.loss == "kl":
            kl = OfDistribution("kl", NATS, "kl")
            self.exact = replace(self.exact, objective=replace(self.exact.objective, metric=kl))
        self.ports: Ports = ports_of(self.exact.network.facts)
        self.held: list[PlainRuns] | None = None

    def search(self) -> Scored:
        """Of each part how much the loss rose, as a mean over the pairs, when it was dropped beside those dropped before it: what rose by
        the threshold or more was put back."""
        rises = np.zeros(len(self.parts))
        ends = self._ends()
        dropped: list[Part] = []
        bare = [bare_of(part) for part in self.parts]
        left = Counter(part[0] for part in bare if isinstance(part, tuple))
        now = 0.0 if self.loss == "kl" else -ends[0]
        for number in order_of(self.parts, self.ports):
            part = self.parts[number]
            if self._silent(part, left):
                new = now
            else:
                new = self._loss([*dropped, part])
            rises[number] = new - now
            if new - now < self.threshold:
                dropped.append(part)
                left[_sender(part)] -= 1
                now = new
        of = tuple(self.parts)
        return Scored(of, rises[None], np.ones(1), ends, (self.exact.forwards, 0.0))

    def _silent(self, part: Part, left: Counter[OutputNode]) -> bool:
        """Whether all that reads by an edge is a component that gives nothing on: all its edges are dropped."""
        bare = bare_of(part)
        if not isinstance(bare, tuple) or bare[1].kind == "logits":
            return False
        return all(left.get(node) == 0 for node in nodes_at(bare[1], self.ports))

    def _loss(self, parts: Sequence[Part]) -> float:
        total = 0.0
        for runs in self._runs():
            logits = self.exact.patched(runs, parts)
            total += float(self.exact.objective.values(logits, runs.base, runs.which).sum())
        return (total if self.loss == "kl" else -total) / max(1, len(self.exact.pairs))

    def _ends(self) -> tuple[float, float]:
        found = np.zeros(2)
        for runs in self._runs():
            for number, logits in enumerate((runs.base, runs.source)):
                found[number] += self.exact.objective.values(logits, runs.base, runs.which).sum()
        mean = found / max(1, len(self.exact.pairs))
        return float(mean[0]), float(mean[1])

    def _runs(self) -> Iterator[PlainRuns]:
        """The plain runs of all pairs: kept while they are small, else made again."""
        if self.held is not None:
            yield from self.held
            return
        exact, held, size = self.exact, list[PlainRuns](), 0
        for which in exact.pairs.batches(exact.network, exact.budget, gradients=False):
            runs = exact.plain(which, self.parts)
            size += sum(one.numel() for one in (runs.base, runs.source, *runs.values.values()))
            if size * exact.budget.size <= exact.budget.tensors / 4:
                held.append(runs)
            yield runs
        if size * exact.budget.size <= exact.budget.tensors / 4:
            self.held = held


def _sender(part: Part) -> OutputNode:
    bare = bare_of(part)
    return bare[0] if isinstance(bare, tuple) else bare


def order_of(parts: Sequence[Part], ports: Ports) -> list[int]:
    """The numbers of parts, from the logits backwards: receivers as they are numbered, and senders as they are computed."""

    def place(number: int) -> tuple[float, ...]:
        part = bare_of(parts[number])
        layer, stage = stage_of(part[0] if isinstance(part, tuple) else part)
        return (-ports.number(part[1]) if isinstance(part, tuple) else 0, -layer, -stage, -number)

    return sorted(range(len(parts)), key=place)


__all__ = ["GreedySearch", "order_of"]
