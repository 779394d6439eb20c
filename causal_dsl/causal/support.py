"""All inputs of a causal model that can be drawn, each with its weight."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from causal_dsl.causal.domains import Finite
from causal_dsl.causal.input_list import Support

if TYPE_CHECKING:
    from causal_dsl.causal.model import CausalModel

#: A model of at most this many inputs can be listed: taken exhaustively, or cut into parts of exact shares.
LISTABLE = 2_000_000
#: Weights are whole numbers below this, so that sums of them are exact.
_HEAVIEST = 2**40
#: Most codes in a list of inputs: a model of very many variables has a shorter list.
_CELLS = 40_000_000


def needs(model: CausalModel, inputs: tuple[str, ...]) -> frozenset[str]:
    """The exogenous variables that some variables are computed from (through the sets that they are drawn from, too)."""
    seen: set[str] = set()
    stack = list(inputs)
    while stack:
        name = stack.pop()
        if name not in seen:
            seen.add(name)
            stack.extend(model.variables[name].parents)
    return frozenset(name for name in seen if model.variables[name].kind == "exogenous")


def known(
    model: CausalModel, columns: Mapping[str, np.ndarray], names: tuple[str, ...], n: int
) -> dict[str, np.ndarray]:
    """The columns of ``names``, mechanisms computed from those that are there."""
    missing = [name for name in names if name not in columns]
    found = {name: columns[name] for name in names if name in columns}
    if missing:
        # A mechanism of constants alone has no column to take its length from.
        found.update(model.evaluate({"": np.zeros(n), **columns}, wanted=missing))
    return found


def distinct(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each row of ``[n, k]`` codes sorted, and a mask of the first of equal ones."""
    ordered = np.sort(codes, axis=1)
    first = np.ones(ordered.shape, bool)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    return ordered, first


def whole_weights(column: np.ndarray) -> np.ndarray:
    """Weights as whole numbers: as they are where they are whole, else as near as 2**30 steps of the largest come."""
    if column.dtype != np.float64 or (column == np.rint(column)).all():
        return np.maximum(column, 0).astype(np.int64)
    largest = float(column.max(initial=0.0))
    return (
        np.rint(np.maximum(column, 0) / largest * 2.0**30).astype(np.int64)
        if largest > 0
        else np.zeros(len(column), np.int64)
    )


def matters(model: CausalModel, names: Iterable[str]) -> frozenset[str]:
    """The exogenous variables that decide about some variables or about which inputs there are."""
    asked = [*names, *(name for where in model.wheres for name in where.inputs), *model.choices]
    asked += [model.weight] if model.weight else []
    return needs(model, tuple(asked))


def support_of(model: CausalModel, cap: int) -> Support | None:
    """All inputs that can be drawn, with their weights, listed once; None if there are more than ``cap`` or no end of them."""
    if cap not in model.supports:
        model.supports[cap] = enumerate_support(model, cap)
    return model.supports[cap]


def enumerate_support(model: CausalModel, cap: int, only: Iterable[str] | None = None) -> Support | None:
    """All inputs of a model in the order of its draws; None beyond ``cap`` rows (also on the way), or for real numbers.

    With ``only``, these variables alone: inputs that differ in what does not bear on them are one row. Raises SpecError
    where the model cannot be evaluated.
    """
    cap = min(cap, _CELLS // max(1, len(model.variables)))
    drawn = frozenset(model.exogenous) if only is None else matters(model, only)
    columns: dict[str, np.ndarray] = {}
    weights = np.ones(1, np.int64)
    waiting = [(needs(model, tuple(where.inputs)), where) for where in model.wheres]
    broken = None
    for name in model.exogenous:
        if name not in drawn:
            continue
        if name in model.choices:
            choices = model.choices[name]
            codes, first = distinct(choices(known(model, columns, choices.parents, len(weights)), len(weights)))
            sizes = first.sum(axis=1)
            whole = math.lcm(*(int(size) for size in np.unique(sizes)))
            if int(sizes.sum()) > cap or (len(weights) and int(weights.max()) * whole > _HEAVIEST):
                return None
            rows = np.repeat(np.arange(len(weights)), sizes)
            weights = (weights * (whole // np.maximum(sizes, 1)))[rows]
            column = codes[first]
        else:
            domain = model.variables[name].domain
            if not isinstance(domain, Finite) or domain.size * max(1, len(weights)) > cap:
                return None
            rows = np.repeat(np.arange(len(weights)), domain.size)
            column = np.tile(model.codes(name), len(weights))
            weights = weights[rows]
        columns = {other: codes[rows] for other, codes in columns.items()}
        columns[name] = column
        ready = [where for need, where in waiting if need <= columns.keys()]
        waiting = [(need, where) for need, where in waiting if not need <= columns.keys()]
        for where in ready:
            keep = where(known(model, columns, where.inputs, len(weights)), len(weights))
            if broken is None and not keep.any():
                broken = where
            columns = {other: codes[keep] for other, codes in columns.items()}
            weights = weights[keep]
    for _, where in waiting:  # a model that draws nothing
        if not where({}, 1).all():
            broken, weights = where, weights[:0]
    if model.weight and len(weights):
        times = whole_weights(known(model, columns, (model.weight,), len(weights))[model.weight])
        if int(weights.max()) * int(times.max(initial=0)) > _HEAVIEST:
            return None
        weights = weights * times
        columns, weights = {name: codes[weights > 0] for name, codes in columns.items()}, weights[weights > 0]
    divisor = int(np.gcd.reduce(weights)) if len(weights) else 1
    values = model.evaluate({"": np.zeros(len(weights)), **columns}, wanted=only)
    return Support(values, weights // divisor, broken)
