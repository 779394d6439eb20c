"""The circuits of a spec that a run finds: scored on inputs of their own, before the plan that judges them is made."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from causal_dsl.checked import Checked
from causal_dsl.diagnostics import fail
from causal_dsl.discovery.exact_effects import Exact, Part, is_straight
from causal_dsl.discovery.greedy_search import GreedySearch
from causal_dsl.discovery.input_pairs import Pairs
from causal_dsl.discovery.kept_scores import key_of_search
from causal_dsl.discovery.learned_masks import LearnedMasks
from causal_dsl.discovery.metric_gradient import MetricGradient
from causal_dsl.discovery.node_scores import NodeScorer
from causal_dsl.discovery.part_scores import PartScorer, Scored, Way
from causal_dsl.discovery.stability import Found, HeldAgainst, from_kept, kept_form, name_of, sample
from causal_dsl.engine.budgets import budget_of
from causal_dsl.engine.execute import Execution
from causal_dsl.faults import OwnFault
from causal_dsl.features.given_maps import GivenMaps
from causal_dsl.measures.quantities import Quantity
from causal_dsl.network.fingerprint import same_network
from causal_dsl.network.network import Network
from causal_dsl.planning import graph as g
from causal_dsl.planning.memory import Budget
from causal_dsl.planning.network_parts import of_tests
from causal_dsl.program.discovery import Discovery, Kept, metric_of, source_of
from causal_dsl.program.file_networks import network_of
from causal_dsl.program.identity import NetworkKey
from causal_dsl.program.program import NetworkRef, Test
from causal_dsl.report.progress import Progress
from causal_dsl.score.circuit_results import Discovered
from causal_dsl.score.estimates_and_findings import Finding
from causal_dsl.score.format_numbers import show
from causal_dsl.score.results import TestResult
from causal_dsl.score.targets import target_ids
from causal_dsl.score.truth import kept_of
from causal_dsl.specs import Options
from causal_dsl.store.once import StoredArrays, once
from causal_dsl.vocabulary.discovery_methods import METHODS

#: Of how many nodes or edges scores at the base run are held against finite differences.
SLOPES = 4
#: Scores of no more than this share of the metric are rounding.
ROUNDING = 1e-6


def discover(
    checked: Checked,
    networks: Mapping[NetworkKey, Network],
    options: Options,
    bar: Progress,
    memory: Mapping[NetworkKey, int],
    only: str | None = None,
) -> dict[Discovery, Found]:
    """Score what the circuits of a spec are found by, or take the scores that were kept. ``memory``: bytes that a pass on a network may
    take, where it is not half of what is free; ``only`` scores what one of the searches asks for, by its name."""
    if checked.searches is None or checked.program is None:
        return {}
    tests = {one.name: one for test in checked.program.tests for one in test.each}
    searched = {one: name for one, name in checked.searched.items() if one.test in tests and only in (None, name)}
    if not searched:  # those of a sweep of networks are of others
        return {}
    searches = {test.name: test for test in checked.searches.tests if test.name in searched.values()}
    plan = of_tests(checked.searches, list(searches.values()))
    targets = target_ids(plan, checked.answers, networks)

    @cache
    def plain_runs() -> Execution:
        run = Execution(plan, networks, checked.answers, targets, memory)
        for said in run.run():
            bar.say(said[:60])
        return run

    found: dict[Discovery, Found] = {}
    known: dict[object, Found] = {}
    for discovery, name in searched.items():
        search, test = searches[name], tests[discovery.test]
        key = search.network.key
        network, metric, source = networks[key], metric_of(test), source_of(test)
        assert metric is not None and source is not None
        draw = plan.scores[name][0].label.draw
        rows = [plan.rows[g.Forward(key, draw, role)] for role in ("base", source.role)]
        same = (key, draw, source, metric, test.solved, replace(discovery, test=""))
        if same in known:  # tests that draw alike and ask by one metric share what is found
            found[discovery] = replace(known[same], discovery=discovery)
            continue
        pairs = Pairs(plan.inputs[key], rows[0], rows[1], source.kind)
        objective = MetricGradient(metric, search, checked.answers[name], targets)
        solved = [plan.rows[g.Forward(key, draw, role)] for role in test.solved]
        inputs = key_of_search(
            discovery, network, pairs, objective, options.memory, test.solved, plan.drawn[draw], solved
        )
        bar.say(f"{test.name}: {discovery.text}"[:60])
        budget = budget_of(network, memory.get(key))

        def make(
            discovery: Discovery = discovery,
            of: tuple[Test, Test, Network] = (test, search, network),
            made: tuple[Pairs, MetricGradient] = (pairs, objective),
            budget: Budget = budget,
        ) -> StoredArrays:
            if of[0].solved:
                made = _solved(of[0], of[1], plain_runs(), *made)
            return kept_form(_found(discovery, of[2], *made, budget, bar))

        found[discovery] = known[same] = from_kept(discovery, *once("circuits", "scores of a circuit", inputs, make))
    return found


def _solved(
    test: Test, search: Test, run: Execution, pairs: Pairs, objective: MetricGradient
) -> tuple[Pairs, MetricGradient]:
    """The pairs whose plain runs answer right, in the runs that `solved` of the test names."""
    columns = {one.name: run.runs[one.name].cells[0].columns for one in search.each}
    kept = kept_of(replace(search, solved=test.solved), run.plan, columns)
    assert kept is not None
    if not kept.any():
        raise fail(
            "E818",
            f"`{search.network.name}` solves none of the {len(kept)} pairs on which a circuit of `{test.name}` is to be found",
            test.discoveries[0].discovery.span,
            others=((test.span, "keeps what is solved"),),
            help="draw more pairs with n=…, or leave `solved` out",
        )

    def left(test: Test, quantity: Quantity, role: str = "base", /) -> np.ndarray:
        return objective.targets(test, quantity, role)[kept]

    return replace(pairs, base=pairs.base[kept], source=pairs.source[kept]), replace(objective, targets=left)


def _found(
    discovery: Discovery,
    network: Network,
    pairs: Pairs,
    objective: MetricGradient,
    budget: Budget,
    bar: Progress,
) -> Found:
    given = GivenMaps(same_network({network.key: network}))
    exact = Exact(network, pairs, objective, budget, network.padding, given=given)
    if discovery.nodes:
        return _of_nodes(discovery, network, pairs, objective, exact)
    of = PartScorer(network, pairs, objective, budget, discovery.kinds, network.padding, discovery.at)
    match discovery.method:
        case "acdc":
            return _searched(discovery, of.parts(discovery.what == "edges"), exact)
        case "masks":
            return _learned(discovery, of, bar)
        case "exact":
            scored = _exactly(of.parts(discovery.what == "edges"), exact)
        case "eap" | "eap_ig":  # without settings, gradients are those at the base run
            way = Way(**dict(discovery.settings))
            scored = of.score_edges(way) if discovery.what == "edges" else of.score_nodes(way)
        case unknown:
            raise OwnFault(f"no scores are computed by the method `{unknown}`")
    return _beside_effects(discovery, scored, exact, lambda looked: _held(discovery, of, exact, scored, looked))


def _of_nodes(discovery: Discovery, network: Network, pairs: Pairs, objective: MetricGradient, exact: Exact) -> Found:
    """The scores of nodes that a circuit names: latents, error terms and components."""
    of = NodeScorer(
        network, pairs, objective, exact.budget, discovery.nodes, network.padding, discovery.at, exact.given
    )
    match discovery.method:
        case "acdc":
            return _searched(discovery, of.parts(), exact)
        case "exact":
            scored = _exactly(of.parts(), exact)
        case "eap" | "eap_ig":
            scored = of.score_nodes(Way(**dict(discovery.settings)))
        case unknown:
            raise OwnFault(f"no scores of nodes are computed by the method `{unknown}`")

    def held(looked: Sequence[int]) -> HeldAgainst | None:
        if discovery.method == "eap":
            return _slopes_held(discovery, exact, scored, looked)
        if dict(discovery.settings)["path"] == "inputs" or of.places:
            return None  # on the way of the embedding no site moves by what its nodes change
        sums = [scored.means[list(group.numbers)].sum() for group in of.groups]
        effects = exact.effects([[of.nodes[number] for number in group.numbers] for group in of.groups]).mean(axis=1)
        says = "scores of the nodes of a site, added up, against their effect together"
        return _apart(says, sums, effects, by_steps=True)

    return _beside_effects(discovery, scored, exact, held)


def _beside_effects(
    discovery: Discovery, scored: Scored, exact: Exact, held: Callable[[Sequence[int]], HeldAgainst | None]
) -> Found:
    """Scores, with the exact effects of some of their parts, and what they are ``held`` against."""
    names = tuple(name_of(part) for part in scored.of)
    # Scores that are exact effects themselves are held against none.
    looked = sample(scored.means) if METHODS[discovery.method].gradient else ()
    effects = exact.effects([[scored.of[number]] for number in looked]).mean(axis=1) if looked else np.zeros(0)
    against = held(looked) if looked else None
    metric, count = exact.objective.metric.text, len(exact.pairs)
    return Found(discovery, names, scored, metric, count, looked, tuple(effects.tolist()), against)


def _held(
    discovery: Discovery, of: PartScorer, exact: Exact, scored: Scored, looked: Sequence[int]
) -> HeldAgainst | None:
    """What scores by gradients have to be, whatever the network computes: slopes at the base run; or, along a path, numbers that add up
    to a difference of the metric. None where there is no such number."""
    settings = dict(discovery.settings)
    if discovery.method == "eap":
        return _slopes_held(discovery, exact, scored, looked)
    if of.places:  # not all of a stage is scored, and gradients are those along the way of all tokens together
        return None
    nodes = of.summed(scored)
    edges = "edges from " if discovery.what == "edges" else ""
    if settings["path"] == "inputs":
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


def _slopes_held(discovery: Discovery, exact: Exact, scored: Scored, looked: Sequence[int]) -> HeldAgainst | None:
    """Some scores at the base run against finite differences."""
    straight = [number for number in looked if is_straight(exact.network, scored.of[number])]
    some = sorted(straight, key=lambda number: -abs(scored.means[number]))
    some = some[: SLOPES // 2] + some[-(SLOPES - len(some[: SLOPES // 2])) :] if len(some) > SLOPES else some
    slopes = exact.slopes([scored.of[number] for number in some])
    says = (
        f"scores against finite differences, of {len(some)} {discovery.what if len(some) > 1 else discovery.what[:-1]}"
    )
    return _apart(says, scored.means[some], slopes) if some else None


def _apart(
    says: str, own: Sequence[float] | np.ndarray, other: Sequence[float] | np.ndarray, by_steps: bool = False
) -> HeldAgainst:
    one, two = np.asarray(own), np.asarray(other)
    return HeldAgainst(says, float(np.abs(one - two).max()), float(np.abs(two).max()), by_steps)


def _searched(discovery: Discovery, parts: Sequence[Part], exact: Exact) -> Found:
    """What a search keeps. It says how much each part is needed beside what is kept, which no effect of it alone tells."""
    search = GreedySearch(exact, parts, **dict(discovery.settings))
    scored = search.search()
    names = tuple(name_of(part) for part in scored.of)
    return Found(discovery, names, scored, search.exact.objective.metric.text, len(exact.pairs), (), ())


def _learned(discovery: Discovery, of: PartScorer, bar: Progress) -> Found:
    """The gates of a mask that is learned. They belong to one fit, and to no effect of one part alone."""
    settings = {name: value for name, value in discovery.settings if name != "threshold"}
    scored = LearnedMasks(of, discovery.what == "edges", **settings, say=bar.say).learn()
    names = tuple(name_of(part) for part in scored.of)
    return Found(discovery, names, scored, "kl", len(of.pairs), (), ())


def _exactly(parts: Sequence[Part], exact: Exact) -> Scored:
    """The effect of every node or edge, a forward pass for each."""
    effects = exact.effects([[part] for part in parts])
    return Scored(parts, effects.T, np.ones(len(exact.pairs)), exact.ends, (exact.forwards, 0.0))


def with_found(result: TestResult, found: Mapping[Discovery, Found]) -> TestResult:
    """The result of a test, its circuits told of how they were found."""
    cells = []
    for cell in result.cells:
        if cell.circuit is not None and cell.circuit.kept:
            known = [(kept, found[kept.discovery]) for kept in cell.circuit.kept if kept.discovery in found]
            still = [Finding("masks_still", _still(one)) for _, one in known if one.scored.still]
            still += [Finding("scores_still", _all_rounding(one)) for _, one in known if _is_rounding(one)]
            cell = replace(cell, findings=(*cell.findings, *dict.fromkeys(still)))
            assert cell.circuit is not None
            cell = replace(cell, circuit=replace(cell.circuit, found=tuple(_told(*one) for one in known)))
        cells.append(cell)
    return replace(result, cells=tuple(cells))


def _still(one: Found) -> str:
    """Of which nodes or edges a mask could not learn anything."""
    scored, what = one.scored, one.discovery.what
    names = [one.names[number] for number in scored.still]
    some = ", ".join(f"`{name}`" for name in names[:4]) + (", …" if len(names) > 4 else "")
    return (
        f"the gates of {len(names)} of {len(one.names)} {what} had no gradient in any step ({some}), so their scores are what the penalty alone made of them: "
        f"where attention is saturated, or a component changes nothing, `masks` cannot tell which {what} are needed"
    )


def _is_rounding(one: Found) -> bool:
    """Whether no score is more than what rounding leaves of a metric of this size. Scores that are no effects (gates, and the rise of
    another loss) have other sizes."""
    size = max(1.0, *map(abs, one.scored.ends))
    effects = METHODS[one.discovery.method].gradient or one.discovery.method == "exact"
    return effects and float(np.abs(one.scored.means).max(initial=0.0)) <= ROUNDING * size


def _all_rounding(one: Found) -> str:
    """That a search found no differences."""
    most = float(np.abs(one.scored.means).max(initial=0.0))
    base, source = (show(end) for end in one.scored.ends)
    return (
        f"no score by `{one.discovery.text}` of the {len(one.names)} {one.discovery.what} is larger than {most:.1e}, where the metric is {base} in the "
        f"base runs and {source} in the others: that is rounding, and which {one.discovery.what} are kept says nothing"
    )


def _told(kept: Kept, one: Found) -> Discovered:
    return Discovered(
        kept.discovery.what,
        kept.discovery.text,
        one.metric,
        one.pairs,
        kept.keep,
        kept.by,
        one.scores,
        one.correlation,
        len(one.sampled),
        one.stability(kept),
        one.scored.passes,
        one.scored.ends,
        None if one.held is None else one.held.told,
    )


def file_of(one: Found, network: NetworkRef, weights: str) -> bytes:
    """The scores as a file that `json("…", keep=10%, by=absolute)` reads, with the network that they are of, and the SHA-256 of its weights."""
    held = {one.discovery.what: one.scores, "method": one.discovery.text, "metric": one.metric, "pairs": one.pairs}
    held["network"] = network_of(network, weights)
    return json.dumps(held, indent=1).encode()


__all__ = ["discover", "file_of", "with_found"]
