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

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.balance_cells import Cells
from causal_dsl.causal.condition_functions import Columns, Condition
from causal_dsl.causal.designs import Design, DrawStatement
from causal_dsl.causal.groups import groups_of
from causal_dsl.causal.minimal import alike_rows
from causal_dsl.causal.model import CausalModel, column_of
from causal_dsl.causal.sides import SLOW, Side, side_of
from causal_dsl.causal.together import Outputs, names_of

#: Combinations of interfaces that are kept at most, and those that a `where` is asked about.
COMBINATIONS = 4_000_000
PROPOSED = 16_000_000
#: Combinations of interfaces from which on it is worth the time to make them fewer.
_NARROWED = 200
_CHUNK = 2**20


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
        for role, name in statement.even:
            asked[role].add(name)
    read = {(role, name) for one in design.statements if one.where is not None for role, name in one.where.mentions}
    sides: dict[str, Side] = {}
    for role in design.models:
        names = sorted(asked[role] | {name for own, name in read if own == role})
        side = side_of(design, role, names, output if role in answering else None)
        if side is None:
            return None
        sides[role] = side
    slow = SLOW if any(model.functions for model in design.models.values()) else 1
    statements: Sequence[DrawStatement] = design.statements
    if _NARROWED <= math.prod(len(side.weights) for side in sides.values()) <= COMBINATIONS // slow:
        sides, statements = _narrowed(sides, statements, asked)
    table = Combinations(sides, {}, np.ones(1, np.int64), np.ones(1, np.int64), np.ones(1), design.exhaustive)
    for statement in statements:
        joined = _join(table, statement, slow, design)
        if joined is None:
            return None
        table = joined
    if design.exhaustive:
        table.bottoms = np.full(len(table), table.tops.sum())
    return table


def _narrowed(
    sides: dict[str, Side], statements: Sequence[DrawStatement], asked: Mapping[str, set[str]]
) -> tuple[dict[str, Side], Sequence[DrawStatement]]:
    """The same where what a condition says of one role alone is asked of its interfaces: these need not tell apart what nothing else asks."""
    if any(statement.like for statement in statements):
        return sides, statements
    own: dict[str, Mapping[Any, Condition]] = {}
    found = []
    for statement in statements:
        if statement.where is not None:
            parts, left = statement.where.apart(statement.roles)
            own |= parts
            statement = replace(statement, where=left)
        found.append(statement)
    if not own:
        return sides, statements
    names = {role: set(known) for role, known in asked.items()}
    for role, name in (one for statement in found if statement.where is not None for one in statement.where.mentions):
        names[role].add(name)
    return {
        role: side.where(own[role], sorted(names[role])) if role in own else side for role, side in sides.items()
    }, found


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
