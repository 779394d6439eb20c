"""How a metric of pairs changes with the quantities that it is computed from: its derivatives, pair by pair.

Arithmetic is derived by its rules. The formula of a token's measure is evaluated at a number with a tiny imaginary part, whose
share of the outcome is its derivative (Squire and Trapp 1998); there is no step whose size would matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.measures.cell_data import CellData
from causal_dsl.measures.computed import computed
from causal_dsl.measures.evaluation import OPERATORS
from causal_dsl.measures.per_pair import AtOutput, Change, FixedNumber, OfDistribution, OfToken, Pair, PairOp
from causal_dsl.measures.quantities import Quantity
from causal_dsl.measures.weighted_sums import Array
from causal_dsl.vocabulary.measures import MEASURES

_STEP = 1e-30


@dataclass(frozen=True)
class Derived:
    """A number a pair [n], and its derivatives [n] by the quantities of one run."""

    value: Array
    by: Mapping[Quantity, Array] = field(default_factory=dict)


def no_gradient(metric: Pair | FixedNumber) -> str | None:
    """The part of a metric that has no gradient, in the words of the spec; None where all of it has one."""
    match metric:
        case FixedNumber():
            return None
        case OfToken():
            return metric.text if "order" in MEASURES[metric.measure].needs or metric.place is not None else None
        case OfDistribution():
            return metric.text if metric.place is not None else None
        case Change():
            return no_gradient(metric.metric)
        case PairOp():
            if metric.op not in ("+", "-", "*", "/", "negative"):
                return metric.text
            return next((found for part in metric.operands if (found := no_gradient(part)) is not None), None)
        case AtOutput():
            return metric.text
    return metric.text


def derived(metric: Pair | FixedNumber, frame: CellData) -> Derived:
    """A metric of the ``patched`` run, with its derivatives by the quantities of that run. Raises ValueError for one without a
    gradient (:func:`no_gradient`)."""
    match metric:
        case FixedNumber():
            return Derived(metric.of(frame, "patched"))
        case OfToken():
            return _of_token(metric, frame)
        case OfDistribution():
            value = metric.of(frame, "patched")
            return Derived(value, {quantity: np.ones_like(value) for _, quantity in metric.needs("patched")})
        case Change():
            found = derived(metric.metric, frame)
            return Derived(found.value - metric.metric.of(frame, "base"), found.by)
        case PairOp():
            return _of_operation(metric.op, [derived(part, frame) for part in metric.operands])
    raise ValueError(f"`{metric.text}` has no gradient")


def _of_token(metric: OfToken, frame: CellData) -> Derived:
    record = MEASURES[metric.measure]
    quantities = [quantity for _, quantity in metric.needs("patched")]
    values = [frame.column("patched", quantity).astype(np.float64) for quantity in quantities]

    def at(number: int | None) -> Array:
        given = [v + _STEP * 1j if i == number else v for i, v in enumerate(values)]
        return np.asarray(computed(record, given[0], given[1] if len(given) > 1 else None))

    return Derived(at(None), {quantity: np.imag(at(number)) / _STEP for number, quantity in enumerate(quantities)})


def _of_operation(op: str, parts: list[Derived]) -> Derived:
    values = [part.value for part in parts]
    value = OPERATORS[op](*values)
    with np.errstate(divide="ignore", invalid="ignore"):
        match op:
            case "negative":
                slopes = [-np.ones_like(value)]
            case "*":
                slopes = [values[1], values[0]]
            case "/":
                slopes = [1 / values[1], -values[0] / values[1] ** 2]
            case _:
                slopes = [np.ones_like(value), np.ones_like(value) * (1 if op == "+" else -1)]
    by: dict[Quantity, Array] = {}
    for part, slope in zip(parts, slopes, strict=True):
        for quantity, own in part.by.items():
            by[quantity] = by.get(quantity, 0.0) + slope * own
    return Derived(value, by)


__all__ = ["Derived", "derived", "no_gradient"]
