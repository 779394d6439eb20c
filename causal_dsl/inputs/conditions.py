"""Conditions that positions depend on, `[if query == 1 then first else second]`, judged in the rows of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import numpy as np

from causal_dsl.base.faults import OwnFault
from causal_dsl.causal.model import CausalModel
from causal_dsl.causal.predicates import compile_predicate
from causal_dsl.diagnostics import Diagnostics
from causal_dsl.syntax import tree
from causal_dsl.vocabulary.locations import Place, Position

#: Whether each condition holds in the rows of a run: in words -> [n] bool.
Choices = Mapping[str, np.ndarray]
NONE: Choices = MappingProxyType({})


def conditions_of(places: Iterable[Place]) -> dict[str, tree.Expr]:
    """The conditions that the positions of some places depend on, by their words, in the order of these."""
    found: dict[str, tree.Expr] = {}
    for place in places:
        for position in (place.position, place.key):
            found |= _in(position)
    return dict(sorted(found.items()))


def _in(position: Position | None) -> dict[str, tree.Expr]:
    parts = position.walk() if position is not None else ()
    return {part.name: part.when for part in parts if part.when is not None}


def judged(
    conditions: Mapping[str, tree.Expr], model: CausalModel, settings: Mapping[str, np.ndarray], n: int
) -> Choices:
    """Where conditions hold, for columns of codes of a model's variables [n]."""
    found = {}
    for said, when in conditions.items():
        predicate = compile_predicate(when, {"": model}, Diagnostics())
        if predicate is None:
            raise OwnFault(f"the condition `{said}` was read before, and now is not")
        found[said] = predicate({"": settings}, n)
    return found


__all__ = ["NONE", "Choices", "conditions_of", "judged"]
