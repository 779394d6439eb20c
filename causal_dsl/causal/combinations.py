"""All that a test can draw, with what does not matter summed out.

Of an input only two things matter to a chance level: its *interface*, which is what conditions, balances and the label
read of it, and its answer. Given the interface, the answer has to do with nothing else in the row. So combinations of
interfaces are listed, one for many inputs, and the answers are joined to them afterwards, one role at a time: a model
of 10^4 inputs has 10^8 pairs, but perhaps 10^4 pairs of interfaces.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import field, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.balance_cells import Cells
from causal_dsl.causal.condition_functions import Columns
from causal_dsl.causal.designs import Design, DrawStatement
from causal_dsl.causal.domains import Finite
from causal_dsl.causal.groups import first_rows, groups_of
from causal_dsl.causal.input_list import Support
from causal_dsl.causal.minimal import alike_rows
from causal_dsl.causal.model import CausalModel, column_of
from causal_dsl.causal.sampling import with_templates
from causal_dsl.causal.splits import restrict
from causal_dsl.causal.support import enumerate_support, matters
from causal_dsl.causal.together import Outputs, names_of
from causal_dsl.diagnostics import SpecError

#: Inputs of a role that are listed at most.
LISTED = 1_000_000
#: Combinations of interfaces that are kept at most, and those that a `where` is asked about.
COMBINATIONS = 4_000_000
PROPOSED = 16_000_000
#: A Python function is asked row by row, which takes a hundred times as long.
_SLOW = 10
_CHUNK = 2**20


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


@dataclass
class Combinations:
    """Combinations of interfaces: the index of each role's, the probability ``tops / bottoms`` and the number of inputs.

    Whole numbers as long as these are below 2**62; beyond that floating point, ``bottoms`` all 1.
    """

    sides: Mapping[str, Side]
    indices: dict[str, np.ndarray]
    tops: np.ndarray
    bottoms: np.ndarray
    counts: np.ndarray
    exhaustive: bool = False
    memo: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.tops)

    @property
    def n(self) -> int:
        """How many combinations of inputs these are."""
        return int(self.counts.sum()) * math.prod(side.times for side in self.sides.values())

    def among(self, rows: np.ndarray) -> Combinations:
        """Some of the rows, as probable as they are."""
        indices = {role: index[rows] for role, index in self.indices.items()}
        return replace(
            self, indices=indices, tops=self.tops[rows], bottoms=self.bottoms[rows], counts=self.counts[rows], memo={}
        )

    def column(self, role: str, name: str, rows: slice = slice(None)) -> np.ndarray:
        return self.sides[role].columns[name][self.indices[role][rows]]

    def labels(self, model: CausalModel, do: Mapping[str, str], cut: Sequence[str], output: Outputs) -> np.ndarray:
        """The output of the base with the variables of ``do`` set to their values in a role, ``[n]``."""
        parts = []
        for start in range(0, len(self), _CHUNK):
            rows = slice(start, start + _CHUNK)
            settings = {name: self.column("base", name, rows) for name in cut}
            forced = {name: self.column(role, name, rows) for name, role in do.items()}
            values = model.evaluate({}, {**settings, **forced}, wanted=names_of(output))
            parts.append(column_of(model, values, output))
        return np.concatenate(parts)


def combinations(design: Design, interventions: Sequence[tuple[str, str]], output: Outputs) -> Combinations | None:
    """Everything that a design can draw, or None where it is too much (or nothing, of which drawing tells).

    ``interventions`` are (variable, source role). Raises SpecError where the causal model cannot be evaluated.
    """
    model = design.models["base"]
    asked: dict[str, set[str]] = {role: set() for role in design.models}
    asked["base"] |= set(cut_of(model, frozenset(name for name, _ in interventions), output))
    for name, role in interventions:
        asked[role].add(name)
    return table_of(design, asked, {"base", *(role for _, role in interventions)}, output)


def table_of(
    design: Design, asked: dict[str, set[str]], answering: Collection[str] = (), output: Outputs = ""
) -> Combinations | None:
    """All that a design can draw of the variables ``asked`` of each role and of those that it reads itself; ``answering`` roles have
    their answers. None where it is too much, or nothing."""
    for statement in design.statements:
        for role, name in (*(statement.where.mentions if statement.where is not None else ()), *statement.even):
            asked[role].add(name)
    sides: dict[str, Side] = {}
    for role in design.models:
        side = _side(design, role, sorted(asked[role]), output if role in answering else None)
        if side is None:
            return None
        sides[role] = side
    table = Combinations(sides, {}, np.ones(1, np.int64), np.ones(1, np.int64), np.ones(1), design.exhaustive)
    slow = _SLOW if any(model.functions for model in design.models.values()) else 1
    for statement in design.statements:
        joined = _join(table, statement, slow, design)
        if joined is None:
            return None
        table = joined
    if design.exhaustive:
        table.bottoms = np.full(len(table), table.tops.sum())
    return table


def cut_of(model: CausalModel, do: frozenset[str], output: Outputs) -> tuple[str, ...]:
    """The base's values from which the label can be computed: what enters the part that an intervention can change."""
    if not isinstance(output, str):
        return tuple(dict.fromkeys(name for one in output for name in cut_of(model, do, one)))
    changed = set(do)
    for name, variable in model.variables.items():
        if changed & set(variable.parents) and variable.kind == "mechanism":
            changed.add(name)
    if output not in changed:
        return (output,)
    found: dict[str, None] = {}
    stack = [output]
    seen: set[str] = set()
    while stack:
        name = stack.pop()
        if name in do or name in seen:
            continue
        seen.add(name)
        if name in changed:
            stack.extend(model.variables[name].parents)
        else:
            found[name] = None
    return tuple(found)


# ── one role ────────────────────────────────────────────────────────────────────────────────────


#: Small sides by model: tests that differ in their conditions alone list the same inputs.
_SIDES: WeakKeyDictionary[CausalModel, dict[Any, Side]] = WeakKeyDictionary()
_SMALL, _MOST_SIDES = 2**12, 256


def _side(design: Design, role: str, names: Sequence[str], output: Outputs | None) -> Side | None:
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
    group = groups_of([values[name] for name in names]) if names else np.zeros(support.n, np.int64)
    first = first_rows(group)
    weights, counts = np.zeros(len(first), np.int64), np.zeros(len(first), np.int64)
    np.add.at(weights, group, mass)
    np.add.at(counts, group, 1)
    at = answers = shares = np.zeros(0, np.int64)
    if output:
        told = column_of(model, values, output)
        cell = groups_of([group, told])
        rows = first_rows(cell)
        shares = np.zeros(len(rows), np.int64)
        np.add.at(shares, cell, mass)
        at, answers = group[rows], told[rows]
        order = np.argsort(at, kind="stable")
        at, answers, shares = at[order], answers[order], shares[order]
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
    support = enumerate_support(model, LISTED // (_SLOW if model.functions else 1), sorted(asked))
    if support is None:
        return None, asked
    support = restrict(model, support, split)
    if templated and support.n:
        try:
            support = with_templates(model, support, design.templates)
        except SpecError:  # drawing tells of it
            return None, asked
    return support, asked


# ── all roles ───────────────────────────────────────────────────────────────────────────────────


def _join(table: Combinations, statement: DrawStatement, slow: int, design: Design) -> Combinations | None:
    """All rows of the table with all interfaces of a statement's roles, where its condition holds."""
    listed = _alike(table, statement, slow) if statement.like else _crossed(table, statement, slow)
    if listed is None or not len(listed[0]):
        return None
    before, *grid = listed
    weights, counts = np.ones(len(before), np.int64), table.counts[before]
    heaviest = int(table.tops.max()) if table.tops.dtype == np.int64 else 2**62
    for role, index in zip(statement.roles, grid, strict=True):
        side = table.sides[role]
        heaviest *= int(side.weights.sum())
        if heaviest >= 2**62:
            weights = weights.astype(np.float64)
        weights, counts = weights * side.weights[index], counts * side.counts[index]
    indices = {role: index[before] for role, index in table.indices.items()}
    indices.update(zip(statement.roles, grid, strict=True))
    joined = Combinations(
        table.sides, indices, table.tops[before] * weights, np.ones(len(before), np.int64), counts, table.exhaustive
    )
    if table.exhaustive:
        return joined
    if statement.cover:
        keep = _covered(joined, statement, design)
        joined = Combinations(
            joined.sides,
            {role: index[keep] for role, index in joined.indices.items()},
            joined.tops[keep],
            joined.bottoms[keep],
            joined.counts[keep],
        )
        before, weights = before[keep], weights[keep]
    return _normalised(joined, table, before, weights, statement)


def _covered(table: Combinations, statement: DrawStatement, design: Design) -> np.ndarray:
    """Which rows have a combination of the covering design."""
    columns = [table.column(role, name) for role, name in statement.cover]
    return np.flatnonzero(Cells(statement.chosen(design)).of(columns, len(table)) >= 0)


def _crossed(table: Combinations, statement: DrawStatement, slow: int) -> Sequence[np.ndarray] | None:
    """The combinations of everything with everything that the condition lets through: rows of the table, and interfaces of each role."""
    sizes = [len(table), *(len(table.sides[role].weights) for role in statement.roles)]
    if math.prod(sizes) > (PROPOSED if statement.where is not None else COMBINATIONS) // slow:
        return None
    kept = []
    total = 0
    for rows in _allowed(table, statement, sizes):
        kept.append(rows)
        total += len(rows)
        if total > COMBINATIONS // slow:
            return None
    return np.unravel_index(np.concatenate(kept), sizes) if kept else None


def _alike(table: Combinations, statement: DrawStatement, slow: int) -> Sequence[np.ndarray] | None:
    """The same for runs that are like another one, of which few are."""
    sides = {role: table.sides[role].columns for role in statement.roles}
    sizes = {role: len(table.sides[role].weights) for role in statement.roles}
    found = alike_rows(statement, len(table), table.column, sides, sizes, COMBINATIONS // slow)
    if found is None or statement.where is None:
        return None
    before, grid = found
    own = dict(zip(statement.roles, grid, strict=True))
    settings: dict[str, Columns] = {}
    for role, name in statement.where.mentions:
        index = own[role] if role in own else table.indices[role][before]
        settings.setdefault(role, {})[name] = table.sides[role].columns[name][index]
    keep = np.flatnonzero(statement.where(settings, len(before)))
    return before[keep], *(index[keep] for index in grid)


def _allowed(table: Combinations, statement: DrawStatement, sizes: Sequence[int]) -> Iterator[np.ndarray]:
    """The flat indices of what the condition lets through, block by block."""
    for start in range(0, math.prod(sizes), _CHUNK):
        rows = np.arange(start, min(math.prod(sizes), start + _CHUNK))
        if statement.where is not None:
            before, *grid = np.unravel_index(rows, sizes)
            own = dict(zip(statement.roles, grid, strict=True))
            settings: dict[str, Columns] = {}
            for role, name in statement.where.mentions:
                index = own[role] if role in own else table.indices[role][before]
                settings.setdefault(role, {})[name] = table.sides[role].columns[name][index]
            rows = rows[statement.where(settings, len(rows))]
        yield rows


def _normalised(
    joined: Combinations, table: Combinations, before: np.ndarray, weights: np.ndarray, statement: DrawStatement
) -> Combinations | None:
    """The same with probabilities: a statement is drawn given the rows of those before, each value of its balance alike.

    None where some rows have no partner, or none with some value: drawing then finds a fault, or chance decides.
    """
    group, cells = before, 1
    if statement.even:
        cell = groups_of([joined.column(role, name) for role, name in statement.even])
        cells = int(cell.max()) + 1
        group = before * cells + cell
    totals = np.zeros(len(table) * cells, weights.dtype)
    np.add.at(totals, group, weights)
    if not totals.all():
        return None
    if joined.tops.dtype == np.int64 and float(table.bottoms.max()) * float(totals.max()) * cells < 2**62:
        joined.bottoms = table.bottoms[before] * totals[group] * cells
    else:
        joined.tops = joined.tops / table.bottoms[before] / totals[group] / cells
    return joined
