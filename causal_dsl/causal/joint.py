"""All rows that a draw statement can give, where they are few enough to be listed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.condition_functions import Columns, Predicate
from causal_dsl.causal.domains import Finite
from causal_dsl.causal.input_list import Support
from causal_dsl.causal.minimal import alike_rows, report_alone
from causal_dsl.causal.sampling import NEVER, Sampler, with_templates
from causal_dsl.causal.splits import report_empty, restrict
from causal_dsl.causal.support import LISTABLE, support_of
from causal_dsl.diagnostics import Diagnostics

if TYPE_CHECKING:
    from causal_dsl.causal.designs import Design, DrawStatement
    from causal_dsl.causal.model import CausalModel

#: Combinations of inputs that are listed at most.
COMBINATIONS = 2_000_000
_EXHAUSTIVE = 20_000_000
_BYTES = 2**29


@dataclass
class Joint:
    """All allowed combinations: for each sampler the index into its support ``[n]``, and whole weights ``[n]``."""

    indices: list[np.ndarray]
    weights: np.ndarray
    asked: int

    @property
    def n(self) -> int:
        return len(self.weights)

    def columns(self, samplers: Sequence[Sampler], wanted: Mapping[str, Sequence[str]]) -> dict[str, Columns]:
        return {
            s.role: s.complete({"#": index}, wanted[s.role], self.n)
            for s, index in zip(samplers, self.indices, strict=True)
        }


def joint(
    samplers: Sequence[Sampler],
    where: Predicate | None,
    balance: Sequence[tuple[str, str]],
    alike: DrawStatement | None = None,
) -> Joint | None:
    """The combinations of the samplers' inputs on which ``where`` holds; None where there are too many to list. ``alike``: the
    statement, where its runs are like one of them."""
    if where is None and not balance:
        return None  # the first proposal is taken
    supports = [sampler.support for sampler in samplers if sampler.support is not None]
    if len(supports) < len(samplers):
        return None
    count = math.prod(support.n for support in supports)
    heaviest = math.prod(int(support.weights.max(initial=1)) for support in supports)
    grid: Sequence[np.ndarray]
    if alike is not None and where is not None:
        roles = [sampler.role for sampler in samplers]
        sides = dict(zip(roles, (support.values for support in supports), strict=True))
        sizes = dict(zip(roles, (support.n for support in supports), strict=True))
        found = alike_rows(alike, 1, lambda role, name: np.zeros(1), sides, sizes, COMBINATIONS)
        if found is None:
            return None
        grid, count = found[1], len(found[0])
        if count * heaviest >= 2**62:
            return None
    else:
        if count > COMBINATIONS or count * heaviest >= 2**62:
            return None
        grid = np.unravel_index(np.arange(count), [support.n for support in supports])
    weights = np.ones(count, np.int64)
    for support, index in zip(supports, grid, strict=True):
        weights = weights * support.weights[index]
    if where is None:
        return Joint(list(grid), weights, count)
    settings = {
        s.role: {name: u.values[name][i] for r, name in where.mentions if r == s.role}
        for s, u, i in zip(samplers, supports, grid, strict=True)
    }
    keep = where(settings, count)
    return Joint([index[keep] for index in grid], weights[keep], count)


def exhaustive(design: Design, diagnostics: Diagnostics) -> dict[str, Columns] | None:
    """Every combination of inputs that the conditions allow, each once, the first role slowest; E330, E331, E710."""
    models = design.models
    supports: dict[str, Support] = {}
    span = design.statements[0].span
    made: dict[tuple[int, str], Support] = {}
    splits = design.splits
    for role, model in models.items():
        part = id(model), splits[role]
        if part not in made:
            support = support_of(model, LISTABLE)
            if support is None:
                diagnostics.report(
                    "E331",
                    f"`{model.name}` has too many inputs to take all of them",
                    span,
                    label=how_many(model),
                    help="draw some: write n=1024 in place of exhaustive=true",
                )
                return None
            made[part] = with_templates(model, restrict(model, support, splits[role]), design.templates)
        supports[role] = made[part]
    if any(statement.like for statement in design.statements):
        return _alike(design, supports, diagnostics)
    sizes = [support.n for support in supports.values()]
    count = math.prod(sizes)
    columns = sum(len(support.values) for support in supports.values())
    wheres = [statement.where for statement in design.statements if statement.where is not None]
    if count > _EXHAUSTIVE:
        label = " x ".join(f"{size:,}" for size in sizes) + f" = {count:,} combinations"
        diagnostics.report(
            "E331",
            "there are too many combinations to take all of them",
            span,
            label=label,
            help="draw some: write n=1024 in place of exhaustive=true",
        )
        return None
    kept: list[np.ndarray] = []
    total = 0
    for start in range(0, count, 2**20):
        rows = np.arange(start, min(count, start + 2**20))
        grid = dict(zip(supports, np.unravel_index(rows, sizes), strict=True))
        keep = np.ones(len(rows), bool)
        for where in wheres:
            settings: dict[str, Columns] = {}
            for role, name in where.mentions:
                settings.setdefault(role, {})[name] = supports[role].values[name][grid[role]]
            keep &= where(settings, len(rows))
        kept.append(rows[keep])
        total += len(kept[-1])
        if total > COMBINATIONS or total * columns * 8 > _BYTES:
            diagnostics.report(
                "E331",
                "there are too many combinations to take all of them",
                span,
                label=f"{count:,} of them",
                help="draw some: write n=1024 in place of exhaustive=true",
            )
            return None
    rows = np.concatenate(kept) if kept else np.zeros(0, np.int64)
    if not len(rows):
        place = wheres[0].span if wheres else span
        parted = next((statement for statement in design.statements if statement.split), None)
        if parted is not None and (not count or _holds_elsewhere(design)):
            label = f"this holds on none of its {count:,} combinations" if count else "it is empty"
            report_empty(parted.model, parted.split, place if count else span, label, diagnostics)
            return None
        diagnostics.report(
            "E330",
            "this `where` never holds",
            place,
            label=f"on none of the {count:,} combinations",
            help=NEVER,
        )
        return None
    indices = dict(zip(supports, np.unravel_index(rows, sizes), strict=True))
    return {role: {name: codes[indices[role]] for name, codes in supports[role].values.items()} for role in models}


def _alike(design: Design, supports: Mapping[str, Support], diagnostics: Diagnostics) -> dict[str, Columns] | None:
    """All rows of a design in which some runs are like others, statement by statement; E331, E350."""
    index: dict[str, np.ndarray] = {}
    n = 1
    for statement in design.statements:

        def column(role: str, name: str, before: Mapping[str, np.ndarray] = index) -> np.ndarray:
            return supports[role].values[name][before[role]]

        sizes = {role: supports[role].n for role in statement.roles}
        if statement.like:
            sides = {role: supports[role].values for role in statement.roles}
            found = alike_rows(statement, n, column, sides, sizes, COMBINATIONS)
        elif n * math.prod(sizes.values()) <= COMBINATIONS:
            rows, *grid = np.unravel_index(np.arange(n * math.prod(sizes.values())), [n, *sizes.values()])
            found = rows, grid
        else:
            found = None
        if found is None:
            diagnostics.report(
                "E331",
                "there are too many combinations to take all of them",
                statement.span,
                label=f"more than {COMBINATIONS:,}",
                help="draw some: write n=1024 in place of exhaustive=true",
            )
            return None
        rows, own = found
        index = {role: before[rows] for role, before in index.items()} | dict(zip(statement.roles, own, strict=True))
        if statement.where is not None:
            settings: dict[str, Columns] = {}
            for role, name in statement.where.mentions:
                settings.setdefault(role, {})[name] = supports[role].values[name][index[role]]
            keep = statement.where(settings, len(rows))
            index = {role: before[keep] for role, before in index.items()}
        n = len(index[statement.roles[0]])
        if not n and statement.like:
            drawn: dict[str, Columns] = {role: {} for role in index if role not in statement.roles}
            report_alone(design, statement, drawn, 0, np.zeros(0, np.int64), diagnostics)
            return None
        if not n:
            place = statement.where.span if statement.where is not None else statement.span
            diagnostics.report("E330", "this `where` never holds", place, label="on no combination", help=NEVER)
            return None
    return {role: {name: codes[index[role]] for name, codes in supports[role].values.items()} for role in index}


def _holds_elsewhere(design: Design) -> bool:
    """Whether there would be rows if the draws were not of a part."""
    quiet = Diagnostics()
    whole = replace(design, statements=tuple(replace(statement, split="") for statement in design.statements))
    return exhaustive(whole, quiet) is not None or all(fault.code != "E330" for fault in quiet.errors)


def how_many(model: CausalModel) -> str:
    """How many inputs a model has, for people."""
    count = 1
    for name in model.exogenous:
        domain = model.variables[name].domain
        if not isinstance(domain, Finite):
            return f"`{name}` is {domain}, which has infinitely many values"
        count *= model.choices[name].count if name in model.choices else domain.size
    return f"{count:,} combinations of values" if count < 10**15 else f"{float(count):.1e} combinations of values"
