"""``project_out(direction)``: the vector that is there, without its part along a direction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from causal_dsl.diagnostics import NOWHERE, fail
from causal_dsl.vocabulary.settings import Setting
from causal_dsl.vocabulary.values.number import Constant
from causal_dsl.vocabulary.values.vector import Vector
from causal_dsl.vocabulary.written import Example, Hand, Value, Written

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ProjectOut(Value):
    """What is there minus its orthogonal projection on ``direction``, a value of any length but zero."""

    function = f"{__name__}:edit"
    current = True
    direction: Value

    def __str__(self) -> str:
        return f"project_out({self.direction.text})"


def edit(value: ProjectOut, here: Any) -> Callable[[Tensor], Tensor]:
    """What is there, projected; E791 where the direction is zero in some row."""
    direction = here.edit(value.direction)

    def projected(current: Tensor) -> Tensor:
        found: Tensor = direction(current)
        found = found.to(current.device).double()
        size = found.abs().amax(dim=-1, keepdim=True)
        if bool((size == 0).any()):
            raise fail("E791", "the direction of `project_out` is zero", value.span or NOWHERE, help=_HELP)
        found = found / size  # its square may be no number of a float otherwise
        wide = current.double()
        share = (wide * found).sum(dim=-1, keepdim=True) / found.square().sum(dim=-1, keepdim=True)
        return wide - share * found

    return projected


_HELP = "name a direction that is not zero: a list of numbers, a vector of a file, or mean(one) - mean(other)"


def _check(value: ProjectOut) -> tuple[str, str] | None:
    if isinstance(value.direction, Constant):
        return "a number is not a direction", _HELP
    if value.direction.changes:
        return "the direction of `project_out` is made from the vector that it is taken out of", _HELP
    if isinstance(value.direction, Vector) and value.direction.path is None and not any(value.direction.values):
        return "the direction of `project_out` is zero", _HELP
    return None


def _without(vector: Tensor, direction: Tensor) -> Tensor:
    unit = direction / direction.norm()
    return vector - (vector @ unit) * unit


def _two_runs(hand: Hand) -> Tensor:
    return _without(hand.current, hand.mean("source") - 0.9 * hand.mean("base"))


FAMILY = (
    Written(
        "project_out",
        ProjectOut,
        '`project_out(vector("f", key="d"))`, `project_out(mean(one) - mean(two))`',
        "the current vector without its component along a direction, which may be any of these values that does not depend on `current`",
        (
            Example(
                '= project_out(vector("VECTORS", key="wWIDTH"))',
                lambda hand: _without(hand.current, hand.file()),
                unequal=True,
                current=True,
            ),
            Example("= project_out(mean(source) - 0.9 * mean)", _two_runs, current=True),
            Example(
                "= project_out(source) + 0.1",
                lambda hand: _without(hand.current, hand.of("source")) + 0.1,
                current=True,
            ),
        ),
        {"direction": Setting("value", positional=True, required=True)},
        _check,
        "E791",
    ),
)
