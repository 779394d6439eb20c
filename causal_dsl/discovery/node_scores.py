"""How much each of some nodes that a circuit names adds to a metric, by gradients: latents of dictionaries, error terms and components.

A latent ``f`` is ``f`` in the base run and ``f'`` in the counterfactual one. ``(f - f')`` times the gradient of the metric by the vector at the
site, along the direction that the latent decodes to, is its attribution; the error term is one node whose gradient is that of the vector
itself (Marks et al. 2025, Sparse feature circuits). What the encoder does is in no gradient: the vector stays the network's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.discovery.exact_effects import AtToken, Part
from causal_dsl.discovery.input_pairs import Pairs
from causal_dsl.discovery.metric_gradient import MetricGradient
from causal_dsl.discovery.part_scores import Scored, Way
from causal_dsl.features.given_maps import GivenMaps
from causal_dsl.network.forward import SiteRead, SiteWrite, forward
from causal_dsl.network.network import Network
from causal_dsl.network.site_tensors import tap as find_tap
from causal_dsl.network.tape import TapeOutcome
from causal_dsl.planning.memory import Budget
from causal_dsl.program.dictionaries import NodeParts
from causal_dsl.program.nodes import OutputNode, places_of
from causal_dsl.vocabulary.locations import Position, Site

#: Tensors as large as the numbers of a dictionary that live at one time.
_ALIVE = 8


#: Which numbers of a vector, or of a dictionary with its error term behind its latents, a node is: one of them, some, ``all``, those of the
#: ``error`` term, or those ``before`` it.
Columns: TypeAlias = int | Tensor | Literal["all", "error", "before"]


@dataclass(frozen=True, eq=False)
class NodeGroup:
    """Nodes of one vector: those of a dictionary (``parts``), or a component's. ``numbers`` are those of the nodes among all, ``columns`` what of
    the vector or the dictionary each is. ``sites`` are those that a dictionary reads, and the one that is written."""

    sites: tuple[Site, ...]
    numbers: tuple[int, ...]
    columns: tuple[Columns, ...]
    parts: NodeParts | None = None

    @property
    def site(self) -> Site:
        """The site that is written."""
        return self.sites[-1]


#: What stands at the sites of each group, at the tokens of one position.
Seen = Mapping[tuple[Site, Position | None], Tensor]


@dataclass(eq=False)
class NodeScorer:
    """Scores of ``nodes`` of a network on some pairs; with ``places`` of each at these tokens by itself."""

    network: Network
    pairs: Pairs
    objective: MetricGradient
    budget: Budget
    nodes: tuple[OutputNode, ...]
    padding: str = "right"
    places: tuple[Position, ...] = ()
    given: GivenMaps = field(default_factory=GivenMaps)
    forwards: float = field(default=0.0, init=False)
    backwards: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.start = Site(self.network.facts.traits.start)
        self.tokens: tuple[Position | None, ...] = self.places or (None,)
        self.groups = tuple(self._groups())
        self.at = {group.site: list(group.numbers) for group in self.groups}
        self._means: dict[tuple[tuple[Site, ...], NodeParts | None, Position | None], Tensor] = {}

    def _groups(self) -> Iterator[NodeGroup]:
        known: dict[object, list[int]] = {}
        for number, node in enumerate(self.nodes):
            known.setdefault(node.dictionary or node.group, []).append(number)
        for numbers in known.values():
            first = self.nodes[numbers[0]]
            if first.dictionary is None:
                whole = places_of([(first, None)])[0].site
                site = Site(whole.component, whole.layer)
                yield NodeGroup((site,), tuple(numbers), tuple(self._columns(self.nodes[n]) for n in numbers))
                continue
            parts = first.dictionary.whole
            sites = tuple(place.site for place in parts.places(None))
            yield NodeGroup(sites, tuple(numbers), tuple(self._columns(self.nodes[n]) for n in numbers), parts)

    def _columns(self, node: OutputNode) -> Columns:
        """The numbers that a node is."""
        match node.kind:
            case "head":
                found = find_tap(self.network, Site("z", node.layer, (node.index,))).columns
                return "all" if found is None else found.cpu()
            case "embed" | "mlp":
                return "all"
            case "error":
                return "error"
            case "feature":
                return "before"
        return node.index

    def parts(self, edges: bool = False) -> tuple[Part, ...]:
        """All nodes; of several tokens each at one after the other."""
        return tuple(node if at is None else AtToken(node, at) for node in self.nodes for at in self.tokens)

    # ── scores ──────────────────────────────────────────────────────────────────────────────────

    def score_nodes(self, way: Way) -> Scored:
        """A score of every node, for each pair by itself."""
        count = len(self.tokens)
        found = np.zeros((len(self.pairs), len(self.nodes) * count))
        ends = np.zeros((2, len(self.pairs)))
        for which in self._batches():
            base, seen = self._run(which, "base")
            other, away = self._otherwise(which, seen)
            ends[:, which] = [self.objective.values(logits, base, which) for logits in (base, other)]
            for grads, weight in self._gradients(which, way, seen, away, base):
                for group in self.groups:
                    if (grad := grads.get(group.site)) is None:
                        continue
                    for turn, position in enumerate(self.tokens):
                        here = grad[self._of_all(position, which)]
                        sums = self._sums(group, position, which, seen, away, here)
                        here_ = np.array(group.numbers) * count + turn
                        found[np.ix_(which, here_)] += weight * _picked(sums, group.columns, grad.shape[1])
        passes = (self.forwards, self.backwards)
        return Scored(self.parts(), found, np.ones(len(self.pairs)), _means(ends), passes)

    @torch.no_grad()
    def _sums(
        self, group: NodeGroup, position: Position | None, which: np.ndarray, seen: Seen, away: Seen, grad: Tensor
    ) -> Tensor:
        """Of each pair the products of changes and slopes, summed over tokens [m, numbers]."""
        change = self._change(group, position, which, seen, away)
        slopes = grad
        if group.parts is not None:
            vectors = [seen[site, position] for site in group.sites]
            numbers, read = self.given.nodes(group.parts, vectors)
            slopes = numbers.slopes(read, grad)
        rows = self.pairs.spots("base", position, which)[0].to(change.device)
        products = (change.to(slopes) * slopes).double()
        return torch.zeros(len(which), products.shape[1], dtype=torch.float64, device=change.device).index_add_(
            0, rows, products
        )

    def _change(self, group: NodeGroup, position: Position | None, which: np.ndarray, seen: Seen, away: Seen) -> Tensor:
        """How much more each number is in the base run than otherwise [tokens, numbers]."""
        own = self._numbers(group.parts, [seen[site, position] for site in group.sites])
        if self.pairs.instead == "run":
            return own - self._numbers(group.parts, [away[site, position] for site in group.sites]).to(own)
        return own - self._expanded(self._mean(group.sites, group.parts, position), position, which).to(own)

    def _numbers(self, parts: NodeParts | None, vectors: Sequence[Tensor]) -> Tensor:
        if parts is None:
            return vectors[-1]
        numbers, read = self.given.nodes(parts, vectors)
        return numbers.of(read, vectors[-1])

    # ── gradients ───────────────────────────────────────────────────────────────────────────────

    def _gradients(
        self, which: np.ndarray, way: Way, seen: Seen, away: Seen, base: Tensor
    ) -> Iterator[tuple[dict[Site, Tensor], float]]:
        """The gradients by the vectors of sites, at all tokens, in each run in which they are taken, with its weight."""
        if not way.steps:
            yield self._slopes(which, {}, tuple(self.at), base), 1.0
            return
        if way.path == "inputs":
            for point in way.points:
                own = seen[self.start, None]
                other = self._whole(self.start, which, away, own)
                yield (
                    self._slopes(which, {self.start: other + point * (own - other)}, tuple(self.at), base),
                    1 / way.steps,
                )
            return
        for group in self.groups:
            own = seen[group.site, None]
            other = self._group_otherwise(group, which, seen, away)
            for point in way.points:
                mixed = {group.site: other + point * (own - other)}
                yield self._slopes(which, mixed, (group.site,), base), 1 / way.steps

    @torch.no_grad()
    def _group_otherwise(self, group: NodeGroup, which: np.ndarray, seen: Seen, away: Seen) -> Tensor:
        """The vectors of a group where all of its nodes that are scored are as otherwise, at all tokens."""
        own = seen[group.site, None]
        change = self._change(group, None, which, seen, away)
        kept = torch.zeros(change.shape[1], dtype=torch.bool, device=change.device)
        for columns in group.columns:
            kept[_index(columns, change.shape[1], own.shape[1])] = True
        change = torch.where(kept, change, 0)
        if group.parts is None:
            return own - change.to(own)
        numbers, read = self.given.nodes(group.parts, [seen[site, None] for site in group.sites])
        return own - numbers.moved(read, change, own.shape[1]).to(own)

    @torch.enable_grad()
    def _slopes(
        self, which: np.ndarray, instead: Mapping[Site, Tensor], sites: Sequence[Site], base: Tensor
    ) -> dict[Site, Tensor]:
        """The gradients of the metric by what stands at sites, where ``instead`` is written."""
        spots = self.pairs.spots("base", None, which)
        writes = [SiteWrite(site, *spots, _put(new)) for site, new in instead.items()]
        moved: dict[Site, Tensor] = {}

        def shifted(site: Site) -> SiteWrite:
            def edit(old: Tensor) -> Tensor:
                moved[site] = torch.zeros_like(old).requires_grad_()
                return old + moved[site]

            return SiteWrite(site, *spots, edit)

        outcome = self._forward(which, "base", (), [*writes, *map(shifted, sites)])
        self._count(which, 1, 1)
        assert outcome.logits is not None
        total = self.objective.total(outcome.logits, base, which)
        if not total.requires_grad:
            return {}
        grads = torch.autograd.grad(total, list(moved.values()), allow_unused=True)
        return {site: grad for site, grad in zip(moved, grads, strict=True) if grad is not None}

    # ── runs ────────────────────────────────────────────────────────────────────────────────────

    def _batches(self) -> Iterator[np.ndarray]:
        facts = self.network.facts
        wide = max((2 * (len(group.numbers) + (facts.width or 0)) for group in self.groups if group.parts), default=0)
        for which in self.pairs.batches(self.network, self.budget, gradients=True):
            tokens = int(self.pairs.lengths[which].max())
            size = max(1, int(self.budget.tensors // max(1, 4 * _ALIVE * wide * tokens)))
            for start in range(0, len(which), size):
                yield which[start : start + size]

    @torch.no_grad()
    def _run(self, which: np.ndarray, role: str) -> tuple[Tensor, dict[tuple[Site, Position | None], Tensor]]:
        """The logits of a plain run, and what stands at all sites."""
        sites = dict.fromkeys([self.start, *(site for group in self.groups for site in group.sites)])
        wanted = [(site, position) for site in sites for position in dict.fromkeys((None, *self.tokens))]
        reads = [SiteRead(site, *self.pairs.spots(role, position, which)) for site, position in wanted]
        outcome = self._forward(which, role, reads, ())
        self._count(which, 1, 0)
        assert outcome.logits is not None
        return outcome.logits, dict(zip(wanted, outcome.reads, strict=True))

    def _otherwise(self, which: np.ndarray, seen: Seen) -> tuple[Tensor, Seen]:
        """The logits of the counterfactual run, and what stands there: of the base run whose first site is replaced by a mean or zeros, where it
        is none."""
        if self.pairs.instead == "run":
            return self._run(which, "source")
        own = seen[self.start, None]
        other = self._whole(self.start, which, {}, own)
        with torch.no_grad():
            spots = self.pairs.spots("base", None, which)
            write = SiteWrite(self.start, *spots, _put(other))
            logits = self._forward(which, "base", (), [write]).logits
        self._count(which, 1, 0)
        assert logits is not None
        return logits, {}

    def _whole(self, site: Site, which: np.ndarray, away: Seen, own: Tensor) -> Tensor:
        """The vectors that stand at a site otherwise, at all tokens."""
        if self.pairs.instead == "run":
            return away[site, None]
        return self._expanded(self._mean((site,), None, None), None, which).to(own)

    @torch.no_grad()
    def _mean(self, sites: tuple[Site, ...], parts: NodeParts | None, position: Position | None) -> Tensor:
        """The mean of the numbers of a vector, or of a dictionary, over all sources: for each token, or one for all [k, numbers]."""
        key = sites, parts, position
        if key in self._means:
            return self._means[key]
        total, count = None, 0
        for which in self._batches():
            spots = self.pairs.spots("source", position, which)
            reads = [SiteRead(site, *spots) for site in sites]
            values = self._numbers(parts, self._forward(which, "source", reads, ()).reads).double()
            self._count(which, 1, 0)
            each = self.pairs.instead == "mean"
            rows = values.view(len(which), -1, values.shape[1]) if each else values[:, None]
            total = rows.sum(dim=0) if total is None else total + rows.sum(dim=0)
            count += len(which) if each else len(values)
        assert total is not None
        found = torch.zeros_like(total[:1]) if self.pairs.instead == "zero" else total / count
        self._means[key] = found
        return found

    def _expanded(self, mean: Tensor, position: Position | None, which: np.ndarray) -> Tensor:
        """A mean for each token of some pairs."""
        rows = self.pairs.spots("base", position, which)[0]
        count = len(rows) // max(1, len(which))
        return mean.expand(len(rows), -1) if len(mean) == 1 else mean[torch.arange(len(rows)) % count]

    def _of_all(self, position: Position | None, which: np.ndarray) -> Tensor:
        """Which of all tokens of some pairs those of a position are."""
        rows, tokens = self.pairs.spots("base", position, which)
        if tokens is None:
            return rows
        starts = np.concatenate([[0], np.cumsum(self.pairs.lengths[which])[:-1]])
        return torch.from_numpy(starts)[rows] + tokens

    def _forward(
        self, which: np.ndarray, role: str, reads: Sequence[SiteRead], writes: Sequence[SiteWrite]
    ) -> TapeOutcome:
        return forward(
            self.network,
            self.pairs.rows(role, which),
            list(reads),
            list(writes),
            readout=torch.arange(len(which)),
            positions=self.pairs.read(which, role),
            stop=False,
            padding=self.padding,  # type: ignore[arg-type]
        )

    def _count(self, which: np.ndarray, forwards: float, backwards: float) -> None:
        share = len(which) / max(1, len(self.pairs))
        self.forwards += forwards * share
        self.backwards += backwards * share


def _put(new: Tensor) -> Callable[[Tensor], Tensor]:
    """A write of these vectors."""
    return lambda old: new.to(old)


def _index(columns: Columns, count: int, width: int) -> Tensor | slice | int:
    """The place of a node's numbers among ``count``, of which the last ``width`` may be an error term."""
    match columns:
        case "all":
            return slice(None)
        case "error":
            return slice(count - width, None)
        case "before":
            return slice(0, count - width)
    return columns


def _picked(sums: Tensor, columns: Sequence[Columns], width: int) -> np.ndarray:
    """The sums of the numbers of each node [m, nodes]."""
    found = np.zeros((len(sums), len(columns)))
    single = [turn for turn, one in enumerate(columns) if isinstance(one, int)]
    numbers = torch.tensor([columns[turn] for turn in single], dtype=torch.int64, device=sums.device)
    found[:, single] = sums[:, numbers].cpu().numpy()
    for turn, one in enumerate(columns):
        if not isinstance(one, int):
            found[:, turn] = sums[:, _index(one, sums.shape[1], width)].sum(dim=1).cpu().numpy()
    return found


def _means(ends: np.ndarray) -> tuple[float, float]:
    return float(ends[0].mean()), float(ends[1].mean())


__all__ = ["NodeGroup", "NodeScorer"]
