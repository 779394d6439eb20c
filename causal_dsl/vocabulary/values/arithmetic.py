"""``a + b``, ``a - b``, ``a * b``, ``a / b``: arithmetic of written values."""

from __future__ import annotations

from typing import Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.vocabulary.values.current import Current
from causal_dsl.vocabulary.values.number import Constant
from causal_dsl.vocabulary.written import Example, Value, Written


@dataclass(frozen=True)
class Combine(Value):
    """``op`` is one of ``+ - * /``, coordinate by coordinate."""

    function = "causal_dsl.engine.values:combined"
    runless = True
    given = False
    one_by_one = True
    op: str
    left: Value
    right: Value

    def order(self, site: Any) -> object:
        return (self.op, self.left.order(site), self.right.order(site))

    @property
    def lessens(self) -> bool:
        left, right = self.left, self.right
        if left.changes and right.changes:
            return self.op == "-" and left == right
        own, other = (left, right) if left.changes else (right, left)
        if self.op in "+-":
            return own.removes
        if not isinstance(other, Constant) or (self.op == "/" and (own is right or not other.value)):
            return False
        by = 1 / other.value if self.op == "/" else other.value
        return 0 <= by < 1 if isinstance(own, Current) else abs(by) <= 1 and own.removes

    def __str__(self) -> str:
        return f"combine with {self.op}"

    @property
    def text(self) -> str:
        sides = (f"({side.text})" if isinstance(side, Combine) else side.text for side in (self.left, self.right))
        return f" {self.op} ".join(sides)


FAMILY = (
    Written(
        "arithmetic",
        Combine,
        "`4 * (mean(source) - mean(base))`, `current + source`",
        "`+ - * /` of any of these, coordinate by coordinate",
        (
            Example("= 2 * source - mean(base)", lambda hand: 2 * hand.of("source") - hand.mean("base")),
            Example("= (source + base) / 2", lambda hand: (hand.of("source") + hand.of("base")) / 2),
            Example(
                "= 2 * current - 0.5 * source", lambda hand: 2 * hand.current - 0.5 * hand.of("source"), current=True
            ),
        ),
        word=False,
    ),
)
