"""How far the rows that were drawn are all that can be drawn: what an interval can be about, and exact weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from causal_dsl.causal.designs import Design, Drawn, DrawStatement
from causal_dsl.causal.sampling import Columns, with_templates
from causal_dsl.causal.splits import restrict
from causal_dsl.causal.support import Support, enumerate_support
from causal_dsl.diagnostics import SpecError

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


__all__ = ["Cover", "cover_of"]
