"""Whether two numbers can be added or compared, and what to write where they cannot. Codes: E603, E604, E605."""

from __future__ import annotations

from typing import Any

from causal_dsl.diagnostics import Diagnostics
from causal_dsl.measures.names import short
from causal_dsl.measures.per_pair import FixedNumber, MeasuredValue
from causal_dsl.measures.units import BARE, NATS, RATIO, SHARE, Unit, met
from causal_dsl.syntax import tree


def unit_of_both(
    left: MeasuredValue, right: MeasuredValue, parts: tuple[Any, Any], verb: str, diagnostics: Diagnostics
) -> Unit | None:
    """The unit of two numbers that are ``verb`` (added to, taken from, compared with) each other, or None, reported."""
    for one, other in ((left, right), (right, left)):
        if isinstance(one, FixedNumber) and one.unit == BARE and one.value == 0 and other.unit == NATS:
            return NATS
    unit = met(left.unit, right.unit)
    if unit is not None:
        return unit
    for one, other, part in ((left, right, parts[0]), (right, left, parts[1])):
        if one.unit == BARE and other.unit == NATS:
            diagnostics.report(
                "E603",
                f"`{short(one.text)}` of what? `{short(other.text)}` is measured in nats or bits",
                part.span,
                label="no unit",
                notes=("one bit is 0.693 nats, so the two readings differ",),
                help=f"write `{short(one.text)} nats` or `{short(one.text)} bits`",
            )
            return None
    part, wrong, rightful = (parts[0], left, right) if isinstance(left, FixedNumber) else (parts[1], right, left)
    title = f"`{short(right.text)}` cannot be {verb} `{short(left.text)}`"
    if verb == "compared with" and isinstance(wrong, FixedNumber):
        title = f"`{short(rightful.text)}` cannot be compared with `{short(wrong.text)}`"
    diagnostics.report(
        "E604",
        title,
        part.span,
        label=f"this is {wrong.unit.words}",
        notes=(f"`{short(rightful.text)}` is {rightful.unit.words}",),
        help=_mend(wrong, rightful),
    )
    return None


def _mend(wrong: MeasuredValue, rightful: MeasuredValue) -> str:
    if not isinstance(wrong, FixedNumber):
        return "compare like with like" if rightful.unit != SHARE else "compare shares with shares"
    if rightful.unit in (SHARE, RATIO):
        return f"write `{wrong.value:g}`" if wrong.value <= 1 else f"write `{wrong.value:g}%`"
    if rightful.unit == NATS:
        return "write the number in `nats` or `bits`"
    return "write the number without a unit"


def in_range(
    values: tuple[MeasuredValue, MeasuredValue], parts: tuple[tree.Expr, tree.Expr], diagnostics: Diagnostics
) -> bool:
    """Reports a bound that can never be meant: a share above 1, a ratio in the tens."""
    for one, other, part in ((*values, parts[0]), (values[1], values[0], parts[1])):
        most = other.unit.most
        if not isinstance(one, FixedNumber) or isinstance(other, FixedNumber) or one.value <= most:
            continue
        if one.unit != BARE and not one.unit == other.unit == SHARE:
            continue
        title = f"{one.text} is out of proportion to `{short(other.text)}`"
        percent = one.unit == BARE and one.value <= 100 * most
        diagnostics.report(
            "E605",
            f"`{short(other.text)}` is never {one.text}" if most == 1 else title,
            part.span,
            label="too large",
            notes=(f"`{short(other.text)}` is {other.unit.words}",),
            help=f"write `{one.value:g}%`" if percent else "write a number from 0 to 1",
        )
        return False
    return True
