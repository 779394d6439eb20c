"""``site = 0``: one number in all coordinates."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.vocabulary.written import Example, Value, Written

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Constant(Value):
    """The same number in every coordinate."""

    function = f"{__name__}:edit"
    runless = True
    one_by_one = True
    value: float

    @property
    def ablates(self) -> str:
        return "zero" if self.value == 0 else ""

    def __str__(self) -> str:
        return f"{self.value:g}"


def edit(value: Constant, here: Any) -> Callable[[Tensor], float]:
    """The number."""
    return lambda current: value.value


FAMILY = (
    Written(
        "number",
        Constant,
        "`0`",
        "the same number in every coordinate",
        (Example("= 0.3", lambda hand: 0 * hand.current + 0.3),),
        word=False,
    ),
)
