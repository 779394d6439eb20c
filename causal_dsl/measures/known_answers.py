"""Rows in which a value that a score needs is not known: the empty text, as of an empty cell in a column of answers.

Such a row is run like any other. A score that needs the value rests on the rows that have one; all others are over all rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import cache

from causal_dsl.measures.per_pair import Informative, Right
from causal_dsl.measures.quantities import ValueRef
from causal_dsl.syntax import tree

LABEL, BASE = ValueRef("label"), ValueRef("base")


@cache
def values_needed(score: object) -> frozenset[ValueRef]:
    """The values of the causal model that a score, or a metric, cannot do without: ``LABEL``, ``BASE`` (the answer of the base),
    and the variables whose tokens it names."""
    return frozenset(_needed(score))


def _needed(part: object) -> Iterator[ValueRef]:
    match part:
        case Right():
            yield LABEL if part.label else BASE
        case Informative():
            yield from (LABEL, BASE)
        case ValueRef():
            if part.role:
                yield LABEL if part.role == "label" else part
        case tree.Node():
            return
        case tuple():
            for one in part:
                yield from _needed(one)
        case _ if dataclasses.is_dataclass(part) and not isinstance(part, type):
            for field in dataclasses.fields(part):
                yield from _needed(getattr(part, field.name))


__all__ = ["BASE", "LABEL", "values_needed"]
