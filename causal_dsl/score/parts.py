"""A variable that is written at several places: whether each of them counts beside the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.score.estimates_and_findings import Estimate, Finding
from causal_dsl.score.format_numbers import counted, show

if TYPE_CHECKING:
    from causal_dsl import shapes

#: In how many pairs of a sample another part has to count; and up to how many numbers of one place are each claimed to count.
LEAST, FEW = 8, 4
#: By how much of the inputs a place has to tell more of its variable than what counts does alone.
_MORE = 0.05
#: Of the spread of a number, what is no change.
_SAME = 1e-6


@dataclass(frozen=True)
class WrittenPart:
    """One place of a variable that has several, or one of the numbers of its only place. ``alone`` and ``without``: iia where it alone is
    written, and where all but it are; ``counts``: the share of pairs whose answer it changes, written beside some of the others or
    none. ``nearest``: of the inputs whose variable is that of the input with the nearest vector there, the share, and that of the
    commonest value; None where that was not looked at; ``beside``: that share of the places that count, and of these and this one
    together. ``of_variable``: whether it has one vector for each value of the variable, and not one for all."""

    variable: str
    place: str
    alone: Estimate
    without: Estimate
    counts: Estimate
    nearest: tuple[float, float] | None = None
    beside: tuple[float, float] | None = None
    of_variable: bool = False

    def to_json(self) -> shapes.WrittenPartJson:
        return {
            "variable": self.variable,
            "place": self.place,
            "alone": self.alone.to_json(),
            "without": self.without.to_json(),
            "counts": self.counts.to_json(),
        }

    @property
    def idle(self) -> bool:
        """Whether it changes no answer, whatever of the other parts is written."""
        return self.counts.value == 0

    @property
    def tells(self) -> bool:
        """Whether vectors that lie near each other there have the same value of the variable, for the most part; or whether the place is
        a part of a code of it, of which the answer may need another part: it varies with the variable alone, or what counts tells
        less of the variable without it."""
        if self.of_variable or (self.beside is not None and self.beside[1] > self.beside[0] + _MORE):
            return True
        return self.nearest is not None and self.nearest[0] >= (1 + self.nearest[1]) / 2


def part_findings(found: Sequence[WrittenPart], width: int | None, every: bool) -> list[Finding]:
    """`idle_place`, where a part changes no answer: an alarm for a place that does not tell the variable either; of the numbers of one
    place, which has ``width``, if these are few and half of them or more are so. Nothing where no part counts in ``LEAST`` pairs, of a
    sample of them (``every``: of all)."""
    idle = [part for part in found if part.idle]
    most = max((round((part.counts.value or 0.0) * part.counts.n) for part in found), default=0)
    if not idle or most < (1 if every else LEAST):
        return []
    empty = [part for part in idle if not part.tells]
    told = empty or idle
    alarm = bool(empty) and (width is None or (width <= FEW and 2 * len(empty) >= len(found)))
    names, name = _joined([part.place for part in told]), told[0].variable
    text = (
        f"The answer is the same in each of {counted(told[0].counts.n)}, whether or not `{name}` is written at {names}, alone and beside "
        f"some or all of {'its other places' if width is None else 'the other numbers of its place'}: the test does not show that `{name}` is there."
    )
    if told[0].of_variable:
        text += f" {told[0].place} has one vector for each value of `{name}`, not the same for all."
    elif told[0].nearest is not None:
        there = "there" if len(told) == 1 else f"at {told[0].place}"
        text += (
            f" An input and the one whose vector {there} is nearest to its own have the same value of `{name}` in {show(told[0].nearest[0])} "
            f"of the cases; {show(told[0].nearest[1])} of the inputs have the commonest value."
        )
    return [Finding("idle_place", text, None if alarm else "info")]


def varies_with(vectors: np.ndarray, values: np.ndarray) -> bool:
    """Whether vectors [n, width] are a function of the values [n] of a variable, several inputs having one of them, and not constant."""
    if len(vectors) < 2 or not np.isfinite(vectors).all():
        return False
    spread = np.ptp(vectors, axis=0)
    size = np.abs(vectors).max(axis=0)
    some = spread > _SAME * np.maximum(size, 1e-300)
    _, codes = np.unique(values, return_inverse=True)
    if not some.any() or codes.max() + 1 == len(codes):
        return False
    return all(
        (np.ptp(vectors[codes == code], axis=0) <= _SAME * spread)[some].all() for code in range(codes.max() + 1)
    )


def nearest(vectors: np.ndarray, values: np.ndarray) -> tuple[float, float] | None:
    """The share of inputs [n] with the value of the input whose vector [n, width] is nearest, where several are over all of these; and the
    share of the commonest value. None of fewer than two inputs, and where a vector is not finite."""
    if len(vectors) < 2 or not np.isfinite(vectors).all():
        return None
    spread = np.ptp(vectors, axis=0)
    scaled = vectors / np.where(spread > 0, spread, 1.0)
    _, codes = np.unique(values, return_inverse=True)
    size = (scaled * scaled).sum(axis=1)
    apart = np.maximum(size[:, None] + size[None] - 2 * scaled @ scaled.T, 0.0)
    np.fill_diagonal(apart, np.inf)
    near = apart <= apart.min(axis=1, keepdims=True) + 1e-9 * max(1.0, float(size.max(initial=0.0)))
    same = codes[:, None] == codes[None]
    share = float(((near & same).sum(axis=1) / near.sum(axis=1)).mean())
    return share, float(np.bincount(codes).max() / len(codes))


def _joined(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


__all__ = ["WrittenPart", "nearest", "part_findings", "varies_with"]
