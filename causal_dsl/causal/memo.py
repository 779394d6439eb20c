"""Draws and chance levels that several tests share, found once: what decides them is the key, wherever it was written."""

from __future__ import annotations

import itertools
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import fields
from functools import cache
from typing import Any

from causal_dsl.causal.ceilings import Ceiling, ceilings
from causal_dsl.causal.condition_functions import Predicate
from causal_dsl.causal.designs import Design, Drawn, DrawStatement
from causal_dsl.causal.draw import draw
from causal_dsl.causal.model import CausalModel
from causal_dsl.causal.number_ceilings import number_ceilings
from causal_dsl.causal.together import Outputs
from causal_dsl.diagnostics import Diagnostics

#: The fields of a draw that are no part of a key, each with the reason. Every other field is.
UNTOLD = {"span": "rows are the same wherever the draw is written", "choose": "it follows from `strata` and `cover`"}
#: The fields that decide which rows are drawn, and no exact ceiling.
OF_ROWS = ("n", "seed", "strata")
#: What is remembered from check to check: bytes of rows, and sets of chance levels.
_MOST_BYTES, _MOST_CEILINGS = 200 * 2**20, 2000
#: Contexts that are remembered: who types a name leaves a text, and comes back to it.
_MOST_CONTEXTS = 8


class Memo:
    """Remembers within one check, or from check to check where :meth:`begin` is told what decides the models. Conditions count by
    what they say. Within one check models count as what they are, not by name."""

    def __init__(self) -> None:
        #: what was drawn, the least lately used first, with the design, so that no identity of a model is given to another
        self._drawn: OrderedDict[Any, tuple[Drawn, Design, int]] = OrderedDict()
        self._ceilings: dict[Any, dict[str, Ceiling]] = {}
        self._kept: list[Design] = []
        #: the contexts of the last checks by their numbers: those of each model, and what all models share (under None)
        self._contexts: dict[tuple[str, str] | None, deque[tuple[int, Any]]] = {}
        self._numbers = itertools.count()
        #: the numbers of this check; none within one check
        self._current: dict[tuple[str, str] | None, int] = {}
        self._bytes = 0
        self._models: dict[int, tuple[CausalModel, Any]] = {}
        self._taken: dict[Any, int] = {}
        self._told: dict[int, tuple[Design, Any, Any]] = {}

    def begin(self, shared: tuple[Any, Set[Any]], models: Mapping[tuple[str, str], Any]) -> None:
        """Another check begins. What is known of a model holds for the model of the same file and name if all that decides it is
        equal: what is ``shared`` by all models of a spec (its declarations, and the files that were read), and its own entry of ``models``. A model
        without an entry is known in this check alone."""
        if len(self._ceilings) > _MOST_CEILINGS:
            self._ceilings.clear()
            self._kept.clear()
        self._current = {None: self._number(None, shared)}
        self._current |= {place: self._number(place, context) for place, context in models.items()}
        self._models, self._taken, self._told = {}, {}, {}

    def _number(self, place: tuple[str, str] | None, context: Any) -> int:
        """The number of a context, which equal ones share."""
        if len(self._contexts) > _MOST_CEILINGS:
            self._contexts.clear()
        known = self._contexts.setdefault(place, deque(maxlen=_MOST_CONTEXTS))
        number = next((number for number, one in known if _decided_alike(place, one, context)), None)
        if number is None:
            number = next(self._numbers)
            known.append((number, context))
        return number

    def draw(self, design: Design, diagnostics: Diagnostics) -> Drawn | None:
        """:func:`~causal_dsl.causal.draw.draw`; what was reported of one draw is reported of the next one, too."""
        at, _ = self._keys(design)
        known = self._drawn.get(at)
        if known is not None:
            self._drawn.move_to_end(at)
            return known[0]
        quiet = Diagnostics()
        found = draw(design, quiet)
        diagnostics.extend(quiet)
        if found is None or len(quiet):
            return found
        size = _bytes_of(found) if self._current else 0
        self._drawn[at] = (found, design, size)
        self._bytes += size
        while self._bytes > _MOST_BYTES and len(self._drawn) > 1:
            _, (_, _, freed) = self._drawn.popitem(last=False)
            self._bytes -= freed
        return found

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
        sampled, exact = ((told, *asked) for told in self._keys(design))
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

    def _keys(self, design: Design) -> tuple[Any, Any]:
        """All that decides the rows of a design, and all that decides its exact ceilings; found once a design."""
        known = self._told.get(id(design))
        if known is None:
            told = {field: _told(getattr(design, field), self._model) for field in _fields_told(Design)}
            rows = tuple(told.values())
            told["statements"] = tuple(
                tuple(
                    value for field, value in zip(_fields_told(DrawStatement), one, strict=True) if field not in OF_ROWS
                )
                for one in told["statements"]
            )
            known = self._told[id(design)] = design, rows, tuple(told.values())
        return known[1:]

    def _model(self, model: CausalModel) -> Any:
        """A model as a part of a key. Two that have one name and are not one are told apart, and are known in this check alone;
        so is a model with code of its own."""
        own = self._current.get((model.span.source.path, model.name))
        if own is None or model.functions:
            return id(model)
        if id(model) not in self._models:
            place = (
                self._current[None],
                own,
                model.lines,
                model.by,
                model.weight,
                model.strings.every,
            )
            alone = self._taken.setdefault(place, id(model)) != id(model)
            self._models[id(model)] = (model, id(model) if alone else place)
        return self._models[id(model)][1]


def _decided_alike(place: tuple[str, str] | None, known: Any, context: Any) -> bool:
    """Whether a context decides what a known one did. What all models share is declarations and the files that were read: what
    read these alone, with the content that they had, would have read no other."""
    if place is not None:
        return bool(known == context)
    (declared, reads), (own, read) = known, context
    return bool(declared == own and read <= reads)


def _bytes_of(drawn: Drawn) -> int:
    arrays = [*drawn.ids.values(), *(codes for columns in drawn.values.values() for codes in columns.values())]
    return sum(int(getattr(array, "nbytes", 0)) for array in arrays)


def _told(value: Any, model: Callable[[CausalModel], Any]) -> Any:
    """A value as a part of a key: of a statement every field that is not ``UNTOLD``."""
    if value is None or isinstance(value, (str, int)):  # most are
        return value
    match value:
        case DrawStatement():
            return tuple([_told(getattr(value, name), model) for name in _fields_told(DrawStatement)])
        case tuple():
            return tuple([_told(part, model) for part in value])
        case CausalModel():
            return model(value)
        case Predicate():
            return _said(value)
    return value


@cache
def _fields_told(kind: Any) -> tuple[str, ...]:
    return tuple(one.name for one in fields(kind) if one.name not in UNTOLD)


def _said(where: Predicate) -> Any:
    """A condition by its text and by what it was compiled to: equal texts may be of other variables."""
    condition = where.condition
    return where.span.source.path, where.said, condition.expr, condition.inputs, len(condition.guards)


__all__ = ["OF_ROWS", "UNTOLD", "Memo"]
