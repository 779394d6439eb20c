"""The circuits of a spec that a run finds: scored on inputs of their own, before the plan that judges them is made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import numpy as np

from causal_dsl.checked import Checked
from causal_dsl.checking.specs import Options
from causal_dsl.diagnostics import fail
from causal_dsl.discovery.exact_effects import Exact
from causal_dsl.discovery.input_pairs import Pairs
from causal_dsl.discovery.kept_scores import key_of_search
from causal_dsl.discovery.metric_gradient import MetricGradient
from causal_dsl.discovery.node_scores import NodeScorer
from causal_dsl.discovery.part_scores import PartScorer
from causal_dsl.discovery.search_methods import CircuitSearch
from causal_dsl.discovery.stability import Found, from_kept, kept_form
from causal_dsl.engine.budgets import budget_of
from causal_dsl.engine.execute import Execution
from causal_dsl.features.given_maps import GivenMaps
from causal_dsl.measures.quantities import Quantity
from causal_dsl.network.fingerprint import same_network
from causal_dsl.network.network import Network
from causal_dsl.planning import graph as g
from causal_dsl.planning.memory import Budget
from causal_dsl.planning.network_parts import of_tests
from causal_dsl.program.discovery import metric_of, source_of
from causal_dsl.program.file_networks import network_of
from causal_dsl.program.identity import NetworkKey
from causal_dsl.program.program import NetworkRef, Test
from causal_dsl.program.searches import Discovery, Kept
from causal_dsl.report.progress import Progress
from causal_dsl.score.circuit_results import Discovered
from causal_dsl.score.estimates_and_findings import Finding
from causal_dsl.score.format_numbers import show
from causal_dsl.score.results import TestResult
from causal_dsl.score.targets import target_ids
from causal_dsl.score.truth import kept_of
from causal_dsl.store.once import StoredArrays, once
from causal_dsl.vocabulary.discovery_methods import METHODS
from causal_dsl.vocabulary.plugins import made

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
    discovery: Discovery, network: Network, pairs: Pairs, objective: MetricGradient, budget: Budget, bar: Progress
) -> Found:
    given = GivenMaps(same_network({network.key: network}))
    exact = Exact(network, pairs, objective, budget, network.padding, given=given)
    of: PartScorer | NodeScorer
    if discovery.nodes:  # that a circuit names: latents, error terms and components
        of = NodeScorer(network, pairs, objective, budget, discovery.nodes, network.padding, discovery.at, given)
    else:
        of = PartScorer(network, pairs, objective, budget, discovery.kinds, network.padding, discovery.at)
    found: Found = made(METHODS[discovery.method].make)(CircuitSearch(discovery, exact, of, bar.say))
    return found


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
    return METHODS[one.discovery.method].effects and float(np.abs(one.scored.means).max(initial=0.0)) <= ROUNDING * size


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
