"""The names of the runs beside an intervention on a circuit; they begin with ``@``, as no run of a spec does."""

from __future__ import annotations

#: Every node written; every node written as it is in the base; the circuit written and then all else; what is outside of the
#: circuit written; the circuit written.
EMPTY, FULL, HALVES, KEEP, CUT = "@empty", "@full", "@halves", "@keep", "@cut"
#: How many random circuits of the same size stand beside each, and how many subsets K are tried for completeness.
RANDOM, SUBSETS = 20, 12
#: Of how many nodes of a circuit the effect is looked at, at the most.
MOST_NODES = 64
#: The same of random circuits, with which a circuit is compared by as small a search.
RANDOM_SUBSETS, RANDOM_NODES = 2, 4
#: How many members are added to a circuit, one at a time, with which each of its own is compared.
INFLATED = 100


def of_random(number: int, run: str) -> str:
    """A run in which a random circuit stands in the place of the circuit."""
    return run if run == EMPTY or not run.startswith("@") else f"@random {number} {run[1:]}"


def is_random(run: str) -> bool:
    """Whether a random circuit stands in the place of the circuit in a run."""
    return run.startswith("@random ")


def kept_without(number: int) -> str:
    """The circuit alone, without the subset K of this number."""
    return f"@keep without {number}"


def cut_subset(number: int) -> str:
    """The whole network without the subset K of this number."""
    return f"@cut subset {number}"


def kept_without_node(number: int) -> str:
    """The circuit alone, without its node of this number."""
    return f"@keep without node {number}"


def half_without(number: int, node: bool) -> str:
    """The circuit alone without a random half, and without a node as well."""
    return f"@keep without half {number}" + (" and node" if node else "")


def inflated(number: int, without: bool) -> str:
    """The circuit alone with a random path beside it, and ``without`` one edge of that path (a node of its own: the circuit)."""
    return f"@inflated {number}" + (" without" if without else "")


__all__ = [
    "CUT",
    "EMPTY",
    "FULL",
    "HALVES",
    "INFLATED",
    "KEEP",
    "MOST_NODES",
    "RANDOM",
    "RANDOM_NODES",
    "RANDOM_SUBSETS",
    "SUBSETS",
    "cut_subset",
    "half_without",
    "inflated",
    "is_random",
    "kept_without",
    "kept_without_node",
    "of_random",
]
