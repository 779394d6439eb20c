"""What a metric loses where one node, or what one receiver reads of it, is taken from the counterfactual run: a whole forward
pass for each, by the hooks of interventions."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from causal_dsl.discovery.input_pairs import Pairs
from causal_dsl.discovery.metric_gradient import MetricGradient
from causal_dsl.network.edges import EdgeWrite, edges_patched
from causal_dsl.network.forward import SiteRead, SiteWrite, forward
from causal_dsl.network.network import Network
from causal_dsl.planning.memory import Budget
from causal_dsl.program.edge_sets import ports_of
from causal_dsl.program.nodes import OutputNode, places_of
from causal_dsl.vocabulary.locations import Site
from causal_dsl.vocabulary.ports import Port, Reach

#: A node, or an edge from it to a port.
Part = OutputNode | tuple[OutputNode, Port]


@dataclass(eq=False)
class Exact:
    """The effects of parts of a network on a metric."""

    network: Network
    pairs: Pairs
    objective: MetricGradient
    budget: Budget
    padding: str
    forwards: float = 0.0
    #: the means of the metric in the base and the counterfactual run
    ends: tuple[float, float] = (0.0, 0.0)

    @torch.no_grad()
    def effects(self, parts: Sequence[Sequence[Part]]) -> np.ndarray:
        """How much the metric falls where these parts together are given what they give in the source, [parts, n]."""
        found = np.full((len(parts), len(self.pairs)), np.nan)
        ends = np.zeros((2, len(self.pairs)))
        for which in self.pairs.batches(self.network, self.budget, gradients=False):
            base = self._run(which, "base", (), {})[0]
            plain = self.objective.values(base, base, which)
            nodes = list(dict.fromkeys(_node(part) for group in parts for part in group))
            other, values = self._run(which, "source", nodes, {})
            ends[:, which] = plain, self.objective.values(other, base, which)
            for number, group in enumerate(parts):
                logits = self._run(which, "base", (), {part: values[_node(part)] for part in group})[0]
                found[number, which] = plain - self.objective.values(logits, base, which)
        self.ends = float(ends[0].mean()), float(ends[1].mean())
        return found

    def _run(
        self, which: np.ndarray, role: str, reads: Sequence[OutputNode], writes: dict[Part, Tensor]
    ) -> tuple[Tensor, dict[OutputNode, Tensor]]:
        rows, positions = self._tokens(which)
        given = self.pairs.rows(role, which)
        inner: list[SiteWrite] = []
        edges: list[EdgeWrite] = []
        ports = ports_of(self.network.facts)
        for part, value in writes.items():
            own = SiteWrite(_site(_node(part)), rows, positions, partial(_instead, value))
            if isinstance(part, tuple):
                edges.append(EdgeWrite(own, Reach(ports, (1 << ports.number(part[1]),))))
            else:
                inner.append(own)
        with ExitStack() as stack:
            if edges:
                stack.enter_context(edges_patched(self.network, given, edges, self.padding))
            outcome = forward(
                self.network,
                given,
                [SiteRead(_site(node), rows, positions) for node in reads],
                inner,
                readout=torch.arange(len(which)),
                positions=self.pairs.read(which) if self.network.facts.has_tokens else None,
                stop=False,
                padding=self.padding,  # type: ignore[arg-type]
            )
        self.forwards += len(which) / max(1, len(self.pairs))
        assert outcome.logits is not None
        return outcome.logits, dict(zip(reads, outcome.reads, strict=True))

    def _tokens(self, which: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """Every token of every row of a batch: its row, and its position."""
        if not self.network.facts.has_tokens:
            return torch.arange(len(which)), None
        lengths = self.pairs.lengths[which]
        rows = np.repeat(np.arange(len(which)), lengths)
        return torch.from_numpy(rows), torch.from_numpy(np.concatenate([np.arange(n) for n in lengths.tolist()]))


def _instead(value: Tensor, old: Tensor) -> Tensor:
    return value.to(old)


def _node(part: Part) -> OutputNode:
    return part[0] if isinstance(part, tuple) else part


def _site(node: OutputNode) -> Site:
    return places_of([(node, None)])[0].site


__all__ = ["Exact", "Part"]
