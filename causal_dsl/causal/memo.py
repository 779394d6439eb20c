"""Draws and chance levels that several tests share, found once: what decides them is the key, wherever it was written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from causal_dsl.causal.ceilings import Ceiling, ceilings
from causal_dsl.causal.designs import Design, Drawn, DrawStatement, draw
from causal_dsl.causal.model import CausalModel
from causal_dsl.causal.number_ceilings import number_ceilings
from causal_dsl.causal.predicates import Predicate
from causal_dsl.causal.together import Outputs
from causal_dsl.diagnostics import Diagnostics

#: The fields of a draw that are no part of a key, each with the reason. Every other field is.
UNTOLD = {"span": "rows are the same wherever the draw is written", "choose": "it follows from `strata` and `cover`"}
#: The fields that decide which rows are drawn, and no exact ceiling.
OF_ROWS = ("n", "seed", "strata")


class Memo:
    """Remembers within one check. Models count as what they are, not by name; conditions by what they say."""

    def __init__(self) -> None:
        self._drawn: dict[Any, Drawn] = {}
        self._ceilings: dict[Any, dict[str, Ceiling]] = {}
        self._kept: list[Design] = []  # so that no identity of a model is given to another

    def draw(self, design: Design, diagnostics: Diagnostics) -> Drawn | None:
        """:func:`~causal_dsl.causal.designs.draw`; what was reported of one draw is reported of the next one, too."""
        at = _key(design, rows=True)
        if at not in self._drawn:
            quiet = Diagnostics()
            found = draw(design, quiet)
            diagnostics.extend(quiet)
            if found is None or len(quiet):
                return found
            self._drawn[at] = found
            self._kept.append(design)
        return self._drawn[at]

    def ceilings(
        self,
        design: Design,
        interventions: Sequence[tuple[str, str]],
        output: Outputs,
        drawn: Drawn | None,
        gaps: bool = False,
    ) -> dict[str, Ceiling]:
        """:func:`~causal_dsl.causal.ceilings.ceilings`; exact ones hold whatever the seed and the number of rows."""
        asked = (tuple(interventions), output, gaps)
        exact, sampled = (_key(design, rows=False), *asked), (_key(design, rows=True), *asked)
        for at in (exact, sampled):
            if at in self._ceilings:
                return self._ceilings[at]
        numbered = isinstance(output, str) and design.models["base"].variables[output].type == "real"
        if numbered:
            found = number_ceilings(design, interventions, str(output), drawn)
        else:
            found = ceilings(design, interventions, output, drawn, gaps)
        whole = bool(found) and all(ceiling.exact for ceiling in found.values())
        self._ceilings[exact if whole else sampled] = found
        self._kept.append(design)
        return found


def _key(design: Design, rows: bool) -> tuple[Any, ...]:
    """All that decides the ``rows`` of a design or, without them, its exact ceilings."""
    return _told(design, frozenset(UNTOLD) | (frozenset() if rows else frozenset(OF_ROWS)))


def _told(value: Any, untold: frozenset[str]) -> Any:
    """A value as a part of a key: of a design and its statements every field that is not ``untold``."""
    match value:
        case Design() | DrawStatement():
            told = ((f.name, getattr(value, f.name)) for f in fields(value) if f.name not in untold)
            return tuple((name, _told(part, untold)) for name, part in told)
        case tuple():
            return tuple(_told(part, untold) for part in value)
        case CausalModel():
            return id(value)
        case Predicate():
            return _said(value)
    return value


def _said(where: Predicate) -> Any:
    """A condition by its text and by what it was compiled to: equal texts may be of other variables."""
    condition = where.condition
    return where.span.source.path, where.said, condition.expr, condition.inputs, len(condition.guards)


__all__ = ["OF_ROWS", "UNTOLD", "Memo"]
