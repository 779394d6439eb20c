"""The units that could be run now, in the order in which they should be."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Container, Hashable, Iterable, Mapping


def ranks(cost: Mapping[str, float], after: Mapping[str, Iterable[str]]) -> dict[str, float]:
    """The longest chain of cost that begins with each unit; ``after``: the units that wait for one. Raises ValueError for a circle."""
    found: dict[str, float] = {}
    behind = {key: 0 for key in cost}
    needed: dict[str, list[str]] = {}
    for need, waiting in after.items():
        for key in waiting:
            behind[need] += 1
            needed.setdefault(key, []).append(need)
    ends = [key for key, count in behind.items() if not count]
    while ends:
        key = ends.pop()
        found[key] = cost[key] + max((found[one] for one in after.get(key, ())), default=0.0)
        for need in needed.get(key, ()):
            behind[need] -= 1
            if not behind[need]:
                ends.append(need)
    if len(found) < len(cost):
        raise ValueError("units need each other in a circle")
    return {key: found[key] for key in cost}


class Waiting:
    """Units that could be run, by the network that each is of; ``done`` has those that became known as done meanwhile."""

    def __init__(self, rank: Mapping[str, float], done: Container[str]):
        self._rank, self._done = rank, done
        self._order = {key: number for number, key in enumerate(rank)}
        self._by_network: dict[Hashable, list[tuple[float, int, str]]] = {}

    def put(self, key: str, network: Hashable) -> None:
        """Let a unit wait."""
        heapq.heappush(self._by_network.setdefault(network, []), (-self._rank[key], self._order[key], key))

    def take(self, network: Hashable, held: Counter[Hashable]) -> str | None:
        """The unit for a worker that has loaded a network: of this where one waits, else of the network on which most work
        waits for each of the workers that have it, as ``held`` says; None where none waits."""
        if not self._has(network):
            others = [one for one in list(self._by_network) if self._has(one)]
            if not others:
                return None
            network = max(others, key=lambda one: self._work(one) / (1 + held[one]))
        return heapq.heappop(self._by_network[network])[2]

    def _work(self, network: Hashable) -> float:
        waiting = self._by_network[network]
        return -waiting[0][0] * len(waiting)

    def _has(self, network: Hashable) -> bool:
        waiting = self._by_network.get(network)
        while waiting:
            if waiting[0][2] not in self._done:
                return True
            heapq.heappop(waiting)
        self._by_network.pop(network, None)
        return False
