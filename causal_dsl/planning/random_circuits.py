"""The draws beside a circuit: random circuits of its size, random parts of it, and random paths beside it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

from causal_dsl.base.counter import Stream
from causal_dsl.measures.circuit_run_names import INFLATED, MOST_NODES, RANDOM, SUBSETS
from causal_dsl.program.ablations import Ablation
from causal_dsl.program.circuit_members import Member, Members, kind, less, listed, moved, some_of, stem, weight_of
from causal_dsl.program.edge_sets import EdgeSet, EdgeSpot, nodes_at, ports_at, receivers_of
from causal_dsl.program.nodes import OutputNode, edges_among
from causal_dsl.vocabulary.network_facts import Facts

_SEED = 12_011
#: How many circuits are drawn for each random one, of which that of the nearest size is taken.
_TRIES = 40
#: As many where all before were taken already.
_MOST_TRIES = 2000

#: A member without its token.
_Stem = tuple[object, ...]


def subsets_of(circuit: Members) -> list[Members]:
    """The subsets K that completeness tries: all of the circuit, a random half, each of its kinds while there is room, more halves."""
    found: dict[Members, None] = {circuit: None, half_of(circuit, -1): None}
    members = listed(circuit)
    for one in dict.fromkeys(map(kind, members)):
        found[some_of(circuit, (member for member in members if kind(member) == one))] = None
    halves = [half_of(circuit, -1 - k) for k in range(SUBSETS)]
    some = list(dict.fromkeys([*found, *halves]))[:SUBSETS]
    return [some[k % len(some)] for k in range(SUBSETS)]


def nodes_tried(circuit: Members) -> list[Member]:
    """The nodes or edges whose effect is looked at by itself: all, or of many some, spread over them."""
    members = listed(circuit)
    if len(members) <= MOST_NODES:
        return list(members)
    return [members[i] for i in np.unique(np.linspace(0, len(members) - 1, MOST_NODES).astype(int)).tolist()]


def half_of(circuit: Members, number: int) -> Members:
    """A random half of a circuit."""
    members = listed(circuit)
    stream = Stream(_SEED, "half", number)
    order = stream.shuffled(np.arange(len(members))).tolist()
    chosen = set(order[: len(members) // 2])
    return some_of(circuit, (member for i, member in enumerate(members) if i in chosen))


def random_circuits(ablation: Ablation, facts: Facts, count: int = RANDOM) -> tuple[Members, ...]:
    """Random circuits with as many nodes of each kind as a circuit, at its tokens, and about as many weighted edges; of a circuit
    of edges with as many edges from each kind to each kind.

    Of some draws each the one whose weighted size is nearest is taken; the circuit itself is none of them, and each is there once.
    Where there are no more than ``count`` others with as many nodes of each kind, they are all of these.
    """
    pools: dict[str, dict[tuple[object, ...], None]] = {}
    for member in listed(ablation.every):
        pools.setdefault(kind(member), {})[stem(member)] = None
    drawn_from = {name: list(pool) for name, pool in pools.items()}
    members = listed(ablation.members)
    mine = {stem(member): kind(member) for member in members}
    weigh = _weigher(ablation.members, facts)
    size, kinds = weigh(list(mine)), Counter(mine.values())
    stream, own = Stream(_SEED, "random", *_shape(members)), frozenset(members)
    tokens: dict[_Stem, set[object]] = {}
    for member in members:
        tokens.setdefault(stem(member), set()).add(member[-1])
    groups: dict[tuple[str, frozenset[object]], list[_Stem]] = {}
    for one, name in mine.items():
        groups.setdefault((name, frozenset(tokens[one])), []).append(one)
    if _how_many(groups, drawn_from) <= count + 1:
        each = (_moved(members, others) for others in _assigned(list(groups.items()), drawn_from))
        return tuple(some_of(ablation.members, other) for other in each if frozenset(other) != own)
    found = {own: members}
    while len(found) <= count:
        best: tuple[float, tuple[Member, ...]] | None = None
        for tried in range(_MOST_TRIES):
            if tried >= _TRIES and best is not None:
                break
            drawn = {name: iter(_some(stream, drawn_from[name], n)) for name, n in kinds.items()}
            others = {one: next(drawn[name]) for one, name in mine.items()}
            other = _moved(members, others)
            if frozenset(other) in found:
                continue  # the circuit itself, or one that is taken
            gap = abs(weigh(list(others.values())) - size)
            if best is None or gap < best[0]:
                best = (gap, other)
            if gap <= 0.02 * size:
                break
        if best is None:
            break
        found[frozenset(best[1])] = best[1]
    return tuple(some_of(ablation.members, other) for other in list(found.values())[1:])


def _shape(members: Sequence[Member]) -> Iterator[object]:
    """The key of the draws beside a circuit: how many members of each kind it has. Its name decides nothing."""
    for name, count in sorted(Counter(map(kind, members)).items()):
        yield from (name, count)


def _moved(members: Sequence[Member], to: Mapping[_Stem, _Stem]) -> tuple[Member, ...]:
    return tuple(moved(member, to[stem(member)]) for member in members)


def _how_many(groups: Mapping[tuple[str, frozenset[object]], list[_Stem]], pools: Mapping[str, list[_Stem]]) -> int:
    """How many circuits have as many nodes of each kind at the same tokens."""
    there, found = {name: len(pool) for name, pool in pools.items()}, 1
    for (name, _), own in groups.items():
        found *= math.comb(there[name], len(own))
        there[name] -= len(own)
    return found


def _assigned(
    groups: Sequence[tuple[tuple[str, frozenset[object]], list[_Stem]]],
    pools: Mapping[str, list[_Stem]],
    used: frozenset[_Stem] = frozenset(),
) -> Iterator[dict[_Stem, _Stem]]:
    """Every way to put others in the places of the members of some groups; which of a group stands where makes no difference."""
    if not groups:
        yield {}
        return
    ((name, _), own), *rest = groups
    for chosen in combinations([one for one in pools[name] if one not in used], len(own)):
        for more in _assigned(rest, pools, used | frozenset(chosen)):
            yield {**dict(zip(own, chosen, strict=True)), **more}


def _weigher(circuit: Members, facts: Facts) -> Callable[[list[tuple[object, ...]]], float]:
    """Weighted edges, of members without their tokens."""
    if isinstance(circuit, EdgeSet):
        return lambda stems: weight_of(stems, circuit.ports)
    return lambda stems: edges_among((one[0] for one in stems), facts)[1]  # type: ignore[misc]


def _some(stream: Stream, pool: Sequence[tuple[object, ...]], n: int) -> list[tuple[object, ...]]:
    return [pool[i] for i in stream.shuffled(np.arange(len(pool))).tolist()[:n]]


def paths_beside(ablation: Ablation) -> Iterator[tuple[Members, Members]]:
    """Random members outside of a circuit, each with what connects it to the circuit: of a node nothing, of an edge one from the
    circuit to where it begins and one from where it ends, where these are not in the circuit (Shi et al. 2024: a circuit that is
    inflated by a path). Each is there once, and there are :data:`INFLATED` at the most."""
    circuit = ablation.members
    outside = listed(less(ablation.every, circuit))
    stream = Stream(_SEED, "inflated", *_shape(listed(circuit)))
    for i in stream.shuffled(np.arange(len(outside))).tolist()[:INFLATED]:
        one = outside[i]
        if len(one) == 2 or not isinstance(circuit, EdgeSet):
            yield (some_of(circuit, (one,)),) * 2
            continue
        assert isinstance(ablation.every, EdgeSet)
        path = [one, *_connected(one, circuit, ablation.every, stream)]
        yield some_of(circuit, path), some_of(circuit, (one,))


def _connected(edge: EdgeSpot, circuit: EdgeSet, every: EdgeSet, stream: Stream) -> Iterator[EdgeSpot]:
    """The edges that make a path through a circuit of an edge beside it."""
    sender, port, at = edge
    nodes = set(circuit.nodes)
    ports = circuit.ports
    if sender.kind != "embed" and sender not in nodes:
        own = ports.mask(ports_at(sender, ports))
        before = [
            (spot[0], mask & own)
            for spot, mask in every.senders
            if spot[1] == at and mask & own and (spot[0] in nodes or spot[0].kind == "embed")
        ]
        if before:
            first, mask = before[_one(stream, len(before))]
            into = list(ports.of(mask))
            yield first, into[_one(stream, len(into))], at
    readers = nodes_at(port, ports)
    if readers and not nodes & set(readers):
        reader: OutputNode = readers[_one(stream, len(readers))]
        wanted = 1 << (len(ports) - 1)
        for _, mask in circuit.senders:
            wanted |= mask
        onwards = list(ports.of(receivers_of(reader, ports) & wanted))
        yield reader, onwards[_one(stream, len(onwards))], at


def _one(stream: Stream, count: int) -> int:
    return int(stream.below(count, 1)[0])


__all__ = ["half_of", "nodes_tried", "paths_beside", "random_circuits", "subsets_of"]
