"""``project_out(direction, …)``: the vector that is there, without its part in the span of one direction or several."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import NOWHERE, fail
from causal_dsl.vocabulary.settings import Setting
from causal_dsl.vocabulary.values.arithmetic import Combine
from causal_dsl.vocabulary.values.number import Constant
from causal_dsl.vocabulary.values.vector import Vector
from causal_dsl.vocabulary.written import Example, Hand, Value, Written

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ProjectOut(Value):
    """The current vector minus its orthogonal projection on the span of ``direction`` and ``more``, values of any length but zero."""

    function = f"{__name__}:edit"
    runless = True
    current = True
    direction: Value
    more: tuple[Value, ...] = ()

    @property
    def directions(self) -> tuple[Value, ...]:
        """All directions."""
        return (self.direction, *self.more)

    @property
    def parts(self) -> tuple[Value, ...]:
        return self.directions

    def each(self, change: Callable[[Value], Value]) -> Self:
        first, *more = map(change, self.directions)
        return replace(self, direction=first, more=tuple(more))

    def told(self) -> str:
        return f"ProjectOut({', '.join(part.told() for part in self.directions)})"

    @property
    def lessens(self) -> bool:
        return True

    def __str__(self) -> str:
        return f"project_out({', '.join(part.text for part in self.directions)})"


def edit(value: ProjectOut, here: Any) -> Callable[[Tensor], Tensor]:
    """The current vector, projected; E791 where the direction is zero in some row, or no more than the rounding of
    what it is the difference of."""
    each = [(here.edit(part), _rounding(part, here)) for part in value.directions]

    def directions(current: Tensor) -> Iterator[Tensor]:
        for direction, rounding in each:
            found: Tensor = direction(current)
            found = found.to(current.device).double()
            size = found.abs().amax(dim=-1, keepdim=True)
            if bool((found.abs() <= rounding(current)).all(dim=-1).any()):
                raise fail("E791", "the direction of `project_out` is zero", value.span or NOWHERE, help=_HELP)
            yield found / size  # its square may be no number of a float otherwise

    def projected(current: Tensor) -> Tensor:
        wide = current.double()
        if not value.more:
            (found,) = directions(current)
            share = (wide * found).sum(dim=-1, keepdim=True) / found.square().sum(dim=-1, keepdim=True)
            return wide - share * found
        axes: list[Tensor] = []
        for found in directions(current):
            axis = found / found.norm(dim=-1, keepdim=True)
            for known in axes * 2:  # twice, so that rounding leaves them orthogonal
                axis = axis - (axis * known).sum(dim=-1, keepdim=True) * known
            length = axis.norm(dim=-1, keepdim=True)  # 0 where it depends on those before it
            axes.append(axis / length.clamp_min(_SAME) * (length > _SAME))
        for axis in axes:
            wide = wide - (wide * axis).sum(dim=-1, keepdim=True) * axis
        return wide

    return projected


def _rounding(value: Value, here: Any) -> Callable[[Tensor], Tensor | float]:
    """How large the numbers of a value are by rounding alone, in each coordinate: a difference of equal vectors is not 0."""
    if not isinstance(value, Combine):
        return lambda current: 0.0
    parts = [(here.edit(side), _rounding(side, here)) for side in (value.left, value.right)]

    def of(current: Tensor) -> Tensor | float:
        (left, own), (right, other) = ((_size(part(current), current), off(current)) for part, off in parts)
        if value.op in "+-":
            return own + other + _SHARE.get(str(current.dtype), 1e-2) * (_typical(left) + _typical(right))
        return own * right + other * left if value.op == "*" else own / right

    return of


def _size(found: Any, current: Tensor) -> Tensor:
    return current.new_zeros((), dtype=current.double().dtype) + abs(
        found if isinstance(found, float | int) else found.to(current.device)
    )


def _typical(size: Tensor) -> Tensor:
    """The sizes of numbers, those that are smaller than most as large as most: they are rounded with the others."""
    return size if size.ndim < 2 else size.maximum(size.median(dim=-1, keepdim=True).values)


#: What is left of a unit direction without those before it, and no longer than this, is rounding.
_SAME = 1e-6
#: Of the size of two numbers, the part of their difference that may be rounding.
_SHARE = {"torch.float64": 1e-11, "torch.float32": 1e-5, "torch.float16": 1e-3, "torch.bfloat16": 1e-2}
_HELP = "name a direction that is not zero: a list of numbers, a vector of a file, or mean(one) - mean(other)"


def _check(value: ProjectOut) -> tuple[str, str] | None:
    for direction in value.directions:
        if isinstance(direction, Constant):
            return "a number is not a direction", _HELP
        if direction.changes:
            return "the direction of `project_out` is made from the vector that it is taken out of", _HELP
        if isinstance(direction, Vector) and direction.path is None and not any(direction.values):
            return "the direction of `project_out` is zero", _HELP
    return None


def _without(vector: Tensor, direction: Tensor) -> Tensor:
    unit = direction / direction.norm()
    return vector - (vector @ unit) * unit


def _without_both(vector: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Without its part in the span of two directions."""
    first = one / one.norm()
    second = _without(other, first)
    return _without(_without(vector, first), second)


def _two_runs(hand: Hand) -> Tensor:
    return _without(hand.current, hand.mean("source") - 0.9 * hand.mean("base"))


FAMILY = (
    Written(
        "project_out",
        ProjectOut,
        '`project_out(vector("f", key="d"))`, `project_out(mean(one) - mean(two), vector("f", key="d"))`',
        "the current vector without its component along a direction, or in the span of several; each may be any of these values that does not depend on `current`",
        (
            Example(
                '= project_out(vector("VECTORS", key="wWIDTH"))',
                lambda hand: _without(hand.current, hand.file()),
                unequal=True,
                current=True,
            ),
            Example("= project_out(mean(source) - 0.9 * mean)", _two_runs, current=True),
            Example(
                "= project_out(source, mean)",
                lambda hand: _without_both(hand.current, hand.of("source"), hand.mean("base")),
                current=True,
            ),
            Example(
                "= project_out(source) + 0.1",
                lambda hand: _without(hand.current, hand.of("source")) + 0.1,
                current=True,
            ),
        ),
        {
            "direction": Setting(
                "value", positional=True, required=True, says="the direction along which the vector keeps nothing"
            ),
            "more": Setting("values", default=(), positional=True, says="more directions along which it keeps nothing"),
        },
        _check,
        "E791",
    ),
)
