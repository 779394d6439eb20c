"""How much each node or edge adds to a metric, by gradients.

A sender gives ``a`` in the base run and ``a'`` in the counterfactual one. ``(a - a')`` times the gradient of the metric, by what a
sender gives (attribution patching, Nanda 2023) or by what one receiver reads of it (edge attribution patching, Syed et al.
2023), is how much the metric would fall, to first order, if it gave ``a'``: what it adds to the metric has a positive score.
EAP-IG (Hanna et al. 2024) takes the mean of the gradients along a path between the runs: of the embedding (``inputs``),
or of each stage's own output (``activations``); the latter is integrated gradients (Sundararajan et al. 2017) at that stage.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from causal_dsl.discovery.input_pairs import Pairs
from causal_dsl.discovery.metric_gradient import MetricGradient
from causal_dsl.discovery.traced_runs import RunTrace, Stage, Tracer, sent
from causal_dsl.network.network import Network
from causal_dsl.network.site_tensors import tap as find_tap
from causal_dsl.planning.memory import Budget
from causal_dsl.program.edge_sets import every_edge
from causal_dsl.program.nodes import OutputNode, universe
from causal_dsl.vocabulary.locations import Site
from causal_dsl.vocabulary.ports import Port

_SITES = {"embed": "embed", "head": "z", "mlp": "mlp_out", "neuron": "neurons", "input": "input", "unit": "out"}
#: Numbers that the scores of all groups of pairs may hold.
_MOST = 2**25


@dataclass(frozen=True)
class Way:
    """How gradients are taken: at the base run (no ``steps``), or at points of a ``path`` between the two runs, by a ``rule``
    (``midpoint``, or ``left``: from the counterfactual run on, without the base run)."""

    steps: int = 0
    path: str = "inputs"
    rule: str = "midpoint"

    @property
    def points(self) -> tuple[float, ...]:
        """Where on the way from the counterfactual run (0) to the base run (1)."""
        shift = 0.5 if self.rule == "midpoint" else 0.0
        return tuple((k + shift) / self.steps for k in range(self.steps))


@dataclass(eq=False)
class Scored:
    """``of[j]`` are nodes, or edges (a node and a port), and ``groups`` [g, j] the means of their scores over each group of pairs, with
    ``weights`` [g] pairs. ``ends`` are the means of the metric in the base and the counterfactual run. ``passes``: how often all pairs
    were run forwards and backwards."""

    of: tuple[OutputNode, ...] | tuple[tuple[OutputNode, Port], ...]
    groups: np.ndarray
    weights: np.ndarray
    ends: tuple[float, float]
    passes: tuple[float, float]

    @property
    def means(self) -> np.ndarray:
        """The mean of each over all pairs."""
        found: np.ndarray = self.weights @ self.groups / self.weights.sum()
        return found


@dataclass(eq=False)
class PartScorer:
    """Scores of the components of a network on some pairs: of the nodes of some ``kinds``."""

    network: Network
    pairs: Pairs
    objective: MetricGradient
    budget: Budget
    kinds: tuple[str, ...]
    padding: str = "right"
    forwards: float = field(default=0.0, init=False)
    backwards: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        facts = self.network.facts
        #: an MLP is looked at whole, or by its neurons
        parts = [OutputNode("neuron", layer, 0) for layer in range(facts.layers or 0)] if "neuron" in self.kinds else []
        kinds = [*self.kinds, *(["mlp"] if "neuron" in self.kinds else [])]
        self.nodes = universe(facts, kinds, parts) or ()
        order = dict.fromkeys((_SITES[node.kind], node.layer) for node in self.nodes)
        self.start: Stage = ("embed", -1) if facts.has_tokens else ("input", -1)
        #: the stages whose outputs are looked at, and the first of all
        self.senders: tuple[Stage, ...] = tuple(order)
        self.tracer = Tracer(self.network, tuple(dict.fromkeys([self.start, *order])), self.padding)
        self.at: dict[Stage, list[int]] = {stage: [] for stage in order}
        for number, node in enumerate(self.nodes):
            self.at[_SITES[node.kind], node.layer].append(number)

    # ── runs ────────────────────────────────────────────────────────────────────────────────────

    def _plain(self, which: np.ndarray) -> tuple[RunTrace, RunTrace]:
        """The runs of base and source of some pairs, without gradients."""
        return self.run(which, "base"), self.run(which, "source")

    def run(self, which: np.ndarray, role: str = "base", **more: object) -> RunTrace:
        """A run of some pairs; ``more`` is what :meth:`Tracer.run` is given."""
        self.count(len(which), 1, 1 if more.get("start") is not None else 0)
        read = self.pairs.read(which) if self.network.facts.has_tokens else None
        return self.tracer.run(self.pairs.rows(role, which), read, **more)  # type: ignore[arg-type]

    def count(self, rows: int, forwards: float, backwards: float) -> None:
        """Note that so many rows were run."""
        share = rows / max(1, len(self.pairs))
        self.forwards += forwards * share
        self.backwards += backwards * share

    def _traced(
        self, way: Way, which: np.ndarray, base: RunTrace | None, source: RunTrace, ports: bool
    ) -> Iterator[tuple[RunTrace, float, tuple[Stage, ...]]]:
        """The runs in which gradients are taken, each with its weight and the stages whose scores it gives."""
        if not way.steps:
            yield self.run(which, start=self.start, ports=ports), 1.0, self.senders
            return
        assert base is not None
        for stage in [self.start] if way.path == "inputs" else self.senders:
            for point in way.points:
                own, other = base.given[stage], source.given[stage]
                mixed = other + point * (own - other)
                trace = self.run(which, start=stage, instead={stage: mixed}, ports=ports)
                yield trace, 1 / way.steps, self.senders if way.path == "inputs" else (stage,)

    # ── nodes ───────────────────────────────────────────────────────────────────────────────────

    @torch.enable_grad()
    def score_nodes(self, way: Way) -> Scored:
        """A score of every node, for each pair by itself."""
        found = np.zeros((len(self.pairs), len(self.nodes)))
        ends = np.zeros((2, len(self.pairs)))
        for which in self.pairs.batches(self.network, self.budget, gradients=True):
            source = self.run(which, "source")
            base = self.run(which) if way.steps else None
            for trace, weight, stages in self._traced(way, which, base, source, ports=False):
                plain = base if base is not None else trace
                total = self.objective.total(trace.logits, plain.logits.detach(), which)
                tensors = [trace.given[stage] for stage in stages]
                grads = torch.autograd.grad(total, tensors, allow_unused=True)
                for stage, grad in zip(stages, grads, strict=True):
                    if grad is not None:
                        change = plain.given[stage].detach() - source.given[stage]
                        found[np.ix_(which, np.array(self.at[stage]))] += weight * self._node_scores(
                            stage, change * grad, which
                        )
            ends[:, which] = self._ends(which, plain.logits.detach(), source.logits)
        return Scored(self.nodes, found, np.ones(len(self.pairs)), _means(ends), (self.forwards, self.backwards))

    def _node_scores(self, stage: Stage, products: Tensor, which: np.ndarray) -> np.ndarray:
        """The sums of products [rows, tokens, width] that belong to each node of a stage [rows, nodes]."""
        mask = self.pairs.mask(which, self.padding)
        wide = products.double()
        if mask is not None:
            wide = torch.where(mask.to(wide.device), wide, 0.0).sum(dim=1)
        if stage[0] == "z":
            heads = self.network.facts.heads or 1
            columns = [find_tap(self.network, Site("z", stage[1], (head,))).columns for head in range(heads)]
            wide = torch.stack([wide.sum(-1) if c is None else wide[:, c.to(wide.device)].sum(-1) for c in columns], 1)
        elif stage[0] in ("embed", "mlp_out"):
            wide = wide.sum(dim=1, keepdim=True)
        return wide.cpu().numpy()

    def _ends(self, which: np.ndarray, base: Tensor, source: Tensor) -> np.ndarray:
        return np.stack([self.objective.values(one, base, which) for one in (base, source)])

    @cached_property
    def edges(self) -> tuple[tuple[OutputNode, Port], ...]:
        """All edges that begin at these nodes."""
        found = every_edge(self.network.facts, self.kinds)
        return () if found is None else tuple((node, port) for node, port, _ in found)

    # ── edges ───────────────────────────────────────────────────────────────────────────────────

    @torch.enable_grad()
    def score_edges(self, way: Way) -> Scored:
        """A score of every edge, for groups of pairs: of each layer that is read, one product of matrices with what each
        layer before it gives."""
        ports = {port: number for number, port in enumerate(self.tracer.ports)}
        groups = max(1, min(len(self.pairs), _MOST // max(1, len(self.nodes) * len(ports))))
        group = torch.arange(len(self.pairs)) * groups // max(1, len(self.pairs))
        found = torch.zeros(groups, len(self.nodes), len(ports), dtype=torch.float64)
        ends = np.zeros((2, len(self.pairs)))
        for which in self.pairs.batches(self.network, self.budget, gradients=True):
            source = self.run(which, "source")
            base = self.run(which) if way.steps else None
            mine = group[torch.from_numpy(which.copy())]
            for trace, weight, stages in self._traced(way, which, base, source, ports=True):
                plain = base if base is not None else trace
                total = self.objective.total(trace.logits, plain.logits.detach(), which)
                held: list[tuple[tuple[Port, ...], Tensor]] = []
                room = self.budget.tensors / 4
                for read, grad in self.tracer.port_gradients(trace, total):
                    held.append((read, grad))
                    if sum(g.numel() for _, g in held) * self.budget.size > room:
                        self._contract(held, stages, plain, source, which, mine, weight, ports, found)
                        held = []
                self._contract(held, stages, plain, source, which, mine, weight, ports, found)
            ends[:, which] = self._ends(which, plain.logits.detach(), source.logits)
        counts = np.bincount(group.numpy(), minlength=groups).astype(float)
        numbers = {node: number for number, node in enumerate(self.nodes)}
        named = self.edges
        picked = found.numpy()[:, [numbers[node] for node, _ in named], [ports[port] for _, port in named]]
        picked = picked / counts[:, None]
        return Scored(named, picked, counts, _means(ends), (self.forwards, self.backwards))

    @torch.no_grad()
    def _contract(
        self,
        held: Sequence[tuple[tuple[Port, ...], Tensor]],
        stages: Sequence[Stage],
        plain: RunTrace,
        source: RunTrace,
        which: np.ndarray,
        group: Tensor,
        weight: float,
        ports: dict[Port, int],
        found: Tensor,
    ) -> None:
        """Add the products of what senders change and what gradients receivers have, summed over tokens, to their groups."""
        if not held:
            return
        mask = self.pairs.mask(which, self.padding)
        assert mask is not None
        last = max(100_000 if read[0].kind == "logits" else read[0].layer for read, _ in held)
        for stage in stages:
            if stage[1] > last:
                continue
            change = -sent(self.network, stage, plain.given[stage].detach(), source.given[stage])
            change = torch.where(mask[..., None].to(change.device), change, 0)
            rows, tokens, count, width = change.shape
            left = change.transpose(1, 2).reshape(rows, count, tokens * width)
            for read, grad in held:
                if read[0].kind != "logits" and stage[1] > read[0].layer:
                    continue
                right = torch.where(mask.to(grad.device), grad, 0).transpose(0, 1)
                right = right.reshape(rows, len(read), tokens * width).to(left)
                product = torch.bmm(left, right.transpose(1, 2)).double().cpu() * weight
                numbers = torch.tensor([ports[port] for port in read])
                here = torch.tensor(self.at[stage])
                summed = torch.zeros(len(found), count, len(read), dtype=torch.float64).index_add_(0, group, product)
                found[:, here[:, None], numbers[None, :]] += summed


def _means(ends: np.ndarray) -> tuple[float, float]:
    return float(ends[0].mean()), float(ends[1].mean())


__all__ = ["PartScorer", "Scored", "Way"]
