"""``current``: the vector that is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.vocabulary.written import Example, Value, Written

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Current(Value):
    """The vector of the run that is intervened on at the place, as it is written: after all that is written before it."""

    function = f"{__name__}:edit"
    runless = True
    current = True
    one_by_one = True
    given = False

    def __str__(self) -> str:
        return "current"


def edit(value: Current, here: Any) -> Callable[[Tensor], Tensor]:
    """It."""
    return lambda current: current


FAMILY = (
    Written(
        "current",
        Current,
        "`current`",
        "the current vector, as in `site = 2 * current`",
        (Example("= current / 2", lambda hand: hand.current * 0.5, current=True),),
    ),
)
