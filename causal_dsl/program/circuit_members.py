"""The members of a circuit: nodes, or edges. Its controls and scores treat both alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from causal_dsl.program.edge_sets import EdgeSet, EdgeSpot, edge_name, shared_ports, size_of_edges
from causal_dsl.program.nodes import Size, Spot, size_of, without
from causal_dsl.vocabulary.network_facts import Facts
from causal_dsl.vocabulary.ports import Ports

#: The members of a circuit.
Members = tuple[Spot, ...] | EdgeSet
#: One of them: a node or an edge, at a token.
Member = Spot | EdgeSpot


def less(one: Members, other: Members) -> Members:
    """The members of one set that are not in another one of its kind."""
    if isinstance(one, EdgeSet):
        assert isinstance(other, EdgeSet)
        return one - other
    assert not isinstance(other, EdgeSet)
    return without(one, other)


def joined(one: Members, other: Members) -> Members:
    """The members of two sets of one kind."""
    if isinstance(one, EdgeSet):
        assert isinstance(other, EdgeSet)
        return one + other
    assert not isinstance(other, EdgeSet)
    return (*one, *less(other, one))


def listed(members: Members) -> tuple[Member, ...]:
    """Each member."""
    return tuple(members)


def some_of(members: Members, chosen: Iterable[Member]) -> Members:
    """The set of the same kind that has these members."""
    if isinstance(members, EdgeSet):
        return EdgeSet.of(members.ports, (edge for edge in chosen if len(edge) == 3))
    return tuple(spot for spot in chosen if len(spot) == 2)


def stem(member: Member) -> tuple[object, ...]:
    """A member without its token."""
    return member[:-1]


def kind(member: Member) -> str:
    """The kind of a node (of a dictionary with its name), or of an edge the kinds of its ends."""
    if len(member) == 3:
        return f"{member[0].kind} to {member[1].kind}"
    inside = member[0].dictionary
    return member[0].kind if inside is None else f"{member[0].kind} of {inside.shown}"


def moved(member: Member, to: tuple[object, ...]) -> Member:
    """Another member at the token of one."""
    return (*to, member[-1])  # type: ignore[return-value]


def name(member: Member) -> str:
    """A member, without its token, as reports name it."""
    return str(member[0]) if len(member) == 2 else edge_name(member[0], member[1])


def size(members: Members, facts: Facts, every: Members = ()) -> Size:
    """How large a circuit is; ``every``: what is looked at."""
    if isinstance(members, EdgeSet):
        return size_of_edges(members, facts)
    return size_of(members, facts, () if isinstance(every, EdgeSet) else every)


def weight_of(stems: Sequence[tuple[object, ...]], ports: Ports) -> float:
    """The weighted edges of some edges without their tokens: one of a shared key or value counts for each of its heads."""
    shared = shared_ports(ports)
    return float(sum(ports.shared if 1 << ports.number(port) & shared else 1 for _, port in stems))  # type: ignore[arg-type, misc]


__all__ = [
    "Member",
    "Members",
    "joined",
    "kind",
    "less",
    "listed",
    "moved",
    "name",
    "size",
    "some_of",
    "stem",
    "weight_of",
]
