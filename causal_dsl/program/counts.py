"""`layers` and `heads`: how many a network has, as numbers in parameters (`l in 0:layers`) and in the brackets of a site."""

from __future__ import annotations

from collections.abc import Mapping

from causal_dsl.syntax import tree
from causal_dsl.vocabulary.network_facts import Facts

#: What a word stands for in an index before a network is loaded: as many as hardly any network has, so that `layers - 1` is some layer.
_STAND_IN = 199

#: The words, each with how a network's own number of them is named in messages.
COUNTS = ("layers", "heads")


def layer_count(facts: Facts) -> int | None:
    """How many layers the network has; None where that is not known."""
    if facts.layers is not None:
        return facts.layers
    return len(facts.widths) - 1 if len(facts.widths) > 1 else None


def loaded(facts: Facts) -> bool:
    """Whether it is known of what kind a network is and where its files are: else its numbers are known once it is loaded."""
    traits = facts.traits
    return traits.seen and (not traits.by_record or facts.folder is not None or facts.layers is not None)


def counts_of(facts: Facts) -> dict[str, tree.Expr]:
    """The meanings of the words in a network: those of which it is known."""
    found = {"layers": layer_count(facts), "heads": facts.heads}
    return {name: tree.Number(count) for name, count in found.items() if count is not None}


def numbers_of(facts: Facts) -> dict[str, tree.Expr]:
    """The meanings of the words in an index: of a network that is not loaded yet, some number, as nothing is judged by it then."""
    unknown = {} if loaded(facts) else {name: tree.Number(_STAND_IN) for name in COUNTS}
    return {**unknown, **counts_of(facts)}


def counted(node: tree.Node, known: Mapping[str, object] = {}) -> tuple[str, ...]:
    """The words of them that an expression has, but for those that stand for something else."""
    names = (part.name for part in node.walk() if isinstance(part, tree.Name))
    return tuple(dict.fromkeys(name for name in names if name in COUNTS and name not in known))


__all__ = ["COUNTS", "counted", "counts_of", "layer_count", "loaded", "numbers_of"]
