"""Several variables that a test writes together: whether the interchange of each by itself is right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.score.estimates_and_findings import Estimate, Finding
from causal_dsl.score.format_numbers import counted, show, show_estimate

if TYPE_CHECKING:
    from causal_dsl import shapes

#: Written apart, variables may fail in twice the share of pairs in which they fail together, and in up to so many.
FAILS = 0.02
_LUCK = 0.05


@dataclass(frozen=True)
class WrittenApart:
    """Some of the variables of a test, written apart. ``swaps``: which from which role. ``right``: the share of pairs that give
    what the causal model says of these alone; ``moved``: whose answer is another one than the base's; ``asked``: in how many
    of them the model says another one."""

    swaps: tuple[tuple[str, str], ...]
    place: str
    right: Estimate
    moved: Estimate
    asked: int

    def to_json(self) -> shapes.WrittenApartJson:
        return {
            "variables": dict(self.swaps),
            "place": self.place,
            "right": self.right.to_json(),
            "moved": self.moved.to_json(),
            "asked": self.asked,
        }


def apart_findings(found: Sequence[WrittenApart], together: Estimate, names: Sequence[str]) -> list[Finding]:
    """`joint_only`, where variables that are right ``together`` are not right apart: an alarm where they fail oftener than the
    test itself explains, else information."""
    allowed = 1 - (together.value if together.value is not None else 1.0)
    wrong = [one for one in found if one.right.value is not None and one.right.value < 1]
    failing = [one for one in wrong if fails(one.right, allowed, len(found))]
    if not wrong:
        return []
    worst = min(failing or wrong, key=lambda one: one.right.value or 0.0)
    dead = next((one for one in failing if one.asked and not one.moved.value), None)
    told = _dead(dead) if dead is not None else _told(worst)
    them = " and ".join(f"`{name}`" for name in names)
    if failing:
        text = f"{told} The test writes {them} together, so it cannot tell which place holds which."
        return [Finding("joint_only", text)]
    return [Finding("joint_only", f"{told} Together {them} fail in {show(allowed)} of the pairs.", "info", False)]


def fails(right: Estimate, allowed: float, of: int) -> bool:
    """Whether the share that is not right is larger than the ``allowed`` one explains: twice as large, and by no luck in any one of so many
    (``of``) shares (Bonferroni)."""
    n, wrong = right.n, 1 - (right.value or 0.0)
    if wrong <= max(FAILS, 2 * allowed):
        return False
    from scipy.special import bdtrc

    return bool(bdtrc(round(wrong * n) - 1, n, allowed) * of <= _LUCK)


def _dead(one: WrittenApart) -> str:
    name = one.swaps[0][0]
    return (
        f"If {one.place} is written alone, the answer moves in none of {counted(one.moved.n)}, but in the causal model "
        f"`{name}` alone changes it in {one.asked} of them."
    )


def _told(one: WrittenApart) -> str:
    how = f"`{one.swaps[0][0]}` written alone at {one.place} gives"
    if len(one.swaps) > 1:
        how = " and ".join(f"`{name}`" for name, _ in one.swaps)
        how = f"{how} taken from different sources give"
    return (
        f"{how} the answer of the causal model under that interchange in {show_estimate(one.right)} of {counted(one.right.n)} "
        "of inputs that the network answers right."
    )


__all__ = ["WrittenApart", "apart_findings", "fails"]
