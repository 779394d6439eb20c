"""``clamp(low, high)``: the vector that is there, kept within bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.vocabulary.settings import Setting
from causal_dsl.vocabulary.written import Example, Value, Written

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Clamp(Value):
    """Each coordinate of what is there: ``low`` where it is less, ``high`` where it is more; None is no bound."""

    function = f"{__name__}:edit"
    runless = True
    current = True
    one_by_one = True
    low: float | None = None
    high: float | None = None

    @property
    def lessens(self) -> bool:
        return True

    def __str__(self) -> str:
        bounds = (("low", self.low), ("high", self.high))
        return f"clamp({', '.join(f'{name}={bound:g}' for name, bound in bounds if bound is not None)})"


def edit(value: Clamp, here: Any) -> Callable[[Tensor], Tensor]:
    """The current vector, clamped."""
    return lambda current: current.clamp(value.low, value.high)


def _check(value: Clamp) -> tuple[str, str] | None:
    if value.low is None and value.high is None:
        return "`clamp` has no bound", "write clamp(low=0), clamp(high=8) or clamp(0, 8)"
    if value.low is not None and value.high is not None and value.low > value.high:
        title = f"`clamp` from {value.low:g} to {value.high:g}: no number lies there"
        return title, f"the lower bound comes first: clamp({value.high:g}, {value.low:g})"
    return None


FAMILY = (
    Written(
        "clamp",
        Clamp,
        "`clamp(0, 8)`, `clamp(low=0)`, `clamp(high=8)`",
        "the current vector, with each coordinate limited to the bounds",
        (
            Example(
                "= clamp(-0.2, 0.1)",
                lambda hand: hand.current.where(hand.current > -0.2, -0.2).minimum(0 * hand.current + 0.1),
                current=True,
            ),
            Example("= clamp(high=0.05)", lambda hand: hand.current.where(hand.current < 0.05, 0.05), current=True),
            Example(
                "= 2 * clamp(low=0) - source",
                lambda hand: 2 * hand.current * (hand.current > 0) - hand.of("source"),
                current=True,
            ),
        ),
        {
            "low": Setting("number", positional=True, says="the least number that a coordinate keeps"),
            "high": Setting("number", positional=True, says="the largest number that a coordinate keeps"),
        },
        _check,
        "E790",
    ),
)
