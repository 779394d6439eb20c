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
from causal_dsl.program.circuit_members import Member, Members, kind, less, listed, moved, some_of, stem, weight_of
from causal_dsl.program.circuit_members import size as size_of
from causal_dsl.program.edge_sets import EdgeSet
from causal_dsl.program.measured import without_lines
from causal_dsl.program.nodes import edges_among
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
        sizes.append(tuple(size_of(c, test.network.facts).weighted for c in (ablation.members, *random)))
        for name, interventions in _runs(ablation, random, wanted).items():
            names.append((number, name))
            cells.append(Cell((*cell.values, ("run", name)), interventions))
    probe = CircuitRuns(tuple(names), tuple(sizes))
    made = without_lines(
        test, name=f"{test.name}: circuits", cells=tuple(cells), control=(test.name, "circuits"), probe=probe
    )
    yield replace(made, scores=replace(made.scores, also=frozenset(quantities)))


def _runs(ablation: Ablation, random: Sequence[Members], wanted: set[str]) -> dict[str, tuple[Intervention, ...]]:
    """What is done in each run beside one cell."""
    circuit, every = ablation.members, ablation.every
    rest = less(every, circuit)

    def keep(members: Members) -> tuple[Intervention, ...]:
        """These alone are left as they are."""
        return (write(ablation, less(every, members)),)

    found = {
        EMPTY: (write(ablation, every),),
        FULL: (write(ablation, every, FromRun("base", ())),),
        HALVES: tuple(write(ablation, part) for part in (circuit, rest) if part),
    }
    found |= {random_run(i): (write(ablation, ablation.written(other)),) for i, other in enumerate(random)}
    more: dict[str, Callable[[], tuple[Intervention, ...]]] = {
        KEEP: lambda: keep(circuit),
        CUT: lambda: (write(ablation, circuit),),
    }
    for k, subset in enumerate(subsets_of(circuit)):
        more[kept_without(k)] = lambda subset=subset: keep(less(circuit, subset))  # type: ignore[misc]
        more[cut_subset(k)] = lambda subset=subset: (write(ablation, subset),)  # type: ignore[misc]
    nodes = nodes_tried(circuit)
    searched = any(kept_without_node(n) in wanted for n in range(MOST_NODES))
    for n, member in enumerate(nodes[i % len(nodes)] for i in range(MOST_NODES if nodes and searched else 0)):
        one = some_of(circuit, (member,))
        half = less(_half(circuit, n), one)
        more[kept_without_node(n)] = lambda one=one: keep(less(circuit, one))  # type: ignore[misc]
        more[half_without(n, False)] = lambda half=half: keep(less(circuit, half))  # type: ignore[misc]
        more[half_without(n, True)] = lambda half=half, one=one: keep(  # type: ignore[misc]
            less(less(circuit, half), one)
        )
    empty = () if nodes else tuple(name for name in wanted if name not in more and name not in found)
    found |= {name: make() for name, make in more.items() if name in wanted}
    return found | {name: keep(circuit) for name in empty}  # a circuit without nodes has none to leave out


def subsets_of(circuit: Members) -> list[Members]:
    """The subsets K that completeness tries: all of the circuit, each of its kinds while there is room, random halves."""
    found: dict[Members, None] = {circuit: None}
    members = listed(circuit)
    for one in dict.fromkeys(map(kind, members)):
        found[some_of(circuit, (member for member in members if kind(member) == one))] = None
    halves = [_half(circuit, -1 - k) for k in range(SUBSETS)]
    some = list(dict.fromkeys([*found, *halves]))[:SUBSETS]
    return [some[k % len(some)] for k in range(SUBSETS)]


def nodes_tried(circuit: Members) -> list[Member]:
    """The nodes or edges whose effect is looked at by itself: all, or of many some, spread over them."""
    members = listed(circuit)
    if len(members) <= MOST_NODES:
        return list(members)
    return [members[i] for i in np.unique(np.linspace(0, len(members) - 1, MOST_NODES).astype(int)).tolist()]


def _half(circuit: Members, number: int) -> Members:
    members = listed(circuit)
    stream = Stream(_SEED, "half", number)
    order = stream.shuffled(np.arange(len(members))).tolist()
    chosen = set(order[: len(members) // 2])
    return some_of(circuit, (member for i, member in enumerate(members) if i in chosen))


def random_circuits(ablation: Ablation, facts: Facts, count: int = RANDOM) -> tuple[Members, ...]:
    """Random circuits with as many nodes of each kind as a circuit, at its tokens, and about as many weighted edges; of a circuit
    of edges with as many edges from each kind to each kind.

    Of some draws each the one whose weighted size is nearest is taken; the circuit itself is none of them.
    """
    pools: dict[str, dict[tuple[object, ...], None]] = {}
    for member in listed(ablation.every):
        pools.setdefault(kind(member), {})[stem(member)] = None
    drawn_from = {name: list(pool) for name, pool in pools.items()}
    members = listed(ablation.members)
    mine = {stem(member): kind(member) for member in members}
    weigh = _weigher(ablation.members, facts)
    size, kinds = weigh(list(mine)), Counter(mine.values())
    stream, own = Stream(_SEED, "random", ablation.name), set(members)
    found = []
    for _ in range(count):
        best: tuple[float, dict[tuple[object, ...], tuple[object, ...]]] | None = None
        for _ in range(_TRIES):
            drawn = {name: iter(_some(stream, drawn_from[name], n)) for name, n in kinds.items()}
            others = {one: next(drawn[name]) for one, name in mine.items()}
            if {moved(member, others[stem(member)]) for member in members} == own:
                continue  # the circuit itself
            gap = abs(weigh(list(others.values())) - size)
            if best is None or gap < best[0]:
                best = (gap, others)
            if gap <= 0.02 * size:
                break
        if best is not None:
            taken = best[1]
            found.append(some_of(ablation.members, (moved(member, taken[stem(member)]) for member in members)))
    return tuple(found)


def _weigher(circuit: Members, facts: Facts) -> Callable[[list[tuple[object, ...]]], float]:
    """Weighted edges, of members without their tokens."""
    if isinstance(circuit, EdgeSet):
        return lambda stems: weight_of(stems, circuit.ports)
    return lambda stems: edges_among((one[0] for one in stems), facts)[1]  # type: ignore[misc]


def _some(stream: Stream, pool: Sequence[tuple[object, ...]], n: int) -> list[tuple[object, ...]]:
    return [pool[i] for i in stream.shuffled(np.arange(len(pool))).tolist()[:n]]


def compared(quantities: frozenset[Quantity]) -> tuple[Quantity, ...]:
    """The quantities in which two runs that should be one are compared: numbers that a forward pass gives."""
    return tuple(sorted((q for q in quantities if q.kind in ("logit", "log_normalizer")), key=str))


__all__ = ["circuit_runs", "compared", "nodes_tried", "random_circuits", "subsets_of"]
