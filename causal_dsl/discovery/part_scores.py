"""How much each node or edge adds to a metric, by gradients.

A sender gives ``a`` in the base run and ``a'`` in the counterfactual one. ``(a - a')`` times the gradient of the metric, by what a
sender gives (attribution patching, Nanda 2023) or by what one receiver reads of it (edge attribution patching, Syed et al.
2023), is how much the metric would fall, to first order, if it gave ``a'``: what it adds to the metric has a positive score.
EAP-IG (Hanna et al. 2024) takes the mean of the gradients along a path between the runs: of the embedding (``inputs``),
or of each stage's own output (``activations``); the latter is integrated gradients (Sundararajan et al. 2017) at that stage.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.discovery.exact_effects import AtToken, Part
from causal_dsl.discovery.input_pairs import Pairs
from causal_dsl.discovery.metric_gradient import MetricGradient
from causal_dsl.discovery.traced_runs import RunTrace, Stage, Tracer, sent
from causal_dsl.network.network import Network
from causal_dsl.network.site_tensors import tap as find_tap
from causal_dsl.planning.memory import Budget
from causal_dsl.program.edge_sets import every_edge
from causal_dsl.program.nodes import SITES, OutputNode, universe
from causal_dsl.vocabulary.discovery_methods import points_of
from causal_dsl.vocabulary.locations import Position, Site
from causal_dsl.vocabulary.ports import Port

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
        return points_of(self.steps, self.rule)


@dataclass(eq=False)
class Scored:
    """``of[j]`` are nodes, or edges (a node and a port), and ``groups`` [g, j] the means of their scores over each group of pairs, with
    ``weights`` [g] pairs. ``ends`` are the means of the metric in the base and the counterfactual run. ``passes``: how often all pairs
    were run forwards and backwards."""

    of: Sequence[Part]
    groups: np.ndarray
    weights: np.ndarray
    ends: tuple[float, float]
    passes: tuple[float, float]
    #: of which parts what is learned had no gradient in any step
    still: tuple[int, ...] = ()

    @property
    def means(self) -> np.ndarray:
        """The mean of each over all pairs."""
        found: np.ndarray = self.weights @ self.groups / self.weights.sum()
        return found


@dataclass(eq=False)
class PartScorer:
    """Scores of the components of a network on some pairs: of the nodes of some ``kinds``; with ``places`` of each at these tokens by
    itself."""

    network: Network
    pairs: Pairs
    objective: MetricGradient
    budget: Budget
    kinds: tuple[str, ...]
    padding: str = "right"
    places: tuple[Position, ...] = ()
    forwards: float = field(default=0.0, init=False)
    backwards: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        facts = self.network.facts
        #: an MLP is looked at whole, or by its neurons
        parts = [OutputNode("neuron", layer, 0) for layer in range(facts.layers or 0)] if "neuron" in self.kinds else []
        kinds = [*self.kinds, *(["mlp"] if "neuron" in self.kinds else [])]
        self.nodes = universe(facts, kinds, parts) or ()
        order = dict.fromkeys((SITES[node.kind], node.layer) for node in self.nodes)
        self.start: Stage = (facts.traits.start, -1)
        #: the stages whose outputs are looked at, and the first of all
        self.senders: tuple[Stage, ...] = tuple(order)
        self.tracer = Tracer(self.network, tuple(dict.fromkeys([self.start, *order])), self.padding)
        self.at: dict[Stage, list[int]] = {stage: [] for stage in order}
        for number, node in enumerate(self.nodes):
            self.at[SITES[node.kind], node.layer].append(number)
        #: the tokens at which parts are looked at: all together, or some
        self.tokens: tuple[Position | None, ...] = self.places or (None,)
        self._means: dict[tuple[Stage, Position | None], Tensor] = {}

    # ── runs ────────────────────────────────────────────────────────────────────────────────────

    def _plain(self, which: np.ndarray) -> tuple[RunTrace, RunTrace]:
        """The runs of base and source of some pairs, without gradients."""
        return self.run(which, "base"), self.run(which, "source")

    def run(self, which: np.ndarray, role: str = "base", **more: object) -> RunTrace:
        """A run of some pairs; ``more`` is what :meth:`Tracer.run` is given."""
        self.count(len(which), 1, 1 if more.get("start") is not None else 0)
        return self.tracer.run(self.pairs.rows(role, which), self.pairs.read(which, role), **more)  # type: ignore[arg-type]

    def counterfactual(self, which: np.ndarray) -> RunTrace:
        """The stand-in for what is taken away: a run on the source, or means or zeros, with the logits of the base run whose first
        stage is replaced by them."""
        if self.pairs.instead == "run":
            return self.run(which, "source")
        given: dict[Stage, Tensor] = {}
        shape = self.run(which).given
        for stage, own in shape.items():
            mean = self._mean(stage, None)
            given[stage] = mean.expand_as(own) if len(mean) == 1 or own.dim() == 2 else mean[None].expand_as(own)
        trace = self.run(which, instead={self.start: given[self.start]})
        return RunTrace(trace.logits, given)

    @torch.no_grad()
    def _mean(self, stage: Stage, position: Position | None) -> Tensor:
        """The mean of what a stage gives over all sources: a vector for each token, or one for all [k, width]."""
        if (stage, position) not in self._means:
            sums: dict[Stage, Tensor] = {}
            count = 0
            for which in self.pairs.batches(self.network, self.budget, gradients=False):
                spots = self.pairs.spots("source", position, which)
                index = self.pairs.columns("source", spots, which, self.padding)
                each = self.pairs.instead == "mean"
                for one, values in self.run(which, "source").given.items():
                    picked = values[tuple(i.to(values.device) for i in index)].double()
                    rows = picked.view(len(which), -1, picked.shape[-1]) if each else picked[:, None]
                    sums[one] = sums.get(one, 0) + rows.sum(dim=0)
                count += len(which) if each else len(spots[0])
            for one, total in sums.items():
                mean = total / count if self.pairs.instead != "zero" else torch.zeros_like(total[:1])
                self._means[one, position] = mean.to(self.network.dtype)
        return self._means[stage, position]

    def otherwise(
        self, stage: Stage, position: Position | None, own: Tensor, source: RunTrace, which: np.ndarray
    ) -> Tensor:
        """``own``, with what stands otherwise at the tokens of a position (None: at all)."""
        other = source.given[stage]
        if position is None:
            return other
        here = self.pairs.columns("base", self.pairs.spots("base", position, which), which, self.padding)
        if self.pairs.instead == "run":
            there = self.pairs.columns("source", self.pairs.spots("source", position, which), which, self.padding)
            values = other[tuple(i.to(other.device) for i in there)]
        else:
            mean = self._mean(stage, position)
            each = len(here[0]) // max(1, len(which))
            values = mean.expand(len(here[0]), -1) if len(mean) == 1 else mean[torch.arange(len(here[0])) % each]
        return own.index_put(tuple(i.to(own.device) for i in here), values.to(own))

    def parts(self, edges: bool) -> tuple[Part, ...]:
        """All nodes, or all edges; of several tokens each at one after the other."""
        bare: Sequence[OutputNode | tuple[OutputNode, Port]] = self.edges if edges else self.nodes
        return tuple(part if at is None else AtToken(part, at) for part in bare for at in self.tokens)

    def summed(self, scored: Scored) -> np.ndarray:
        """Scores of the nodes, without tokens: their own, or those of the edges that begin at each, added up [nodes]."""
        numbers = {node: number for number, node in enumerate(self.nodes)}
        found = np.zeros(len(self.nodes))
        for part, score in zip(scored.of, scored.means.tolist(), strict=True):
            assert not isinstance(part, AtToken)
            found[numbers[part[0] if isinstance(part, tuple) else part]] += score
        return found

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
        count = len(self.tokens)
        found = np.zeros((len(self.pairs), len(self.nodes) * count))
        ends = np.zeros((2, len(self.pairs)))
        for which in self.pairs.batches(self.network, self.budget, gradients=True):
            source = self.counterfactual(which)
            base = self.run(which) if way.steps else None
            for trace, weight, stages in self._traced(way, which, base, source, ports=False):
                plain = base if base is not None else trace
                total = self.objective.total(trace.logits, plain.logits.detach(), which)
                tensors = [trace.given[stage] for stage in stages]
                grads = torch.autograd.grad(total, tensors, allow_unused=True)
                for stage, grad in zip(stages, grads, strict=True):
                    for turn, position in enumerate(self.tokens if grad is not None else ()):
                        assert grad is not None
                        own = plain.given[stage].detach()
                        change = own - self.otherwise(stage, position, own, source, which)
                        here = np.array(self.at[stage]) * count + turn
                        found[np.ix_(which, here)] += weight * self._node_scores(stage, change * grad, which)
            ends[:, which] = self._ends(which, plain.logits.detach(), source.logits)
        return Scored(self.parts(False), found, np.ones(len(self.pairs)), _means(ends), (self.forwards, self.backwards))

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

    @property
    def _turns(self) -> range:
        return range(len(self.tokens))

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
        groups = max(1, min(len(self.pairs), _MOST // max(1, len(self.nodes) * len(self.tokens) * len(ports))))
        group = torch.arange(len(self.pairs)) * groups // max(1, len(self.pairs))
        found = torch.zeros(groups, len(self.nodes) * len(self.tokens), len(ports), dtype=torch.float64)
        ends = np.zeros((2, len(self.pairs)))
        for which in self.pairs.batches(self.network, self.budget, gradients=True):
            source = self.counterfactual(which)
            base = self.run(which) if way.steps else None
            mine = group[torch.from_numpy(which.copy())]
            for trace, weight, stages in self._traced(way, which, base, source, ports=True):
                plain = base if base is not None else trace
                total = self.objective.total(trace.logits, plain.logits.detach(), which)
                held: list[tuple[tuple[Port, ...], Tensor]] = []
                room = self.budget.tensors / 4
                for read, grad in self.tracer.port_gradients(trace, total):
                    held.append((read, self._by_row(grad.transpose(0, 1), which)))
                    if sum(g.numel() for _, g in held) * self.budget.size > room:
                        self._contract(held, stages, plain, source, which, mine, weight, ports, found)
                        held = []
                self._contract(held, stages, plain, source, which, mine, weight, ports, found)
            ends[:, which] = self._ends(which, plain.logits.detach(), source.logits)
        counts = np.bincount(group.numpy(), minlength=groups).astype(float)
        numbers = {node: number for number, node in enumerate(self.nodes)}
        rows = np.array([numbers[node] for node, _ in self.edges], dtype=np.int64)
        columns = np.array([ports[port] for _, port in self.edges], dtype=np.int64)
        at = np.add.outer(rows * len(self.tokens), np.arange(len(self.tokens))).ravel()
        picked = found.numpy()[:, at, columns.repeat(len(self.tokens))]
        picked = picked / counts[:, None]
        return Scored(self.parts(True), picked, counts, _means(ends), (self.forwards, self.backwards))

    @torch.no_grad()
    def _by_row(self, values: Tensor, which: np.ndarray) -> Tensor:
        """Vectors [rows, parts, tokens, width] of some pairs as one of all tokens [rows, parts, tokens * width], 0 at those that are not there."""
        mask = self.pairs.mask(which, self.padding)
        assert mask is not None
        if not bool(mask.all()):
            values = torch.where(mask[:, None].to(values.device), values, 0)
        return values.reshape(*values.shape[:2], -1)

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
        """Add the products of what senders change and what gradients receivers have (``held``: [rows, receivers, tokens * width]), summed over
        tokens, to their groups."""
        if not held:
            return
        last = max(100_000 if read[0].kind == "logits" else read[0].layer for read, _ in held)
        for stage, turn in ((stage, turn) for stage in stages for turn in self._turns):
            if stage[1] > last:
                continue
            own = plain.given[stage].detach()
            change = -sent(self.network, stage, own, self.otherwise(stage, self.tokens[turn], own, source, which))
            left = self._by_row(change.transpose(1, 2), which)
            count = left.shape[1]
            here = torch.tensor(self.at[stage]) * len(self.tokens) + turn
            for read, right in held:
                if read[0].kind != "logits" and stage[1] > read[0].layer:
                    continue
                product = torch.bmm(left, right.to(left).transpose(1, 2)).double().cpu() * weight
                numbers = torch.tensor([ports[port] for port in read])
                summed = torch.zeros(len(found), count, len(read), dtype=torch.float64).index_add_(0, group, product)
                found[:, here[:, None], numbers[None, :]] += summed


def _means(ends: np.ndarray) -> tuple[float, float]:
    return float(ends[0].mean()), float(ends[1].mean())


__all__ = ["PartScorer", "Scored", "Way"]
