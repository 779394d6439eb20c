"""``scale(by)``: the vector that is there, times a number."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.vocabulary.settings import Setting
from causal_dsl.vocabulary.written import Example, Value, Written

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Scale(Value):
    """The current vector times ``by``."""

    function = f"{__name__}:edit"
    runless = True
    current = True
    one_by_one = True
    by: float

    @property
    def lessens(self) -> bool:
        return 0 <= self.by < 1

    def __str__(self) -> str:
        return f"scale({self.by:g})"


def edit(value: Scale, here: Any) -> Callable[[Tensor], Tensor]:
    """The current vector, scaled."""
    return lambda current: current * value.by


FAMILY = (
    Written(
        "scale",
        Scale,
        "`scale(0.5)`",
        "the current vector times a number: `0.5 * current`",
        (
            Example("= scale(0.5)", lambda hand: hand.current / 2, current=True),
            Example("= scale(-1.5) + 0.1", lambda hand: 0.1 - 1.5 * hand.current, current=True),
        ),
        {"by": Setting("number", positional=True, required=True, says="the factor of each coordinate")},
    ),
)
