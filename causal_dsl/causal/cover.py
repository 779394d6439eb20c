"""How far the rows that were drawn are all that can be drawn: what an interval can be about, and exact weights."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from causal_dsl.causal.designs import Design, Drawn, DrawStatement, draw
from causal_dsl.causal.sampling import Columns, with_templates
from causal_dsl.causal.splits import restrict
from causal_dsl.causal.support import Support, enumerate_support
from causal_dsl.diagnostics import Diagnostics, SpecError

#: Rows of all roles that are listed for each row that was drawn: a condition may leave few of many.
_SPARE = 64
_MOST = 2_000_000


@dataclass(frozen=True)
class Cover:
    """``seen``: of every role, at least half of the inputs that can be drawn were drawn, so that more draws are draws of
    the same inputs. ``weights`` [n], of mean 1, where every row that can be drawn was drawn: under them a mean over the rows
    is that over all rows, each with the probability that the design gives it. ``group`` [n] numbers equal rows."""

    seen: bool
    weights: np.ndarray | None = None
    group: np.ndarray | None = None


def cover_of(design: Design, drawn: Drawn) -> Cover:
    """How far the rows drawn from a design are all of its rows."""
    if drawn.exhaustive or any(model.needs_trust for model in design.models.values()):
        return Cover(False)
    try:
        supports = {role: _support(design, role, 2 * drawn.n) for role in design.roles}
    except SpecError:  # whatever cannot be evaluated was told of when it was drawn
        return Cover(False)
    seen = all(s is not None and 2 * len(np.unique(drawn.ids[role])) >= s.n for role, s in supports.items())
    if not seen:
        return Cover(False)
    table = _table(design, {role: s for role, s in supports.items() if s is not None}, drawn.n)
    if table is None:
        return Cover(True)
    values, probability = table
    keys = [(role, name) for role in design.roles for name in (*design.models[role].exogenous, "template") if (role, name) in values]  # fmt: skip
    listed = np.stack([np.asarray(values[key], np.float64) for key in keys], axis=1)
    rows = np.stack([np.asarray(drawn.values[role][name], np.float64) for role, name in keys], axis=1)
    _, where = np.unique(np.concatenate([listed, rows]), axis=0, return_inverse=True)
    where = where.reshape(-1)
    known, group = where[: len(listed)], where[len(listed) :]
    count = np.bincount(group, minlength=where.max() + 1)
    total = np.bincount(known, probability, minlength=where.max() + 1)
    if (count[known] == 0).any() or (total[group] == 0).any():
        return Cover(True)
    return Cover(True, drawn.n * total[group] / count[group], group)


def _support(design: Design, role: str, most: int) -> Support | None:
    """All inputs of a role, each with its template; None where there are more than ``most``."""
    model = design.models[role]
    found = enumerate_support(model, most)
    if found is None:
        return None
    found = restrict(model, found, design.splits[role])
    if design.templates and found.n:
        found = with_templates(model, found, design.templates)
    return found if 0 < found.n <= most else None


def _table(
    design: Design, supports: dict[str, Support], n: int
) -> tuple[dict[tuple[str, str], np.ndarray], np.ndarray] | None:
    """All rows of a design and their probabilities; None where they are too many, or have no closed form."""
    values: dict[tuple[str, str], np.ndarray] = {}
    probability = np.ones(1)
    for statement in design.statements:
        joined = _join(statement, values, probability, supports, min(_MOST, _SPARE * n))
        if joined is None:
            return None
        values, probability = joined
        if len(probability) > n:  # more rows than were drawn
            return None
    return values, probability


def _join(
    statement: DrawStatement, values: dict[tuple[str, str], np.ndarray], probability: np.ndarray,
    supports: dict[str, Support], most: int,
) -> tuple[dict[tuple[str, str], np.ndarray], np.ndarray] | None:  # fmt: skip
    parts = [supports[role] for role in statement.roles]
    sizes = [len(probability), *(part.n for part in parts)]
    if math.prod(sizes) > most or (statement.balance and len(probability) > 1):
        return None
    before, *grid = np.unravel_index(np.arange(math.prod(sizes)), sizes)
    joined = {key: column[before] for key, column in values.items()}
    weights = np.ones(len(before))
    for role, part, index in zip(statement.roles, parts, grid, strict=True):
        weights = weights * part.weights[index]
        joined |= {(role, name): column[index] for name, column in part.values.items()}
    if statement.where is not None:
        settings: dict[str, Columns] = {}
        for role, name in statement.where.mentions:
            settings.setdefault(role, {})[name] = joined[role, name]
        keep = np.asarray(statement.where(settings, len(before)), bool)
        before, weights = before[keep], weights[keep]
        joined = {key: column[keep] for key, column in joined.items()}
    if not len(weights) or len(np.unique(before)) < len(probability):
        return None
    group, share = before, probability
    if statement.balance:  # every combination of the balanced values has the same share of the rows
        balanced = np.stack([joined[key] for key in statement.balance], axis=1)
        _, group = np.unique(balanced, axis=0, return_inverse=True)
        group = group.reshape(-1)
        share = np.full(group.max() + 1, 1 / (group.max() + 1))
    return joined, weights / np.bincount(group, weights)[group] * share[group]


# ── what a condition lets through ───────────────────────────────────────────────────────────────

#: Draws by which a share is estimated where it has no closed form.
_TRIES = 4096


@dataclass(frozen=True)
class Scope:
    """Of the draws of ``roles`` without their `where`, the share that it lets through: exactly, or of ``n`` draws."""

    roles: tuple[str, ...]
    share: float
    exact: bool
    n: int = 0


def scope_of(design: Design) -> tuple[Scope, ...]:
    """What each `where` of a design lets through; of a `where` that speaks of earlier draws, given those."""
    found = []
    for number, statement in enumerate(design.statements):
        if statement.where is None:
            continue
        scope = _scope(design, number)
        if scope is not None:
            found.append(scope)
    return tuple(found)


def _scope(design: Design, number: int) -> Scope | None:
    statement = design.statements[number]
    assert statement.where is not None
    roles = sorted({role for role, _ in statement.where.mentions})
    if set(roles) <= set(statement.roles) and not any(name == "template" for _, name in statement.where.mentions):
        share = _share(design, statement, roles)
        if share is not None:
            return Scope(statement.roles, share, True)
    free = replace(statement, where=None, balance=(), n=_TRIES, exhaustive=False)
    before = tuple(replace(s, n=_TRIES, exhaustive=False, balance=()) for s in design.statements[:number])
    drawn = draw(replace(design, statements=(*before, free)), Diagnostics())
    if drawn is None:
        return None
    held = np.asarray(statement.where(drawn.values, drawn.n), bool)
    return Scope(statement.roles, float(held.mean()), False, drawn.n)


def _share(design: Design, statement: DrawStatement, roles: list[str]) -> float | None:
    """The share by listing what the condition speaks of; None where that is too much."""
    assert statement.where is not None
    parts = []
    for role in roles:
        names = sorted({name for other, name in statement.where.mentions if other == role})
        model = design.models[role]
        if model.needs_trust or statement.split:
            return None
        try:
            support = enumerate_support(model, _TRIES, names)
        except SpecError:
            return None
        if support is None or not support.n:
            return None
        parts.append(support)
    sizes = [part.n for part in parts]
    if math.prod(sizes) > _MOST:
        return None
    grid = np.unravel_index(np.arange(math.prod(sizes)), sizes)
    weights = np.ones(math.prod(sizes))
    settings: dict[str, Columns] = {}
    for role, part, index in zip(roles, parts, grid, strict=True):
        weights = weights * (part.weights / part.total)[index]
        settings[role] = {name: column[index] for name, column in part.values.items()}
    held = np.asarray(statement.where(settings, len(weights)), bool)
    return float(weights[held].sum() / weights.sum())


__all__ = ["Cover", "Scope", "cover_of", "scope_of"]
