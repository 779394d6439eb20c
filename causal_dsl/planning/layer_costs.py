"""The costs of a layer and of a whole network of each kind: one protocol, and a module for each kind that counts in its own way."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Protocol

from causal_dsl.vocabulary.network_facts import Facts
from causal_dsl.vocabulary.network_kinds import NetworkKind
from causal_dsl.vocabulary.plugins import made

if TYPE_CHECKING:
    from causal_dsl.planning.liveness import Schedule
    from causal_dsl.planning.memory import Budget


class Costs(Protocol):
    """Multiplications, numbers and bytes of networks of one kind, from their facts. A token is what has a vector of its own in a layer."""

    def layer_flops(self, facts: Facts) -> float:
        """Multiplications and additions of one layer for one token, attention's own products aside."""

    def other_flops(self, schedule: Schedule, facts: Facts, columns: int | None) -> float:
        """Those of a pass that no layer has for each of its tokens: attention's own products, and the unembedding."""

    def weight_bytes(self, facts: Facts) -> int:
        """Bytes of the weights in float32."""

    def stages(
        self, tokens: int, keys: int, following: int, facts: Facts, budget: Budget, share: float
    ) -> Iterator[list[float]]:
        """The tensors that are alive at each stage of a layer, as :func:`causal_dsl.planning.alive.stages` says."""

    def embedded(self, tokens: int, facts: Facts) -> list[float]:
        """The numbers that the model holds of so many tokens from beginning to end."""

    def most_tokens(self, facts: Facts, budget: Budget) -> int:
        """The most tokens of a layer in a pass."""

    def most_apart(self, budget: Budget) -> int:
        """The most tokens of a forward pass that runs one intervention."""

    def rows_back(self, tokens: int, facts: Facts, budget: Budget, gradients: bool) -> int:
        """How many rows of so many tokens fit the budget, where everything that a pass computes stays for its ``gradients``."""

    def row_tokens(self, facts: Facts) -> int:
        """How many tokens an input has that is not drawn yet."""

    def is_small(self, facts: Facts) -> bool:
        """Whether a row costs next to nothing, however many there are."""

    def is_short(self, facts: Facts, tokens: int) -> bool:
        """Whether some thousand rows of so many tokens cost next to nothing."""


@cache
def _made(dotted: str) -> Costs:
    found: Costs = made(dotted)()
    return found


def costs_of(kind: NetworkKind) -> Costs:
    """The functions that count the costs of networks of a kind."""
    return _made(kind.costs)


__all__ = ["Costs", "costs_of"]
