"""How far the rows that were drawn are all that can be drawn: what an interval can be about, and exact weights."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.balance_cells import Cells
from causal_dsl.causal.condition_functions import Columns
from causal_dsl.causal.designs import Design, Drawn, DrawStatement
from causal_dsl.causal.draw import draw, identify
from causal_dsl.causal.input_list import Support
from causal_dsl.causal.minimal import alike_rows
from causal_dsl.causal.sampling import with_templates
from causal_dsl.causal.splits import restrict
from causal_dsl.causal.support import enumerate_support
from causal_dsl.diagnostics import Diagnostics, SpecError

#: Rows of all roles that are listed: for each row that was drawn (a condition may leave few of many), at least, at most.
_SPARE = 64
_LEAST = 2**18
_MOST = 2_000_000
#: Whole numbers whose sum is below this have the same sum in any order, as floats too.
_EXACT = 2**53


@dataclass(frozen=True)
class Cover:
    """``seen``: of every role, at least half of the inputs that the design can draw were drawn, so that more draws are draws
    of the same inputs. ``group`` [n] numbers equal rows, where every row that can be drawn was drawn, and ``weights`` [n] is
    proportional to the probability that the design gives a row and its equals together.

    Weights are whole numbers, exact wherever they fit, whose sum over all groups is below 2**53: sums of them do not
    depend on the order, so that a share of all rows is exactly 1.
    """

    seen: bool
    weights: np.ndarray | None = None
    group: np.ndarray | None = None


def once(weights: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Weights of groups, [n] by row, that count once: at the first row of each group, and 0 at the others."""
    _, first = np.unique(group, return_index=True)
    found = np.zeros(len(weights))
    found[first] = weights[first]
    return found


def cover_of(design: Design, drawn: Drawn) -> Cover:
    """How far the rows drawn from a design are all of its rows."""
    if drawn.exhaustive or any(model.needs_trust for model in design.models.values()):
        return Cover(False)
    most = min(_MOST, max(_SPARE * drawn.n, _LEAST))
    try:
        supports = {role: _support(design, role, most) for role in design.roles}
        known_supports = {role: s for role, s in supports.items() if s is not None}
        if len(known_supports) < len(supports):
            return Cover(False)
        table = _table(design, known_supports, most)
    except SpecError:  # whatever cannot be evaluated was told of when it was drawn
        return Cover(False)
    for role, support in known_supports.items():
        columns = support.values if table is None else {n: c for (r, n), c in table[0].items() if r == role}
        if 2 * len(np.unique(drawn.ids[role])) < _inputs(design, role, columns, support.n):
            return Cover(False)
    if table is None or len(table[1]) > drawn.n:
        return Cover(True)
    values, probability = table
    keys = [
        (role, name)
        for role in design.roles
        for name in (*design.models[role].exogenous, "template")
        if (role, name) in values
    ]
    listed = np.stack([np.asarray(values[key], np.float64) for key in keys], axis=1)
    rows = np.stack([np.asarray(drawn.values[role][name], np.float64) for role, name in keys], axis=1)
    _, where = np.unique(np.concatenate([listed, rows]), axis=0, return_inverse=True)
    where = where.reshape(-1)
    known, group = where[: len(listed)], where[len(listed) :]
    count = np.bincount(group, minlength=where.max() + 1)
    total = np.bincount(known, probability, minlength=where.max() + 1)
    if (count[known] == 0).any() or (total[group] == 0).any():
        return Cover(True)
    return Cover(True, _whole(total)[group], group)


def _whole(weights: np.ndarray) -> np.ndarray:
    """Weights as whole numbers of a sum below 2**53: as they are, else as near as they come."""
    if (weights == np.rint(weights)).all() and weights.sum() < _EXACT:
        return weights
    return np.where(weights > 0, np.maximum(1.0, np.rint(weights / weights.sum() * (_EXACT / 2))), 0.0)


def _inputs(design: Design, role: str, columns: Columns, n: int) -> int:
    """How many different inputs a network is shown in some rows of a role, counted as those drawn are."""
    if not columns:  # a model that draws nothing
        return min(n, 1)
    return len(np.unique(identify(design, {role: columns})[role]))


def _support(design: Design, role: str, most: int) -> Support | None:
    """All inputs of a role that the conditions on it alone leave, each with its template; None where they are too many."""
    model = design.models[role]
    found = enumerate_support(model, most)
    if found is None:
        return None
    found = restrict(model, found, design.splits[role])
    if design.templates and found.n:
        found = with_templates(model, found, design.templates)
    statement = next(statement for statement in design.statements if role in statement.roles)
    for part in statement.where.parts() if statement.where is not None else ():
        if {other for other, _ in part.mentions} == {role}:
            try:
                keep = np.asarray(part({role: found.values}, found.n), bool)
            except SpecError:  # it is defined only where another part of the condition holds
                continue
            found = Support({name: codes[keep] for name, codes in found.values.items()}, found.weights[keep])
    return found if 0 < found.n <= most else None


def _table(
    design: Design, supports: dict[str, Support], most: int
) -> tuple[dict[tuple[str, str], np.ndarray], np.ndarray] | None:
    """All rows of a design and numbers in proportion to their probabilities; None where they are too many, or have no
    closed form."""
    values: dict[tuple[str, str], np.ndarray] = {}
    probability = np.ones(1)
    for statement in design.statements:
        joined = _join(design, statement, values, probability, supports, most)
        if joined is None:
            return None
        values, probability = joined
    return values, probability


def _join(
    design: Design,
    statement: DrawStatement,
    values: dict[tuple[str, str], np.ndarray],
    probability: np.ndarray,
    supports: dict[str, Support],
    most: int,
) -> tuple[dict[tuple[str, str], np.ndarray], np.ndarray] | None:
    parts = [supports[role] for role in statement.roles]
    sizes = [len(probability), *(part.n for part in parts)]
    if statement.even and len(probability) > 1:
        return None
    if statement.like:
        sides = {role: supports[role].values for role in statement.roles}
        lengths = {role: supports[role].n for role in statement.roles}
        pairs = alike_rows(statement, len(probability), lambda role, name: values[role, name], sides, lengths, most)
        if pairs is None:
            return None
        before, grid = pairs
    elif math.prod(sizes) > most:
        return None
    else:
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
    if statement.cover:
        columns = [joined[key] for key in statement.cover]
        keep = Cells(statement.chosen(design)).of(columns, len(before)) >= 0
        before, weights = before[keep], weights[keep]
        joined = {key: column[keep] for key, column in joined.items()}
    if not len(weights) or len(np.unique(before)) < len(probability):
        return None
    group, share = before, probability
    if statement.even:  # every combination of the balanced values has the same share of the rows
        balanced = np.stack([joined[key] for key in statement.even], axis=1)
        _, group = np.unique(balanced, axis=0, return_inverse=True)
        group = group.reshape(-1)
        share = np.ones(group.max() + 1)
    return joined, _shared(weights, group, share)


def _shared(weights: np.ndarray, group: np.ndarray, share: np.ndarray) -> np.ndarray:
    """In each group, its ``share`` handed out in proportion to ``weights`` [n]: in whole numbers where they fit."""
    totals = np.bincount(group, weights)
    if totals.sum() < _EXACT and (share == np.rint(share)).all():
        common = math.lcm(*(int(total) for total in np.unique(totals)))
        if common < _EXACT:
            times = (common / totals) * share
            if float((totals * times).sum()) < _EXACT:
                found = weights * times[group]
                return found / np.gcd.reduce(found.astype(np.int64))
    found = weights / totals[group] * share[group]
    return found / found.sum()


# ── what a condition lets through ───────────────────────────────────────────────────────────────

#: Draws by which a share is estimated where it has no closed form.
_TRIES = 4096


@dataclass(frozen=True)
class DrawScope:
    """Of the draws of ``roles`` without their `where`, the share that it lets through: exactly, or in ``n`` draws; ``low`` and ``high``
    are then the interval of 95% of such draws (Wilson 1927), else NaN.

    ``value``: nobody wrote a `where`; a source is drawn where its variable has a value (`do(m = true)`).
    """

    roles: tuple[str, ...]
    share: float
    exact: bool
    n: int = 0
    value: bool = False
    low: float = math.nan
    high: float = math.nan


def scope_of(design: Design) -> tuple[DrawScope, ...]:
    """The share that each `where` of a design lets through; of a `where` that speaks of earlier draws, given those."""
    found = []
    for number, statement in enumerate(design.statements):
        if statement.said is None:
            continue
        scope = _scope(design, number)
        if scope is not None:
            # The name of a draw that was written is one word.
            found.append(replace(scope, value=not all(role.isidentifier() for role in statement.roles)))
    return tuple(found)


def _scope(design: Design, number: int) -> DrawScope | None:
    statement = design.statements[number]
    where = statement.said
    assert where is not None
    roles = sorted({role for role, _ in where.mentions})
    free_roles = {r for s in design.statements[:number] if s.where is None and not s.split for r in s.roles}
    known = {*statement.roles, *free_roles}
    named = any(name == "template" for _, name in where.mentions)
    if set(roles) <= known and not named and not statement.like:
        share = _share(design, statement, roles)
        if share is not None:
            return DrawScope(statement.roles, share, True)
    free = replace(
        statement, where=statement.alike, written=None, balance=(), strata=(), cover=(), n=_TRIES, exhaustive=False
    )
    before = tuple(
        replace(s, n=_TRIES, exhaustive=False, balance=(), strata=(), cover=()) for s in design.statements[:number]
    )
    drawn = draw(replace(design, statements=(*before, free)), Diagnostics())
    if drawn is None:
        return None
    held = np.asarray(where(drawn.values, drawn.n), bool)
    return DrawScope(statement.roles, float(held.mean()), False, drawn.n, False, *_wilson(float(held.mean()), drawn.n))


def _wilson(share: float, n: int) -> tuple[float, float]:
    z = 1.959964
    middle, spread = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    return max(0.0, (middle - spread) / (1 + z * z / n)), min(1.0, (middle + spread) / (1 + z * z / n))


def _summed(support: Support, names: list[str]) -> Support:
    """The settings of ``names`` alone, the inputs that give each summed out."""
    stacked = np.stack([np.broadcast_to(support.values[name], support.n) for name in names], axis=1)
    settings, group = np.unique(stacked, axis=0, return_inverse=True)
    weights = np.bincount(group.reshape(-1), support.weights)
    columns = {name: settings[:, i].astype(support.values[name].dtype) for i, name in enumerate(names)}
    return Support(columns, weights)


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
            support = enumerate_support(model, _MOST, names)
        except SpecError:
            return None
        if support is None or not support.n:
            return None
        parts.append(_summed(support, names))
    sizes = [1, *(part.n for part in parts)]  # a condition may speak of no run, as `true` does
    if math.prod(sizes) > _MOST:
        return None
    _, *grid = np.unravel_index(np.arange(math.prod(sizes)), sizes)
    weights = np.ones(math.prod(sizes))
    settings: dict[str, Columns] = {}
    for role, part, index in zip(roles, parts, grid, strict=True):
        weights = weights * (part.weights / part.weights.sum())[index]
        settings[role] = {name: column[index] for name, column in part.values.items()}
    held = np.broadcast_to(np.asarray(statement.where(settings, len(weights)), bool), len(weights))
    return float(weights[held].sum() / weights.sum())


__all__ = ["Cover", "DrawScope", "cover_of", "once", "scope_of"]
