"""How the methods of ``discover(method=…)`` search: each function gives what one found, and the record of its method
(:data:`causal_dsl.vocabulary.discovery_methods.METHODS`) names it as ``make``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.discovery.exact_effects import Exact, Part, is_straight
from causal_dsl.discovery.greedy_search import GreedySearch
from causal_dsl.discovery.learned_masks import LearnedMasks
from causal_dsl.discovery.node_scores import NodeScorer
from causal_dsl.discovery.part_scores import PartScorer, Scored, Way
from causal_dsl.discovery.stability import Found, HeldAgainst, name_of, sample
from causal_dsl.program.searches import Discovery

#: Of how many nodes or edges scores at the base run are held against finite differences.
SLOPES = 4


@dataclass(eq=False)
class CircuitSearch:
    """The input of a method: what is asked for (``discovery``), effects by forward passes (``exact``, which has the network, the pairs and
    the metric), and scores by gradients (``of``: of nodes that a circuit names, or of all components of some kinds). ``say`` hears how far
    it is."""

    discovery: Discovery
    exact: Exact
    of: PartScorer | NodeScorer
    say: Callable[[str], None]

    @property
    def edges(self) -> bool:
        """Whether edges are scored, and not nodes."""
        return self.discovery.what == "edges"

    @property
    def parts(self) -> Sequence[Part]:
        """The nodes or edges that are scored."""
        return self.of.parts(self.edges)

    def found(
        self, scored: Scored, metric: str = "", looked: Sequence[int] = (), held: HeldAgainst | None = None
    ) -> Found:
        """The scores as what is found. ``metric``: what it is found by, where that is not the metric of the test. ``looked``: the numbers of
        parts whose exact effects stand beside their scores, ``held``: what these are held against."""
        effects = self.exact.effects([[scored.of[number]] for number in looked]).mean(axis=1) if looked else np.zeros(0)
        names = tuple(name_of(part) for part in scored.of)
        metric = metric or self.exact.objective.metric.text
        count = len(self.exact.pairs)
        return Found(self.discovery, names, scored, metric, count, tuple(looked), tuple(effects.tolist()), held)


def one_by_one(search: CircuitSearch) -> Found:
    """``exact``: the effect of every node or edge, a forward pass for each. Scores that are exact effects are held against none."""
    exact, parts = search.exact, search.parts
    effects = exact.effects([[part] for part in parts])
    return search.found(Scored(parts, effects.T, np.ones(len(exact.pairs)), exact.ends, (exact.forwards, 0.0)))


def greedily(search: CircuitSearch) -> Found:
    """``acdc``: what a search keeps. It says how much each part is needed beside what is kept, which no effect of it alone tells."""
    greedy = GreedySearch(search.exact, search.parts, **dict(search.discovery.settings))
    return search.found(greedy.search(), greedy.exact.objective.metric.text)


def by_gates(search: CircuitSearch) -> Found:
    """``masks``: the gates of a mask that is learned. They belong to one fit, and to no effect of one part alone."""
    assert isinstance(search.of, PartScorer)  # the record says that it scores whole kinds
    settings = {name: value for name, value in search.discovery.settings if name != "threshold"}
    return search.found(LearnedMasks(search.of, search.edges, **settings, say=search.say).learn(), "kl")


def by_gradients(search: CircuitSearch) -> Found:
    """``eap`` and ``eap_ig``: without settings, gradients are those at the base run."""
    of, way = search.of, Way(**dict(search.discovery.settings))
    scored = of.score_edges(way) if search.edges and isinstance(of, PartScorer) else of.score_nodes(way)
    looked = sample(scored.means)
    if not looked:
        return search.found(scored)
    if not way.steps:
        held = _slopes_held(search, scored, looked)
    elif isinstance(of, NodeScorer):
        held = _sites_held(of, search.exact, scored, way)
    else:
        held = _path_held(of, search, scored, way)
    return search.found(scored, looked=looked, held=held)


def _sites_held(of: NodeScorer, exact: Exact, scored: Scored, way: Way) -> HeldAgainst | None:
    """Scores of the nodes of each site, added up. None on the way of the embedding, where no site moves by what its nodes change."""
    if way.path == "inputs" or of.places:
        return None
    sums = [scored.means[list(group.numbers)].sum() for group in of.groups]
    effects = exact.effects([[of.nodes[number] for number in group.numbers] for group in of.groups]).mean(axis=1)
    says = "scores of the nodes of a site, added up, against their effect together"
    return _apart(says, sums, effects, by_steps=True)


def _path_held(of: PartScorer, search: CircuitSearch, scored: Scored, way: Way) -> HeldAgainst | None:
    """The number that scores along a path add up to, whatever the network computes: a difference of the metric. None where there is no such number."""
    if of.places:  # not all of a stage is scored, and gradients are those along the way of all tokens together
        return None
    exact, nodes = search.exact, of.summed(scored)
    edges = "edges from " if search.edges else ""
    if way.path == "inputs":
        if of.start not in of.at:
            return None
        whole = nodes[of.at[of.start]].sum(keepdims=True)
        says = f"the score of {edges}the embedding{', added up,' if edges else ''} against all that the metric falls by"
        return _apart(says, whole, [scored.ends[0] - scored.ends[1]], by_steps=True)
    if edges and not all(is_straight(exact.network, part) for part in scored.of):
        return None  # behind a norm the edges of a head are no parts of its effect
    sums = [nodes[of.at[stage]].sum() for stage in of.senders]
    effects = exact.effects([[of.nodes[number] for number in of.at[stage]] for stage in of.senders]).mean(axis=1)
    says = f"scores of {edges}a layer's heads, and its MLP, added up, against their effect together"
    return _apart(says, sums, effects, by_steps=True)


def _slopes_held(search: CircuitSearch, scored: Scored, looked: Sequence[int]) -> HeldAgainst | None:
    """Some scores at the base run against finite differences."""
    exact, what = search.exact, search.discovery.what
    straight = [number for number in looked if is_straight(exact.network, scored.of[number])]
    some = sorted(straight, key=lambda number: -abs(scored.means[number]))
    some = some[: SLOPES // 2] + some[-(SLOPES - len(some[: SLOPES // 2])) :] if len(some) > SLOPES else some
    slopes = exact.slopes([scored.of[number] for number in some])
    says = f"scores against finite differences, of {len(some)} {what if len(some) > 1 else what[:-1]}"
    return _apart(says, scored.means[some], slopes) if some else None


def _apart(
    says: str, own: Sequence[float] | np.ndarray, other: Sequence[float] | np.ndarray, by_steps: bool = False
) -> HeldAgainst:
    one, two = np.asarray(own), np.asarray(other)
    return HeldAgainst(says, float(np.abs(one - two).max()), float(np.abs(two).max()), by_steps)


__all__ = ["CircuitSearch", "by_gates", "by_gradients", "greedily", "one_by_one"]
