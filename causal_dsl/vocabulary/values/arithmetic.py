"""``a + b``, ``a - b``, ``a * b``, ``a / b``: arithmetic of written values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from causal_dsl.diagnostics import NOWHERE, fail
from causal_dsl.vocabulary.written import Example, Value, Written

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Combine(Value):
    """``op`` is one of ``+ - * /``, coordinate by coordinate."""

    function = f"{__name__}:edit"
    given = False
    op: str
    left: Value
    right: Value

    def order(self, site: Any) -> object:
        return (self.op, self.left.order(site), self.right.order(site))

    def __str__(self) -> str:
        return f"combine with {self.op}"

    @property
    def text(self) -> str:
        sides = (f"({side.text})" if isinstance(side, Combine) else side.text for side in (self.left, self.right))
        return f" {self.op} ".join(sides)


def edit(value: Combine, here: Any) -> Callable[[Tensor], Tensor | float]:
    """Both sides, put together."""
    one, other, together = here.edit(value.left), here.edit(value.right), _OPS[value.op]
    return lambda current: together(one(current), other(current))


def _quotient(a: Tensor | float, b: Tensor | float) -> Tensor | float:
    if isinstance(b, float | int) and b == 0:
        finite = False
    else:
        quotient = a / b
        finite = isinstance(quotient, float | int) or bool(quotient.isfinite().all())
    if not finite:
        raise fail("E686", "a written value is divided by zero", NOWHERE, help="divide by something else")
    return quotient


_OPS: dict[str, Callable[..., Tensor | float]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": _quotient,
}

WORD = Written(
    "arithmetic",
    Combine,
    "`4 * (mean(source) - mean(base))`, `current + source`",
    "`+ - * /` of any of these, coordinate by coordinate",
    (
        Example("= 2 * source - mean(base)", lambda hand: 2 * hand.of("source") - hand.mean("base")),
        Example("= (source + base) / 2", lambda hand: (hand.of("source") + hand.of("base")) / 2),
        Example("= 2 * current - 0.5 * source", lambda hand: 2 * hand.current - 0.5 * hand.of("source"), current=True),
    ),
    word=False,
)
