"""Where a condition can hold at all, where inputs are numbers of a range: by bounds of its parts over boxes of inputs.

A box is an interval for each drawn number. The bounds of an expression follow from those of its parts (Moore, R. E. 1966,
Interval Analysis); they are those of the floats that are computed, since IEEE rounding keeps the order of numbers. A box on
which the condition cannot hold is thrown away, and the others are halved where they are widest. If none is left, nothing
satisfies the condition, which is proved. What is left of the boxes is what is worth drawing from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal import terms as t
from causal_dsl.causal.domains import Finite, Real
from causal_dsl.causal.support import needs

if TYPE_CHECKING:
    from causal_dsl.causal.condition_functions import Predicate
    from causal_dsl.causal.model import CausalModel

#: Boxes at one time, and rounds of halving.
_BOXES = 2048
_ROUNDS = 60
#: Whole numbers beyond this are not all floats: nothing is known of them.
_EXACT = 2.0**52

Key = tuple[str, str]
#: Lowest and highest value, ``[k]`` each, one for each box; of a condition whether it can be false, and whether it can be true.
Bounds = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Boxes:
    """The part that is left of all inputs: for each drawn number that was halved, and for each of ``k`` boxes, an interval ``[keys, k]``.

    ``whole`` ``[keys]``: it is a whole number. ``share``: of all inputs, those in the boxes. With ``k`` = 0 nothing is left.
    """

    keys: tuple[Key, ...]
    low: np.ndarray
    high: np.ndarray
    whole: np.ndarray
    share: float

    @property
    def empty(self) -> bool:
        return not self.low.shape[1]

    @property
    def sizes(self) -> np.ndarray:
        """How much of the inputs each box holds ``[k]``, in proportion."""
        width = self.high - self.low + self.whole[:, None]
        largest = width.max(axis=1, keepdims=True)
        return np.asarray(np.prod(width / np.where(largest > 0, largest, 1.0), axis=0))

    def draw(self, uniform: Callable[[str], np.ndarray]) -> dict[Key, np.ndarray]:
        """A point in the boxes for each row, every point alike. ``uniform`` gives numbers in [0, 1) ``[n]`` by a name."""
        sums = np.cumsum(self.sizes)
        box = np.searchsorted(sums, uniform("box") * sums[-1], side="right")
        box = np.minimum(box, len(sums) - 1)
        found = {}
        for i, key in enumerate(self.keys):
            low, high, u = self.low[i][box], self.high[i][box], uniform("\x1f".join(key))
            if self.whole[i]:
                found[key] = np.minimum(low + np.floor(u * (high - low + 1)), high).astype(np.int64)
            else:
                found[key] = np.minimum(low + (high - low) * u, high)
        return found


def boxes_of(
    roles: Mapping[str, CausalModel], where: Predicate | None, given: Mapping[Key, float] | None = None
) -> Boxes | None:
    """The boxes in which the models' conditions and ``where`` may hold; None where no number that is drawn from a range is in them. ``given``: what
    is drawn already."""
    space = _Space(roles, where)
    space.given = dict(given or {})
    if not any(space.free(key) for key in space.keys):
        return None
    ends = [_known(float(space.domain(key).low), float(space.domain(key).high), space.whole(key)) for key in space.keys]
    low, high = (np.array(side, float)[:, None] for side in zip(*ends, strict=True))
    whole = np.array([space.whole(key) for key in space.keys])
    halved = np.array([space.free(key) for key in space.keys])
    size = np.maximum(high - low, 1e-300)
    for _ in range(_ROUNDS):
        keep = space.may_hold(low, high)
        low, high = low[:, keep], high[:, keep]
        k = low.shape[1]
        if not k or 2 * k > _BOXES:
            break
        width = np.where(halved[:, None], high - low, 0.0) / np.where(halved[:, None], size, 1.0)
        at = width.argmax(axis=0)
        if not (width.max(axis=0) > 0).any():
            break
        columns = np.arange(k)
        middle = low[at, columns] / 2 + high[at, columns] / 2
        middle = np.where(whole[at], np.floor(middle), middle)
        first, second = high.copy(), low.copy()
        first[at, columns], second[at, columns] = middle, np.where(whole[at], middle + 1, middle)
        low, high = np.concatenate([low, second], axis=1), np.concatenate([first, high], axis=1)
        valid = (low <= high).all(axis=0)
        low, high = low[:, valid], high[:, valid]
    keep = space.may_hold(low, high)
    keys = tuple(key for key, free in zip(space.keys, halved.tolist(), strict=True) if free)
    low, high, whole = low[:, keep][halved], high[:, keep][halved], whole[halved]
    parts = (high - low + whole[:, None]) / (size[halved] + whole[:, None])
    return Boxes(keys, low, high, whole, float(np.prod(parts, axis=0).sum()))


class _Space:
    """The conditions of some roles, and the drawn numbers that they are computed from."""

    def __init__(self, roles: Mapping[str, CausalModel], where: Predicate | None):
        self.roles = dict(roles)
        self.conditions: list[tuple[str | None, t.Term]] = []
        #: symbols of the where, by what they stand for
        self.symbols: dict[t.Term, Key] = {}
        for role, model in self.roles.items():
            self.conditions += [(role, one.expr) for one in model.wheres]
        if where is not None:
            self.conditions.append((None, where.condition.expr))
            self.symbols = {symbol: key for key, symbol in where.condition.symbols.items()}
        self.own = {
            role: {symbol: name for name, symbol in model.symbols.items()} for role, model in self.roles.items()
        }
        found: dict[Key, None] = {}
        for whose, expr in self.conditions:
            for symbol in sorted(expr.symbols, key=lambda symbol: symbol.name):
                self._drawn(self.symbols.get(symbol) if whose is None else (whose, self.own[whose][symbol]), found)
        self.keys = list(found)
        self.given: dict[Key, float] = {}
        self.index = {key: i for i, key in enumerate(self.keys)}

    def _drawn(self, key: Key | None, found: dict[Key, None]) -> None:
        if key is None or key[0] not in self.roles or key[1] not in self.roles[key[0]].variables:
            return
        model = self.roles[key[0]]
        for name in model.exogenous:
            if name in needs(model, (key[1],)) and model.variables[name].type in ("int", "real"):
                found[key[0], name] = None

    def domain(self, key: Key) -> Finite | Real:
        domain = self.roles[key[0]].variables[key[1]].domain
        assert isinstance(domain, (Finite, Real))
        return domain

    def whole(self, key: Key) -> bool:
        return not isinstance(self.domain(key), Real)

    def free(self, key: Key) -> bool:
        """Whether it is drawn from an interval, whatever else is drawn."""
        domain = self.domain(key)
        apart = key[1] not in self.roles[key[0]].choices
        return (
            apart
            and max(abs(domain.low), abs(domain.high)) < _EXACT
            and (isinstance(domain, Real) or (domain.type == "int" and domain.contiguous))
        )

    def may_hold(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Whether all conditions can hold at once in each box ``[k]``; True where that is not known."""
        keep = np.ones(low.shape[1], bool)
        env = _Env(self, low, high)
        with np.errstate(all="ignore"):
            for whose, expr in self.conditions:
                keep &= env.condition(expr, whose)[1]
        return keep


class _Env:
    def __init__(self, space: _Space, low: np.ndarray, high: np.ndarray):
        self.space = space
        self.low = low
        self.high = high
        self.k = low.shape[1]
        self.known: dict[tuple[t.Term, str | None], Bounds] = {}
        self.mechanisms: dict[Key, Bounds] = {}

    def anything(self) -> Bounds:
        return np.full(self.k, -np.inf), np.full(self.k, np.inf)

    def of(self, term: t.Term, whose: str | None) -> Bounds:
        at = term, whose
        if at not in self.known:
            # A chain of a thousand sums is a thousand deep: parts first, without a call for each.
            stack = [term]
            while stack:
                top = stack[-1]
                waiting = [part for part in top.args if (part, whose) not in self.known]
                if waiting:
                    stack.extend(waiting)
                    continue
                stack.pop()
                if (top, whose) not in self.known:
                    self.known[top, whose] = self._made(top, whose)
        return self.known[at]

    condition = of

    def _made(self, term: t.Term, whose: str | None) -> Bounds:
        parts = [self.known[part, whose] for part in term.args]
        match term:
            case t.Symbol():
                space = self.space
                key = space.symbols.get(term) if whose is None else (whose, space.own[whose][term])
                return self._variable(key)
            case t.Integer(held=value) if abs(value) > _EXACT:
                return self.anything()
            case t.Integer(held=value) | t.Float(held=value):
                return np.full(self.k, float(value)), np.full(self.k, float(value))
            case t.Literal(held=word):
                return np.full(self.k, word != "true"), np.full(self.k, word == "true")
            case t.Sum():
                return _sound(np.sum([low for low, _ in parts], axis=0), np.sum([high for _, high in parts], axis=0))
            case t.Times():
                return _sound(*_product(parts[0], parts[1]))
            case t.Apply(held=helper):
                return self._applied(helper, parts)
            case t.Piecewise():
                return self._piecewise(parts)
            case t.Relation(held=op):
                return _related(op, *parts)
            case t.Truth():
                low, high = parts[0]
                return (low <= 0) & (high >= 0), (low != 0) | (high != 0)
            case t.Not():
                return parts[0][1], parts[0][0]
            case t.And():
                return np.any([false for false, _ in parts], axis=0), np.all([true for _, true in parts], axis=0)
            case t.Or():
                return np.all([false for false, _ in parts], axis=0), np.any([true for _, true in parts], axis=0)
        return self.anything()

    def _variable(self, key: Key | None) -> Bounds:
        if key in self.space.given:
            return np.full(self.k, self.space.given[key]), np.full(self.k, self.space.given[key])
        if key is None or key[0] not in self.space.roles or key[1] not in self.space.roles[key[0]].variables:
            return self.anything()
        if key in self.space.index:
            i = self.space.index[key]
            return self.low[i], self.high[i]
        model = self.space.roles[key[0]]
        if model.variables[key[1]].kind != "mechanism":
            return self.anything()
        if key not in self.mechanisms:
            expr = model.mechanism(key[1])
            self.mechanisms[key] = self.anything() if expr is None else self.of(expr, key[0])
        return self.mechanisms[key]

    def _applied(self, helper: str, parts: Sequence[Bounds]) -> Bounds:
        match helper:
            case "as_float":
                return parts[0]
            case "add":
                return parts[0][0] + parts[1][0], parts[0][1] + parts[1][1]
            case "multiply":
                return _product(parts[0], parts[1])
            case "divide":
                (a, b), (c, d) = parts
                corners = [x / y for x in (a, b) for y in (c, d)]
                apart = (c > 0) | (d < 0)
                low, high = np.fmin.reduce(corners), np.fmax.reduce(corners)
                return np.where(apart, low, -np.inf), np.where(apart, high, np.inf)
            case "modulo":
                c, d = parts[1]
                return np.where(c > 0, 0.0, np.where(d < 0, c, -np.inf)), np.where(
                    c > 0, d, np.where(d < 0, 0.0, np.inf)
                )
            case "absolute":
                low, high = parts[0]
                inside = (low <= 0) & (high >= 0)
                return np.where(inside, 0.0, np.minimum(abs(low), abs(high))), np.maximum(abs(low), abs(high))
        return self.anything()

    def _piecewise(self, parts: Sequence[Bounds]) -> Bounds:
        *cases, otherwise = parts
        low, high = np.full(self.k, np.inf), np.full(self.k, -np.inf)
        reached = np.ones(self.k, bool)
        for (a, b), (false, true) in zip(cases[::2], cases[1::2], strict=True):
            here = reached & true
            low, high = np.where(here, np.minimum(low, a), low), np.where(here, np.maximum(high, b), high)
            reached = reached & false
        a, b = otherwise
        return np.where(reached, np.minimum(low, a), low), np.where(reached, np.maximum(high, b), high)


def _known(low: float, high: float, whole: bool) -> tuple[float, float]:
    """Bounds of a drawn number; infinite where whole numbers are not all floats."""
    return (low, high) if not whole or max(abs(low), abs(high)) < _EXACT else (-np.inf, np.inf)


def _sound(low: np.ndarray, high: np.ndarray) -> Bounds:
    """Bounds of whole numbers, where floats hold these exactly."""
    return np.where(abs(low) < _EXACT, low, -np.inf), np.where(abs(high) < _EXACT, high, np.inf)


def _product(a: Bounds, b: Bounds) -> Bounds:
    corners = [np.where((x == 0) | (y == 0), 0.0, x * y) for x in a for y in b]
    return np.min(corners, axis=0), np.max(corners, axis=0)


def _related(op: str, a: Bounds, b: Bounds) -> Bounds:
    """Whether ``a op b`` can be false, and whether it can be true."""
    below, above = a[0] < b[1], a[1] > b[0]
    touch = (a[0] <= b[1]) & (b[0] <= a[1])
    one = (a[0] == a[1]) & (b[0] == b[1]) & (a[0] == b[0])
    match op:
        case "<":
            return a[1] >= b[0], below
        case "<=":
            return above, a[0] <= b[1]
        case ">":
            return a[0] <= b[1], above
        case ">=":
            return below, a[1] >= b[0]
        case "==":
            return ~one, touch
    return touch, ~one


__all__ = ["Boxes", "boxes_of"]
