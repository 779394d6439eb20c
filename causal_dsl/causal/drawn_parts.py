"""The parts of the inputs that a design is drawn from, for a report."""

from __future__ import annotations

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.designs import Design
from causal_dsl.causal.splits import TENTHS, cuts_of, hashes_of_inputs
from causal_dsl.vocabulary.called_words import PARTS


@dataclass(frozen=True)
class DrawnPart:
    """The part of the inputs that ``roles`` are drawn from: ``count`` of ``every`` inputs, or values of the variables ``by`` (0: they cannot be
    listed, and it is about so many ``tenths`` of them)."""

    roles: tuple[str, ...]
    name: str
    count: int
    every: int
    tenths: int
    by: tuple[str, ...]


def drawn_parts(design: Design) -> tuple[DrawnPart, ...]:
    """The parts of the inputs that a design is drawn from; none where it is drawn from all."""
    found: dict[tuple[int, str], DrawnPart] = {}
    for statement in design.statements:
        if not statement.split:
            continue
        key, model = (id(statement.model), statement.split), statement.model
        roles = (*found[key].roles, *statement.roles) if key in found else statement.roles
        number, hashes = PARTS.index(statement.split), hashes_of_inputs(model)
        count = 0 if hashes is None else int((np.searchsorted(cuts_of(model), hashes) == number).sum())
        every = 0 if hashes is None else len(hashes)
        found[key] = DrawnPart(roles, statement.split, count, every, TENTHS[number], model.by)
    return tuple(found.values())


__all__ = ["DrawnPart", "drawn_parts"]
