"""Rows that are handed out by values before they are drawn: strata of their own shares, and covering designs.

A covering design has few combinations of the values of some variables, so chosen that any values of ``t`` of them that can
come together do come together in one (Cohen, D. M. et al. 1997, The AETG system). They are chosen greedily, of all
combinations that there are, or of many that were drawn; what is in none of these is built, or proved to be impossible.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from causal_dsl.base.counter import key, permutation
from causal_dsl.causal.built import Builder
from causal_dsl.causal.combinations import table_of
from causal_dsl.causal.designs import Design, DrawStatement
from causal_dsl.causal.domains import Finite, show
from causal_dsl.causal.draw import draw
from causal_dsl.causal.model import CausalModel
from causal_dsl.causal.row_candidates import RowCandidates
from causal_dsl.diagnostics import Diagnostics, fail

#: Combinations that the greedy choice looks at, rows that are drawn where they cannot be listed, and all values to be covered.
_POOL = 20_000
_DRAWN = 2**15
_TUPLES = 500_000
#: Attempts to build a row of given values.
_TRIES = 64

Names = tuple[tuple[str, str], ...]


def strata_of(design: Design, statement: DrawStatement) -> tuple[np.ndarray, np.ndarray]:
    """The combinations of the values of a statement's strata ``[k, v]``, and their probabilities ``[k]`` (else E354)."""
    found = _listed(design, statement, statement.strata)
    if found is None:
        raise fail(
            "E354",
            "the share of each stratum is not known",
            statement.span,
            label=f"`{statement.model.name}` has too many inputs to list what strata and conditions read of them",
            help="take strata of fewer variables, or leave `strata` out",
        )
    return found


def covering_of(design: Design, statement: DrawStatement) -> np.ndarray:
    """The combinations of a covering design, codes ``[k, v]``: the same whatever the seed and the number of rows (E354)."""
    kept = _KEPT.setdefault(statement.model, {})
    asked = (statement.roles, statement.where, statement.cover, statement.t, statement.split, design.templates)
    if asked not in kept:
        kept[asked] = _covering(design, statement)
    return kept[asked]


_KEPT: WeakKeyDictionary[CausalModel, dict[Any, np.ndarray]] = WeakKeyDictionary()


def _covering(design: Design, statement: DrawStatement) -> np.ndarray:
    names, t = statement.cover, min(statement.t, len(statement.cover))
    subsets = list(itertools.combinations(range(len(names)), t))
    values = [_values(statement, name) for name in names]
    sizes = [int(np.prod([len(values[i]) for i in subset], dtype=object)) for subset in subsets]
    if sum(sizes) > _TUPLES:
        raise fail(
            "E354",
            f"there are too many values to cover any {t} of them",
            statement.span,
            label=f"{sum(sizes):,} of them",
            help="cover fewer variables, or t=2" if t > 2 else "cover fewer variables",
        )
    listed = _listed(design, statement, names)
    if listed is not None:
        cells = listed[0]
    else:
        cells = _drawn(design, statement, names)
        cells = _completed(design, statement, cells, subsets, values)
    places = [np.searchsorted(known, cells[:, i]) for i, known in enumerate(values)]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    tuples = np.stack(
        [
            start + np.ravel_multi_index([places[i] for i in subset], [len(values[i]) for i in subset])
            for start, subset in zip(starts.tolist(), subsets, strict=False)
        ],
        axis=1,
    )
    return cells[np.sort(_greedy(tuples, int(starts[-1])))]


def _greedy(tuples: np.ndarray, many: int) -> np.ndarray:
    """Rows that together have all numbers that ``tuples`` [k, m] has, of ``many``, each the one that adds the most."""
    n = len(tuples)
    pool = np.sort(permutation(key("cover"), n)[:_POOL])
    left = np.zeros(many, bool)
    left[tuples.ravel()] = True
    chosen: list[int] = []
    while True:
        gain = left[tuples[pool]].sum(axis=1)
        best = int(gain.argmax()) if len(gain) else 0
        if not len(gain) or not gain[best]:
            rest = np.flatnonzero(left[tuples].any(axis=1))
            if not len(rest):
                return np.array(chosen, np.int64)
            pool = rest[:_POOL]
            continue
        chosen.append(int(pool[best]))
        left[tuples[pool[best]]] = False


# ── what can come together ──────────────────────────────────────────────────────────────────────


def _plain(statement: DrawStatement, **more: Any) -> DrawStatement:
    return replace(statement, balance=(), strata=(), cover=(), choose=None, seed=0, **more)


def _listed(design: Design, statement: DrawStatement, names: Names) -> tuple[np.ndarray, np.ndarray] | None:
    """All combinations of some values, with their probabilities; None where they cannot be listed."""
    asked: dict[str, set[str]] = {role: set() for role in statement.roles}
    for role, name in names:
        asked[role].add(name)
    table = table_of(Design((_plain(statement),), design.templates), asked)
    if table is None:
        return None
    stacked = np.stack([table.column(role, name) for role, name in names], axis=1)
    cells, group = np.unique(stacked, axis=0, return_inverse=True)
    return cells, np.bincount(group.reshape(-1), table.tops / table.bottoms)


def _values(statement: DrawStatement, name: tuple[str, str]) -> np.ndarray:
    domain = statement.model.variables[name[1]].domain
    assert isinstance(domain, Finite)
    if domain.size > _TUPLES:
        raise fail(
            "E354", f"`{name[1]}` has too many values to be covered", statement.span, label=f"{domain.size:,} of them"
        )
    return np.unique(statement.model.codes(name[1]))


def _drawn(design: Design, statement: DrawStatement, names: Names) -> np.ndarray:
    found = Diagnostics()
    rows = draw(Design((_plain(statement, n=_DRAWN),), design.templates), found)
    if rows is None:
        found.raise_errors()
    assert rows is not None
    return np.unique(np.stack([rows.values[role][name] for role, name in names], axis=1), axis=0)


def _completed(
    design: Design,
    statement: DrawStatement,
    cells: np.ndarray,
    subsets: Sequence[tuple[int, ...]],
    values: Sequence[np.ndarray],
) -> np.ndarray:
    """The cells, and one more for all values that come together in none of them, though they can."""
    names = statement.cover
    for subset in subsets:
        grid = [g.reshape(-1) for g in np.meshgrid(*(values[i] for i in subset), indexing="ij")]
        every = np.stack(grid, axis=1)
        seen = {tuple(row) for row in cells[:, list(subset)].tolist()}
        missing = np.array([row for row in every.tolist() if tuple(row) not in seen], np.int64).reshape(-1, len(subset))
        if not len(missing):
            continue
        plain = _plain(statement, n=len(missing))
        candidates = RowCandidates(Design((plain,), design.templates), plain, len(missing), {}, names)
        targets: Mapping[tuple[str, str], np.ndarray] = {names[i]: missing[:, j] for j, i in enumerate(subset)}
        builder = Builder(candidates.design, plain, len(missing), {}, candidates.wanted, targets)
        pending = np.arange(len(missing))
        pending = pending[builder.construction.possible(pending)]
        more = []
        for attempt in range(_TRIES):
            if not len(pending):
                break
            at, _, complete = candidates.build(builder, pending, np.full(len(pending), attempt))
            made = np.stack([complete[role][name] for role, name in names], axis=1)
            right = (made[:, list(subset)] == missing[pending[at]]).all(axis=1)
            more.append(made[right])
            pending = np.setdiff1d(pending, pending[at[right]])
        if len(pending) and not builder.construction.exact:
            shown = " and ".join(
                f"{names[i][1]} = {show(statement.model.value(names[i][1], missing[pending[0], j]))}"
                for j, i in enumerate(subset)
            )
            raise fail(
                "E354",
                "cannot tell whether some values can occur together",
                statement.span,
                notes=(f"for example {shown}: nothing was found, and it is not proved that there is nothing",),
                help="cover fewer variables, or make the conditions simpler",
            )
        cells = np.unique(np.concatenate([cells, *more]), axis=0)
    return cells


__all__ = ["covering_of", "strata_of"]
