"""The inputs of one role, with what does not matter summed out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import field
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.condition_functions import Columns, Condition
from causal_dsl.causal.designs import Design
from causal_dsl.causal.domains import Finite
from causal_dsl.causal.groups import first_rows, groups_of
from causal_dsl.causal.input_list import Support
from causal_dsl.causal.model import CausalModel, column_of
from causal_dsl.causal.sampling import with_templates
from causal_dsl.causal.splits import restrict
from causal_dsl.causal.support import enumerate_support, matters
from causal_dsl.causal.together import Outputs, names_of
from causal_dsl.diagnostics import SpecError

#: Inputs of a role that are listed at most.
LISTED = 1_000_000
#: A Python function is asked row by row, which takes a hundred times as long.
SLOW = 10
#: Small sides are kept, and so are those with a part of their interfaces.
_SMALL, _MOST_SIDES, _MOST_PARTS = 2**12, 256, 1024


@dataclass(eq=False)
class Side:
    """The inputs of one role. Interfaces: ``columns`` of codes ``[k]``, how many draws and how many inputs each stands for.

    The answers are a sparse table: interface ``at`` ``[m]`` has ``answers`` ``[m]`` in ``shares`` ``[m]`` of its draws.
    ``times`` is how many values the variables have that do not matter (real ones not counted).
    """

    columns: Columns
    weights: np.ndarray
    counts: np.ndarray
    at: np.ndarray
    answers: np.ndarray
    shares: np.ndarray
    times: int
    _parts: dict[Any, Side] = field(default_factory=dict)

    @cached_property
    def told(self) -> tuple[bytes, ...]:
        """All that scores hang on: how probable each interface is, and its answers."""
        return tuple(
            part.dtype.char.encode() + part.tobytes() for part in (self.weights, self.at, self.answers, self.shares)
        )

    def where(self, conditions: Mapping[str, Condition], names: Sequence[str]) -> Side:
        """The interfaces on which some conditions hold, told apart by fewer names. The conditions are by what they say."""
        asked = (tuple(conditions), tuple(names))
        if asked not in self._parts:
            if len(self._parts) >= _MOST_PARTS:
                self._parts.clear()
            self._parts[asked] = self._where(list(conditions.values()), names)
        return self._parts[asked]

    def _where(self, conditions: Sequence[Condition], names: Sequence[str]) -> Side:
        n = len(self.weights)
        holds = np.ones(n, bool)
        for condition in conditions:
            holds &= condition({(role, name): self.columns[name] for role, name in condition.inputs}, n)
        kept, rows = np.flatnonzero(holds), np.flatnonzero(holds[self.at])
        columns = {name: self.columns[name][kept] for name in names}
        group = _numbers(list(columns.values()), len(kept))
        first, place = first_rows(group), np.zeros(n, np.int64)
        place[kept] = group
        weights, counts = _sums(group, self.weights[kept]), _sums(group, self.counts[kept])
        at, answers, shares = _table(place[self.at[rows]], self.answers[rows], self.shares[rows])
        few = {name: codes[first] for name, codes in columns.items()}
        return Side(few, weights, counts, at, answers, shares, self.times)


def _numbers(columns: Sequence[np.ndarray], n: int) -> np.ndarray:
    """A number for each of ``n`` rows, equal where all columns are."""
    return groups_of(columns) if columns and n else np.zeros(n, np.int64)


def _sums(group: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """The sum of some whole numbers of each group."""
    found = np.zeros(int(group.max(initial=-1)) + 1, np.int64)
    np.add.at(found, group, numbers)
    return found


def _table(at: np.ndarray, answers: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The sparse table of the answers of each interface, in the order of these, equal answers of one put together."""
    cell = _numbers([at, answers], len(at))
    rows = first_rows(cell)
    order = np.argsort(at[rows], kind="stable")
    return at[rows][order], answers[rows][order], _sums(cell, shares)[order]


#: Small sides by model: tests that differ in their conditions alone list the same inputs.
_SIDES: WeakKeyDictionary[CausalModel, dict[Any, Side]] = WeakKeyDictionary()


def side_of(design: Design, role: str, names: Sequence[str], output: Outputs | None) -> Side | None:
    """All inputs of a role, told apart by some of their variables, with their answers if an output is named; None where there are too
    many, or none."""
    model = design.models[role]
    if model.needs_trust:
        return None
    kept = _SIDES.setdefault(model, {})
    told = (model.lines, design.splits[role], design.templates, design.exhaustive, tuple(names), output)
    if told in kept:
        return kept[told]
    side = _listed_side(design, role, names, output)
    if side is not None and max(len(side.weights), len(side.at)) <= _SMALL:
        if len(kept) >= _MOST_SIDES:
            kept.clear()
        kept[told] = side
    return side


def _listed_side(design: Design, role: str, names: Sequence[str], output: Outputs | None) -> Side | None:
    model = design.models[role]
    support, asked = _support(design, role, {*names, *(names_of(output) if output else ())})
    if support is None or not support.n:
        return None
    values, mass = support.values, np.ones(support.n, np.int64) if design.exhaustive else support.weights
    group = _numbers([values[name] for name in names], support.n)
    first = first_rows(group)
    weights, counts = _sums(group, mass), np.bincount(group)
    at = answers = shares = np.zeros(0, np.int64)
    if output:
        at, answers, shares = _table(group, column_of(model, values, output), mass)
    others = [model.variables[name].domain for name in set(model.exogenous) - matters(model, asked)]
    times = math.prod(domain.size for domain in others if isinstance(domain, Finite))
    return Side({name: values[name][first] for name in names}, weights, counts, at, answers, shares, times)


def _support(design: Design, role: str, names: set[str]) -> tuple[Support | None, set[str]]:
    """All settings of some variables of a role, with their weights, and the variables that had to be listed for them.

    For a part of the inputs these are all that decide about what is in it. All rows of an exhaustive
    draw are one for each prompt line that an input fits, whether or not a condition mentions the line.
    """
    model, split = design.models[role], design.splits[role]
    templated = bool(design.templates) and ("template" in names or design.exhaustive)
    asked = names - {"template"}
    if templated:
        asked |= {name for where in design.templates if where is not None for _, name in where.mentions}
    if split:
        asked |= set(model.telling)
    support = enumerate_support(model, LISTED // (SLOW if model.functions else 1), sorted(asked))
    if support is None:
        return None, asked
    support = restrict(model, support, split)
    if templated and support.n:
        try:
            support = with_templates(model, support, design.templates)
        except SpecError:  # drawing tells of it
            return None, asked
    return support, asked


__all__ = ["LISTED", "SLOW", "Side", "side_of"]
