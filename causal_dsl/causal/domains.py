"""The values of a variable: a finite list of values, an interval of real numbers, or any text.

A domain never allocates by its size: a long range of whole numbers stays a :class:`range`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import field
from functools import cached_property
from typing import Literal

from causal_dsl.base.quick_dataclasses import dataclass

Value = bool | int | float | str
Type = Literal["bool", "int", "real", "string", "set"]

#: Whole numbers of a causal model lie strictly between -LIMIT and LIMIT, so that int64 holds every sum of two of them.
LIMIT = 2**62
#: Ranges up to this length are kept as plain tuples.
SHORT = 4096

WORDS: dict[str, str] = {
    "bool": "true or false",
    "int": "a whole number",
    "real": "a number",
    "string": "text",
    "set": "a set of values",
}


def type_of(value: Value) -> Type:
    """The type of one value. bool is asked before int, of which Python makes it a kind."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    return "real" if isinstance(value, float) else "string"


def show(value: Value) -> str:
    """A value as it is written in a spec."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    return repr(value)


def written(value: Value) -> str:
    """A number or a truth value of a column as a text: as prompts and answers write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


@dataclass(frozen=True)
class Finite:
    """Distinct values of one type, in the order in which they were declared (which is the class order of a read-out)."""

    values: tuple[Value, ...] | range
    #: of texts that would be numbers or truth values if none were missing: which one is
    gap: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.values, range):
            if self.size <= SHORT:
                object.__setattr__(self, "values", tuple(self.values))
        elif not isinstance(self.values, tuple):
            object.__setattr__(self, "values", tuple(self.values))
        if self.size < 1:
            raise ValueError("a domain needs at least one value")
        if not isinstance(self.values, range) and len(set(map(type, self.values))) > 1:
            raise ValueError("the values of a domain are of one type")

    @property
    def size(self) -> int:
        """How many values there are. (``len`` of a range fails beyond 2**63.)"""
        if isinstance(self.values, range):
            return max(0, self.values.stop - self.values.start)
        return len(self.values)

    @cached_property
    def type(self) -> Type:
        return "int" if isinstance(self.values, range) else type_of(self.values[0])

    @cached_property
    def _set(self) -> frozenset[Value]:
        return frozenset(self.values)

    @property
    def contiguous(self) -> bool:
        """Whether these are whole numbers without a gap, in rising order."""
        if isinstance(self.values, range):
            return True
        first = self.values[0]
        return self.type == "int" and self.values == tuple(range(first, first + len(self.values)))  # type: ignore[arg-type, operator]

    @property
    def low(self) -> float:
        """The least number; minus infinity where the values are no numbers."""
        if self.type not in ("int", "real"):
            return -math.inf
        return self.values.start if isinstance(self.values, range) else min(self.values)  # type: ignore[return-value]

    @property
    def high(self) -> float:
        """The greatest number; infinity where the values are no numbers."""
        if self.type not in ("int", "real"):
            return math.inf
        return self.values.stop - 1 if isinstance(self.values, range) else max(self.values)  # type: ignore[return-value]

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, (bool, int, float, str)):
            return False
        if type_of(value) != self.type and not (self.type == "real" and type_of(value) == "int"):
            return False
        return value in (self.values if isinstance(self.values, range) else self._set)

    def __iter__(self) -> Iterator[Value]:
        return iter(self.values)

    def __str__(self) -> str:
        if self.values == (False, True):
            return "bool"
        if self.contiguous and self.size > 1:
            return f"{self.low}..{self.high}"
        shown = [show(value) for value in self.values[:8]]
        return "{" + ", ".join(shown + (["…"] if self.size > 8 else [])) + "}"


@dataclass(frozen=True)
class Real:
    """The real numbers from ``low`` to ``high``, both included; without bounds, all of them."""

    low: float = -math.inf
    high: float = math.inf

    type: Literal["real"] = "real"

    @property
    def bounded(self) -> bool:
        return math.isfinite(self.low) and math.isfinite(self.high)

    def __contains__(self, value: object) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"real({self.low!r}, {self.high!r})" if self.bounded else "real"


@dataclass(frozen=True)
class Text:
    """Any text: what a Python function annotated ``-> str`` may return before it has been run."""

    type: Literal["string"] = "string"
    low: float = -math.inf
    high: float = math.inf

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str)

    def __str__(self) -> str:
        return "any text"


@dataclass(frozen=True)
class Sets:
    """Sets of values of ``universe``. A set is coded as a text that writes it: equal sets have equal codes."""

    universe: Finite
    type: Literal["set"] = "set"
    low: float = -math.inf
    high: float = math.inf

    def __contains__(self, value: object) -> bool:
        return False

    def __str__(self) -> str:
        return f"sets of {self.universe}"


Domain = Finite | Real | Text | Sets

BOOL = Finite((False, True))
