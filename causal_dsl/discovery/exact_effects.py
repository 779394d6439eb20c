"""The loss of a metric where one node, or what one receiver reads of it, is taken from the counterfactual run: a whole forward
pass for each, by the hooks of interventions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.discovery.input_pairs import Pairs
from causal_dsl.discovery.metric_gradient import MetricGradient
from causal_dsl.features.given_maps import GivenMaps
from causal_dsl.network.edges import EdgeWrite, edges_patched
from causal_dsl.network.forward import SiteRead, SiteWrite, forward
from causal_dsl.network.network import Network
from causal_dsl.planning.memory import Budget
from causal_dsl.program.dictionaries import Dictionary, NodeParts
from causal_dsl.program.edge_sets import ports_of
from causal_dsl.program.nodes import OutputNode, places_of, universe, written_at
from causal_dsl.vocabulary.locations import Position, Site
from causal_dsl.vocabulary.ports import Port, Reach


@dataclass(frozen=True)
class AtToken:
    """A node, or an edge, at the tokens of a position alone."""

    part: OutputNode | tuple[OutputNode, Port]
    position: Position


#: A node, or an edge from it to a port; at all tokens or at some.
Part = OutputNode | tuple[OutputNode, Port] | AtToken
#: A node, and at which tokens it is meant (None: all).
NodeAt = tuple[OutputNode, Position | None]
#: How far, as a share of the whole change, a part is moved for a finite difference.
_STEP = 0.02


@dataclass(frozen=True, eq=False)
class PlainRuns:
    """The runs of base and source of the pairs ``which``: their logits, and what some nodes give in the source."""

    which: np.ndarray
    base: Tensor
    source: Tensor
    values: dict[NodeAt, Tensor]


def is_straight(network: Network, part: Part) -> bool:
    """Whether what a part gives to the stream moves along a straight line where it does itself: a norm behind the output projection
    bends what heads give along an edge."""
    bare = bare_of(part)
    if not isinstance(bare, tuple) or bare[0].kind != "head":
        return True
    layout = network.layout
    assert layout is not None
    own = layout.at(bare[0].layer)
    return own.attn_out[:-1] in (own.attention, own.z[:-1])


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
    #: of nodes, where the counterfactual is a mean: a vector for each token, or one for all
    means: dict[NodeAt, Tensor] = field(default_factory=dict)
    #: dictionaries whose nodes are looked at
    given: GivenMaps = field(default_factory=GivenMaps)

    @torch.no_grad()
    def effects(self, parts: Sequence[Sequence[Part]]) -> np.ndarray:
        """How much the metric falls where these parts together are given what they give in the source, [parts, n]."""
        found = np.full((len(parts), len(self.pairs)), np.nan)
        ends = np.zeros((2, len(self.pairs)))
        for which in self.pairs.batches(self.network, self.budget, gradients=False):
            runs = self.plain(which, [part for group in parts for part in group])
            plain = self.objective.values(runs.base, runs.base, which)
            ends[:, which] = plain, self.objective.values(runs.source, runs.base, which)
            for number, group in enumerate(parts):
                found[number, which] = plain - self.objective.values(self.patched(runs, group), runs.base, which)
        self.ends = float(ends[0].mean()), float(ends[1].mean())
        return found

    @torch.no_grad()
    def slopes(self, parts: Sequence[Part]) -> np.ndarray:
        """How fast the metric falls at the base run where each part by itself moves towards what it gives in the source, [parts], a mean
        over the pairs: a central difference. Steps are not tiny, since networks compute in float32; of two sizes of step what is left
        of the third order goes."""
        found = np.zeros(len(parts))
        for which in self.pairs.batches(self.network, self.budget, gradients=False):
            nodes = list(dict.fromkeys(map(_node, parts)))
            base, own = self._run(which, "base", nodes, {}, {})
            source, other = self._otherwise(which, nodes)
            for number, part in enumerate(parts):
                node = _node(part)
                gap = other[node] - own[node]
                falls = []
                for step in (_STEP, 2 * _STEP):
                    moved = [
                        self.patched(PlainRuns(which, base, source, {node: own[node] + sign * step * gap}), [part])
                        for sign in (-1, 1)
                    ]
                    back, on = (self.objective.values(logits, base, which).sum() for logits in moved)
                    falls.append((back - on) / (2 * step))
                found[number] += (4 * falls[0] - falls[1]) / 3
        return found / max(1, len(self.pairs))

    @torch.no_grad()
    def plain(self, which: np.ndarray, parts: Sequence[Part]) -> PlainRuns:
        """The two runs of some pairs, with what the senders of ``parts`` give in the source."""
        base, _ = self._run(which, "base", (), {}, {})
        source, values = self._otherwise(which, list(dict.fromkeys(map(_node, parts))))
        return PlainRuns(which, base, source, values)

    @torch.no_grad()
    def patched(self, runs: PlainRuns, parts: Sequence[Part]) -> Tensor:
        """The logits [m, vocabulary] of the base where ``parts`` together are given what they give in the source."""
        bare = [(bare_of(part), _node(part)) for part in parts]
        nodes = {node: runs.values[node] for part, node in bare if not isinstance(part, tuple)}
        ports, masks = ports_of(self.network.facts), dict[NodeAt, int]()
        for part, node in bare:
            if isinstance(part, tuple):
                masks[node] = masks.get(node, 0) | 1 << ports.number(part[1])
        edges = {node: (runs.values[node], Reach(ports, (mask,))) for node, mask in masks.items()}
        return self._run(runs.which, "base", (), nodes, edges)[0]

    def _otherwise(self, which: np.ndarray, nodes: Sequence[NodeAt]) -> tuple[Tensor, dict[NodeAt, Tensor]]:
        """The stand-in for nodes that are taken away, and the logits of the run where all of them are: of one on the source, or
        on the base with the embedding (of a vector network the input) replaced."""
        if self.pairs.instead == "run":
            return self._run(which, "source", nodes, {}, {})
        whole = universe(self.network.facts, ["embed", "input"]) or ()
        begin: list[NodeAt] = [(node, None) for node in whole]
        self._average([*nodes, *begin])
        values = {}
        for node in dict.fromkeys((*nodes, *begin)):
            rows, _ = self.pairs.spots("base", node[1], which)
            mean, count = self.means[node], len(rows) // max(1, len(which))
            values[node] = mean.expand(len(rows), -1) if len(mean) == 1 else mean[torch.arange(len(rows)) % count]
        logits, _ = self._run(which, "base", (), {node: values[node] for node in begin}, {})
        return logits, values

    def _average(self, nodes: Sequence[NodeAt]) -> None:
        """Note the means of nodes over all sources: a vector for each token, or one for all."""
        new = [node for node in dict.fromkeys(nodes) if node not in self.means]
        sums: dict[NodeAt, Tensor] = {}
        counts: dict[NodeAt, int] = dict.fromkeys(new, 0)
        for which in self.pairs.batches(self.network, self.budget, gradients=False) if new else ():
            _, found = self._run(which, "source", new, {}, {})
            for node, values in found.items():
                if self.pairs.instead == "mean":
                    total, count = values.double().view(len(which), -1, values.shape[-1]).sum(dim=0), len(which)
                else:
                    total, count = values.double().sum(dim=0, keepdim=True), len(values)
                sums[node] = sums[node] + total if node in sums else total
                counts[node] += count
        for node, total in sums.items():
            mean = total / counts[node] if self.pairs.instead != "zero" else torch.zeros_like(total[:1])
            self.means[node] = mean.to(self.network.dtype)

    def _run(
        self,
        which: np.ndarray,
        role: str,
        reads: Sequence[NodeAt],
        nodes: Mapping[NodeAt, Tensor],
        senders: Mapping[NodeAt, tuple[Tensor, Reach]],
    ) -> tuple[Tensor, dict[NodeAt, Tensor]]:
        given = self.pairs.rows(role, which)

        def write(node: NodeAt, value: Tensor) -> SiteWrite:
            return SiteWrite(_site(node[0]), *self.pairs.spots("base", node[1], which), partial(_instead, value))

        inner = [write(node, value) for node, value in nodes.items() if node[0].dictionary is None]
        inner += self._of_dictionaries(which, {node: v for node, v in nodes.items() if node[0].dictionary is not None})
        plain = [node for node in reads if node[0].dictionary is None]
        placed = {
            (node.dictionary, at): _whole_of(node).places(at) for node, at in reads if node.dictionary is not None
        }
        asked = [SiteRead(_site(node), *self.pairs.spots(role, position, which)) for node, position in plain]
        for (_, at), places in placed.items():
            asked += [SiteRead(place.site, *self.pairs.spots(role, at, which)) for place in places]
        edges = [EdgeWrite(write(node, value), reach) for node, (value, reach) in senders.items()]
        with ExitStack() as stack:
            if edges:
                stack.enter_context(edges_patched(self.network, given, edges, self.padding))
            outcome = forward(
                self.network,
                given,
                asked,
                inner,
                readout=torch.arange(len(which)),
                positions=self.pairs.read(which, role),
                stop=False,
                padding=self.padding,  # type: ignore[arg-type]
            )
        self.forwards += len(which) / max(1, len(self.pairs))
        assert outcome.logits is not None
        seen = iter(outcome.reads)
        found = {node: next(seen) for node in plain}
        for (dictionary, at), places in placed.items():
            vectors = [next(seen) for _ in places]
            numbers, read = self.given.nodes(dictionary.whole, vectors)
            every = numbers.of(read, vectors[-1])
            for node in (node for node in reads if (node[0].dictionary, node[1]) == (dictionary, at)):
                found[node] = _of_node(node[0], every, vectors[-1].shape[1])
        return outcome.logits, found

    def _of_dictionaries(self, which: np.ndarray, nodes: Mapping[NodeAt, Tensor]) -> list[SiteWrite]:
        """The writes of nodes of dictionaries: what is there is noted before anything is written, and moves by what their numbers change."""
        seen: dict[tuple[Site, Position | None], Tensor] = {}
        notes: dict[tuple[Site, Position | None], SiteWrite] = {}
        writes = []
        grouped: dict[tuple[Dictionary, Position | None], list[tuple[OutputNode, Tensor]]] = {}
        for (node, at), value in nodes.items():
            assert node.dictionary is not None
            grouped.setdefault((node.dictionary, at), []).append((node, value))

        def noted(key: tuple[Site, Position | None], old: Tensor) -> Tensor:
            seen[key] = old
            return old

        def moved(parts: NodeParts, keys: Sequence[tuple[Site, Position | None]], new: Tensor, old: Tensor) -> Tensor:
            vectors = [seen[key] for key in keys]
            numbers, read = self.given.nodes(parts, vectors)
            change = new.to(read.device) - numbers.of(read, vectors[-1])
            return old + numbers.moved(read, change, old.shape[1]).to(old)

        for (_, at), members in grouped.items():
            ((place, parts),) = written_at([(node, at) for node, _ in members])
            assert parts is not None
            keys = [(one.site, at) for one in parts.places(at)]
            spots = self.pairs.spots("base", at, which)
            notes |= {key: SiteWrite(key[0], *spots, partial(noted, key)) for key in keys}
            ordered = sorted(members, key=lambda one: (one[0].kind == "error", one[0].index))
            new = torch.cat([value for _, value in ordered], dim=1)
            writes.append(SiteWrite(place.site, *spots, partial(moved, parts, keys, new)))
        return [*notes.values(), *writes]


def _whole_of(node: OutputNode) -> NodeParts:
    """All nodes of a node's dictionary."""
    assert node.dictionary is not None
    return node.dictionary.whole


def _of_node(node: OutputNode, every: Tensor, width: int) -> Tensor:
    """The numbers of one node among those of all of its dictionary: latents first, then the error term."""
    if node.kind == "latent":
        return every[:, node.index : node.index + 1]
    return every[:, every.shape[1] - width :] if node.kind == "error" else every[:, : every.shape[1] - width]


def _instead(value: Tensor, old: Tensor) -> Tensor:
    return value.to(old)


def bare_of(part: Part) -> OutputNode | tuple[OutputNode, Port]:
    """A part, whatever its tokens."""
    return part.part if isinstance(part, AtToken) else part


def _node(part: Part) -> NodeAt:
    bare = bare_of(part)
    return bare[0] if isinstance(bare, tuple) else bare, part.position if isinstance(part, AtToken) else None


def _site(node: OutputNode) -> Site:
    return places_of([(node, None)])[0].site


__all__ = ["AtToken", "Exact", "NodeAt", "Part", "PlainRuns", "bare_of", "is_straight"]
