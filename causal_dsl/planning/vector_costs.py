"""The costs of vector networks: their layers are maps from each width to the next."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from causal_dsl.planning.liveness import Schedule
from causal_dsl.planning.memory import MOST_TOKENS_DEVICE, NARROW, Budget
from causal_dsl.vocabulary.network_facts import Facts

#: Of a network of fewer weights a row costs nothing.
_SMALL = 10**6


class VectorCosts:
    """See :class:`causal_dsl.planning.layer_costs.Costs`. A row is one token."""

    def layer_flops(self, facts: Facts) -> float:
        return 2.0 * _weights(facts) / max(1, len(facts.widths) - 1)

    def other_flops(self, schedule: Schedule, facts: Facts, columns: int | None) -> float:
        return 0.0

    def weight_bytes(self, facts: Facts) -> int:
        return 4 * _weights(facts)

    def stages(
        self, tokens: int, keys: int, following: int, facts: Facts, budget: Budget, share: float
    ) -> Iterator[list[float]]:
        wide = max(facts.widths or (1,))
        yield [tokens * wide, tokens * wide, following * wide, following * wide]

    def embedded(self, tokens: int, facts: Facts) -> list[float]:
        return []

    def most_tokens(self, facts: Facts, budget: Budget) -> int:
        if not budget.on_cpu:
            return budget.most_tokens
        return min(MOST_TOKENS_DEVICE, budget.most_tokens * max(1, NARROW // max(1, *facts.widths)))

    def most_apart(self, budget: Budget) -> int:
        return 65_536

    def rows_back(self, tokens: int, facts: Facts, budget: Budget, gradients: bool) -> int:
        return max(1, int(budget.tensors // (64 * budget.size * max(1, sum(facts.widths)))))

    def row_tokens(self, facts: Facts) -> int:
        return 1

    def is_small(self, facts: Facts) -> bool:
        return _weights(facts) < _SMALL

    def is_short(self, facts: Facts, tokens: int) -> bool:
        return False


def _weights(facts: Facts) -> int:
    return sum(one * other for one, other in pairwise(facts.widths))


__all__ = ["VectorCosts"]
