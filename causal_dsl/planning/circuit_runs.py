"""The runs beside an intervention on a circuit: its ends, what tests it against itself, and random circuits of its size.

They are a test of their own in the plan, on the same rows: equal runs are one node, so that what is shared is run once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from causal_dsl.counter import Stream
from causal_dsl.measures.of_circuits import (
    CUT,
    EMPTY,
    FULL,
    HALVES,
    KEEP,
    MOST_NODES,
    RANDOM,
    SUBSETS,
    OfCircuit,
    cut_subset,
    half_without,
    kept_without,
    kept_without_node,
    random_run,
)
from causal_dsl.measures.quantities import Quantity
from causal_dsl.program.ablations import Ablation
from causal_dsl.program.circuit_actions import write
from causal_dsl.program.measured import without_lines
from causal_dsl.program.nodes import OutputNode, Spot, edges_among, without
from causal_dsl.program.probed import CircuitRuns
from causal_dsl.program.program import Cell, Intervention, Test
from causal_dsl.vocabulary.network_facts import Facts
from causal_dsl.vocabulary.values.from_run import FromRun

_SEED = 12_011
#: How many circuits are drawn for each random one, of which that of the nearest size is taken.
_TRIES = 40


def circuit_runs(test: Test) -> Iterator[Test]:
    """The test that runs what stands beside the circuits of a test, where it has scores of them."""
    if test.control[0] or test.scores.context.circuit is None:
        return
    scores = [part for value in test.scores.values for part in value.walk() if isinstance(part, OfCircuit)]
    if not scores:
        return
    wanted = {run for score in scores for run in score.runs if run.startswith("@")}
    quantities = {quantity for score in scores for _, quantity in score.needs()}
    cells: list[Cell] = []
    names: list[tuple[int, str]] = []
    sizes = []
    for number, cell in enumerate(test.cells):
        ablation = cell.interventions[0].circuit
        assert ablation is not None
        random = random_circuits(ablation, test.network.facts) if test.controls else ()
        sizes.append(tuple(edges_among((n for n, _ in c), test.network.facts)[1] for c in (ablation.spots, *random)))
        for name, interventions in _runs(ablation, random, wanted).items():
            names.append((number, name))
            cells.append(Cell((*cell.values, ("run", name)), interventions))
    probe = CircuitRuns(tuple(names), tuple(sizes))
    made = without_lines(
        test, name=f"{test.name}: circuits", cells=tuple(cells), control=(test.name, "circuits"), probe=probe
    )
    yield replace(made, scores=replace(made.scores, also=frozenset(quantities)))


def _runs(
    ablation: Ablation, random: Sequence[tuple[Spot, ...]], wanted: set[str]
) -> dict[str, tuple[Intervention, ...]]:
    """What is done in each run beside one cell."""
    circuit, every = ablation.spots, ablation.every
    rest = without(every, circuit)

    def keep(spots: Sequence[Spot]) -> tuple[Intervention, ...]:
        """These nodes alone are left as they are."""
        return (write(ablation, without(every, spots)),)

    found = {
        EMPTY: (write(ablation, every),),
        FULL: (write(ablation, every, FromRun("base", ())),),
        HALVES: tuple(write(ablation, part) for part in (circuit, rest) if part),
    }
    found |= {random_run(i): (write(ablation, ablation.written(spots)),) for i, spots in enumerate(random)}
    more: dict[str, Callable[[], tuple[Intervention, ...]]] = {
        KEEP: lambda: keep(circuit),
        CUT: lambda: (write(ablation, circuit),),
    }
    for k, subset in enumerate(subsets_of(circuit)):
        more[kept_without(k)] = lambda subset=subset: keep(without(circuit, subset))  # type: ignore[misc]
        more[cut_subset(k)] = lambda subset=subset: (write(ablation, subset),)  # type: ignore[misc]
    nodes = nodes_tried(circuit)
    for n, spot in enumerate(nodes[i % len(nodes)] for i in range(MOST_NODES if nodes else 0)):
        half = tuple(one for one in _half(circuit, n) if one != spot)
        more[kept_without_node(n)] = lambda spot=spot: keep(without(circuit, (spot,)))  # type: ignore[misc]
        more[half_without(n, False)] = lambda half=half: keep(without(circuit, half))  # type: ignore[misc]
        more[half_without(n, True)] = lambda half=half, spot=spot: keep(  # type: ignore[misc]
            without(circuit, (*half, spot))
        )
    empty = () if nodes else tuple(name for name in wanted if name not in more and name not in found)
    found |= {name: make() for name, make in more.items() if name in wanted}
    return found | {name: keep(circuit) for name in empty}  # a circuit without nodes has none to leave out


def subsets_of(circuit: Sequence[Spot]) -> list[tuple[Spot, ...]]:
    """The subsets K that completeness tries: all of the circuit, each of its kinds and layers while there is room, random halves."""
    found: dict[tuple[Spot, ...], None] = {tuple(circuit): None}
    for kind in dict.fromkeys(node.kind for node, _ in circuit):
        found[tuple(spot for spot in circuit if spot[0].kind == kind)] = None
    halves = [_half(circuit, -1 - k) for k in range(SUBSETS)]
    some = list(dict.fromkeys([*found, *halves]))[:SUBSETS]
    return [some[k % len(some)] for k in range(SUBSETS)]


def nodes_tried(circuit: Sequence[Spot]) -> list[Spot]:
    """The nodes whose effect is looked at by itself: all, or of many some, spread over them."""
    if len(circuit) <= MOST_NODES:
        return list(circuit)
    return [circuit[i] for i in np.unique(np.linspace(0, len(circuit) - 1, MOST_NODES).astype(int)).tolist()]


def _half(circuit: Sequence[Spot], number: int) -> tuple[Spot, ...]:
    stream = Stream(_SEED, "half", number)
    order = stream.shuffled(np.arange(len(circuit))).tolist()
    chosen = set(order[: len(circuit) // 2])
    return tuple(spot for i, spot in enumerate(circuit) if i in chosen)


def random_circuits(ablation: Ablation, facts: Facts, count: int = RANDOM) -> tuple[tuple[Spot, ...], ...]:
    """Random circuits with as many nodes of each kind as a circuit, at its tokens, and about as many weighted edges.

    Of some draws each the one whose weighted size is nearest is taken; the circuit itself is none of them.
    """
    pools: dict[str, list[OutputNode]] = {}
    for node, _ in ablation.every:
        if node not in pools.setdefault(node.kind, []):
            pools[node.kind].append(node)
    mine = list(dict.fromkeys(node for node, _ in ablation.spots))
    size = edges_among(mine, facts)[1]
    kinds = Counter(node.kind for node in mine)
    stream, own = Stream(_SEED, "random", ablation.name), set(ablation.spots)
    found = []
    for _ in range(count):
        best: tuple[float, dict[OutputNode, OutputNode]] | None = None
        for _ in range(_TRIES):
            drawn = {kind: iter(_some(stream, pools[kind], n)) for kind, n in kinds.items()}
            others = {node: next(drawn[node.kind]) for node in mine}
            if {(others[node], position) for node, position in ablation.spots} == own:
                continue  # the circuit itself
            gap = abs(edges_among(others.values(), facts)[1] - size)
            if best is None or gap < best[0]:
                best = (gap, others)
            if gap <= 0.02 * size:
                break
        if best is not None:
            found.append(tuple((best[1][node], position) for node, position in ablation.spots))
    return tuple(found)


def _some(stream: Stream, pool: Sequence[OutputNode], n: int) -> list[OutputNode]:
    return [pool[i] for i in stream.shuffled(np.arange(len(pool))).tolist()[:n]]


def compared(quantities: frozenset[Quantity]) -> tuple[Quantity, ...]:
    """The quantities in which two runs that should be one are compared: numbers that a forward pass gives."""
    return tuple(sorted((q for q in quantities if q.kind in ("logit", "log_normalizer")), key=str))


__all__ = ["circuit_runs", "compared", "nodes_tried", "random_circuits", "subsets_of"]
