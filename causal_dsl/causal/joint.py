"""All rows that a draw statement can give, where they are few enough to be listed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from causal_dsl.causal.domains import Finite
from causal_dsl.causal.predicates import Predicate
from causal_dsl.causal.sampling import Columns, Sampler, with_templates
from causal_dsl.causal.splits import report_empty, restrict
from causal_dsl.causal.support import LISTABLE, Support
from causal_dsl.diagnostics import Diagnostics

if TYPE_CHECKING:
    from causal_dsl.causal.designs import Design
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


def joint(samplers: Sequence[Sampler], where: Predicate | None, balance: Sequence[tuple[str, str]]) -> Joint | None:
    """The combinations of the samplers' inputs on which ``where`` holds; None where there are too many to list."""
    if where is None and not balance:
        return None  # the first proposal is taken
    supports = [sampler.support for sampler in samplers if sampler.support is not None]
    if len(supports) < len(samplers):
        return None
    count = math.prod(support.n for support in supports)
    heaviest = math.prod(int(support.weights.max(initial=1)) for support in supports)
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
            support = model.support(LISTABLE)
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
            report_empty(parted, place if count else span, label, diagnostics)
            return None
        diagnostics.report(
            "E330",
            "this `where` never holds",
            place,
            label=f"on none of the {count:,} combinations",
            help="ask for less",
        )
        return None
    indices = dict(zip(supports, np.unravel_index(rows, sizes), strict=True))
    return {role: {name: codes[indices[role]] for name, codes in supports[role].values.items()} for role in models}


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
            return f"`{name}` is {domain}, which has no end of values"
        count *= model.choices[name].count if name in model.choices else domain.size
    return f"{count:,} combinations of values" if count < 10**15 else f"{float(count):.1e} combinations of values"
