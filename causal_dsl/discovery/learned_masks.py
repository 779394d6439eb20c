"""Masks of nodes or edges that are learned (subnetwork probing, Cao et al. 2021; edge pruning, Bhaskar et al. 2024).

Each part has a gate between 0 and 1: what it gives is the gate's share of itself in this run, and for the rest what the counterfactual
run gives. Gates are hard-concrete (Louizos et al. 2018), so that they can be exactly 0 or 1 and still have gradients. What is
minimised is the mean KL(base run ‖ masked run) plus ``sparsity`` times the share of gates that are expected to be open.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from causal_dsl.base.counter import Stream
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.discovery.exact_effects import Part, is_straight
from causal_dsl.discovery.input_pairs import Pairs
from causal_dsl.discovery.part_scores import PartScorer, Scored
from causal_dsl.discovery.traced_runs import RunTrace, Stage, sent, site_of
from causal_dsl.network.edges import Edges, EdgeWrite
from causal_dsl.network.forward import forward, hook_tensor
from causal_dsl.network.network import Network
from causal_dsl.network.site_tensors import tap as find_tap
from causal_dsl.network.tape import SiteWrite
from causal_dsl.program.edge_sets import ports_of
from causal_dsl.program.nodes import OutputNode
from causal_dsl.vocabulary.locations import Site
from causal_dsl.vocabulary.ports import Port, Reach

#: The gates' temperature and how far they are stretched beyond 0 and 1 (Louizos et al. 2018), and where their logits begin.
TEMPERATURE, LOW, HIGH, BEGIN = 2 / 3, -0.1, 1.1, 2.0
#: A gradient is none that is never more than this share of the largest of all.
_STILL = 1e-9


@dataclass(eq=False)
class LearnedMasks:
    """Learns a gate for each part of ``of``: its edges, or its nodes. ``say`` hears of every tenth step."""

    of: PartScorer
    edges: bool
    steps: int
    rate: float
    sparsity: float
    batch: int
    seed: int
    say: Callable[[str], None] = lambda said: None
    #: the plain runs of batches, while they are small
    held: dict[int, tuple[RunTrace, RunTrace]] = field(default_factory=dict)
    size: int = 0

    def learn(self) -> Scored:
        """How likely each gate is to be open in the end."""
        of = self.of
        parts: Sequence[Part] = of.parts(self.edges)
        batches = list(self._batches())
        logits = torch.full((len(parts),), BEGIN, requires_grad=True)
        optimizer = torch.optim.Adam([logits], lr=self.rate)
        noise = Stream(self.seed, "gates")
        moved = torch.zeros(len(parts))

        def met(gradient: Tensor) -> None:
            torch.maximum(moved, gradient.detach().abs().to(moved), out=moved)

        order: list[int] = []
        for step in range(self.steps):
            if not order:
                order = Stream(self.seed, "batches", step).shuffled(np.arange(len(batches))).tolist()
            number = order.pop()
            if step % 10 == 0:
                self.say(f"masks: step {step} of {self.steps}")
            with torch.enable_grad():
                uniform = torch.from_numpy(noise.unit(len(parts))).clamp(1e-6, 1 - 1e-6).to(logits)
                gates = stretched(torch.sigmoid((uniform.log() - (1 - uniform).log() + logits) / TEMPERATURE))
                gates.register_hook(met)  # the penalty goes around them: this is the gradient of the divergence alone
                loss = self._divergence(number, batches[number], gates) + self.sparsity * opened(logits).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        scores = opened(logits.detach()).double().numpy()
        still = tuple(torch.nonzero(moved <= _STILL * moved.max())[:, 0].tolist())
        ends = self._ends(batches)
        return Scored(tuple(parts), scores[None], np.ones(1), ends, (of.forwards, of.backwards), still)

    def _batches(self) -> Iterator[np.ndarray]:
        """The pairs in batches of one number that stay the same, those of like length together."""
        for which in self.of.pairs.batches(self.of.network, self.of.budget, gradients=True):
            yield from (which[start : start + self.batch] for start in range(0, len(which), self.batch))

    def _plain(self, number: int, which: np.ndarray) -> tuple[RunTrace, RunTrace]:
        """The plain runs of a batch, of base and source."""
        if number in self.held:
            return self.held[number]
        runs = self.of.run(which), self.of.counterfactual(which)
        self.size += sum(one.numel() for run in runs for one in (run.logits, *run.given.values()))
        if self.size * self.of.budget.size <= self.of.budget.tensors / 4:
            self.held[number] = runs
        return runs

    def _divergence(self, number: int, which: np.ndarray, gates: Tensor) -> Tensor:
        """The mean KL of the base runs from the runs under the gates."""
        base, source = self._plain(number, which)
        network, pairs = self.of.network, self.of.pairs
        hooked = edges_masked if self.edges else nodes_masked
        self.of.count(len(which), 1, 1)
        with hooked(self.of, pairs, which, source, gates):
            found = forward(
                network,
                pairs.rows("base", which),
                readout=torch.arange(len(which)),
                positions=pairs.read(which),
                stop=False,
                padding=self.of.padding,  # type: ignore[arg-type]
            )
        assert found.logits is not None
        plain = base.logits.float().log_softmax(dim=1)
        masked = found.logits.float().log_softmax(dim=1)
        return (plain.exp() * (plain - masked)).sum(dim=1).mean().to(gates)

    def _ends(self, batches: Sequence[np.ndarray]) -> tuple[float, float]:
        found = np.zeros(2)
        for number, which in enumerate(batches):
            base, source = self._plain(number, which)
            for end, run in enumerate((base, source)):
                found[end] += self.of.objective.values(run.logits, base.logits, which).sum()
        mean = found / max(1, len(self.of.pairs))
        return float(mean[0]), float(mean[1])


def stretched(soft: Tensor) -> Tensor:
    """Gates between 0 and 1, of which some are exactly one of these."""
    return (soft * (HIGH - LOW) + LOW).clamp(0, 1)


def opened(logits: Tensor) -> Tensor:
    """How likely gates are not 0."""
    return torch.sigmoid(logits - TEMPERATURE * math.log(-LOW / HIGH))


# ── masked runs ─────────────────────────────────────────────────────────────────────────────────


@contextmanager
def nodes_masked(of: PartScorer, pairs: Pairs, which: np.ndarray, source: RunTrace, gates: Tensor) -> Iterator[None]:
    """Within, what each node gives in a run is its gate's share of that, and for the rest what it gives in ``source``."""

    def masked(stage: Stage) -> Callable[[Tensor], Tensor]:
        def act(tensor: Tensor) -> Tensor:
            found = tensor
            for turn, position in enumerate(of.tokens):
                own = gates[torch.tensor(of.at[stage]) * len(of.tokens) + turn]
                share = _spread(of.network, stage, own, tensor.shape[-1]).to(tensor)
                found = found + (1 - share) * (of.otherwise(stage, position, tensor, source, which) - tensor)
            return found

        return act

    handles = []
    try:
        for stage in of.senders:
            place = find_tap(of.network, site_of(stage))
            handles.append(hook_tensor(place.module, place.side, masked(stage)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _spread(network: Network, stage: Stage, gates: Tensor, width: int) -> Tensor:
    """Gates of the nodes of a stage as numbers for each of its coordinates, or one for all."""
    if stage[0] != "z":
        return gates
    found = gates.new_ones(width)
    for head, gate in enumerate(gates):
        columns = find_tap(network, Site("z", stage[1], (head,))).columns
        found = gate.expand(width) if columns is None else found.index_put((columns.to(gates.device),), gate)
    return found


@contextmanager
def edges_masked(of: PartScorer, pairs: Pairs, which: np.ndarray, source: RunTrace, gates: Tensor) -> Iterator[None]:
    """Within, what each receiver reads of a sender is the gate's share of what it gives, and for the rest what it gives in ``source``."""
    batch = of.network.given.batch(of.network, pairs.rows("base", which), of.padding)  # type: ignore[arg-type]
    with _SoftEdges(of, batch, source, which, gates).hooked():
        yield


class _SoftEdges(Edges):
    """Every receiver reads what every sender gives through a gate of their own."""

    def __init__(self, of: PartScorer, batch: Any, source: RunTrace, which: np.ndarray, gates: Tensor):
        ports = ports_of(of.network.facts)
        masks: dict[OutputNode, int] = {}
        for node, port in of.edges:
            masks[node] = masks.get(node, 0) | 1 << ports.number(port)
        writes = []
        for stage in of.senders:
            heads = [masks.get(of.nodes[number], 0) for number in of.at[stage]]
            site = Site("z", stage[1], tuple(range(len(heads)))) if stage[0] == "z" else site_of(stage)
            write = SiteWrite(site, torch.zeros(0, dtype=torch.long), None, lambda old: old)
            writes.append(EdgeWrite(write, Reach(ports, tuple(heads))))
        super().__init__(of.network, batch, writes)
        self.of, self.source, self.which = of, source, which
        index, turns = {node: number for number, node in enumerate(of.nodes)}, range(len(of.tokens))
        rows = torch.tensor([index[node] * len(turns) + turn for node, _ in of.edges for turn in turns])
        columns = torch.tensor([ports.number(port) for _, port in of.edges for _ in turns])
        #: how far each edge is closed: [senders at tokens, receivers], 0 where there is none
        self.closed = gates.new_zeros(len(of.nodes) * len(turns), len(ports)).index_put((rows, columns), 1 - gates)
        #: of each stage and tokens: what it gives, what it would give there, and the difference in the stream for each sender
        self.terms: list[tuple[Stage, int, Tensor, Tensor, Tensor | None]] = []

    def note(self, component: str, layer: int | None, tensor: Tensor, mine: Sequence[int]) -> None:
        stage = (component, -1 if layer is None else layer)
        straight = stage[0] != "z" or is_straight(self.network, (OutputNode("head", stage[1], 0), Port("logits")))
        for turn, position in enumerate(self.of.tokens):
            other = self.of.otherwise(stage, position, tensor, self.source, self.which)
            self.inner = True
            try:
                terms = sent(self.network, stage, tensor, other) if straight else None
            finally:
                self.inner = False
            self.terms.append((stage, turn, tensor, other, terms))

    def given(self, ports: Sequence[Port], stream: Tensor) -> Iterator[tuple[list[Port], Tensor]]:
        every = ports_of(self.network.facts)
        numbers = [every.number(port) for port in ports]
        sums: list[Tensor | None] = [None] * len(ports)
        mixed: dict[Stage, list[tuple[Tensor, Tensor, Tensor]]] = {}
        for stage, turn, tensor, other, terms in self.terms:
            closed = self.closed[torch.tensor(self.of.at[stage]) * len(self.of.tokens) + turn][:, numbers].to(tensor)
            if not bool(closed.detach().any()):
                continue
            if terms is None:
                mixed.setdefault(stage, []).append((tensor, other, closed))
            else:
                sums = _plus(sums, torch.einsum("bthw,hp->pbtw", terms, closed))
        for stage, own in mixed.items():
            sums = _plus(sums, self._mixed(stage, own))
        for port, total in zip(ports, sums, strict=True):
            if total is not None:
                yield [port], stream + total.to(stream.device)

    def _mixed(self, stage: Stage, own: Sequence[tuple[Tensor, Tensor, Tensor]]) -> list[Tensor]:
        """Where a norm is behind the output projection, heads at all tokens are mixed before it, for each receiver."""
        tail, tensor = self.tail("z", stage[1]), own[0][0]
        self.inner = True
        try:
            plain, found = tail(tensor), []
            for port in range(own[0][2].shape[1]):
                given = tensor
                for _, other, closed in own:
                    share = _spread(self.network, stage, closed[:, port], tensor.shape[-1])
                    given = given + share * (other - tensor)
                found.append(tail(given) - plain)
            return found
        finally:
            self.inner = False


def _plus(sums: Sequence[Tensor | None], more: Iterable[Tensor]) -> list[Tensor | None]:
    return [one if total is None else total + one for total, one in zip(sums, more, strict=True)]


__all__ = ["LearnedMasks", "edges_masked", "nodes_masked", "opened", "stretched"]
