"""Units of measured numbers: which may be added, compared, and with what they must be written.

A unit is written in a spec only where leaving it out would hide an error: ``%`` for shares, ``nats`` or
``bits`` for what is measured in information. Everything is held in shares and nats.
"""

from __future__ import annotations

import math

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.vocabulary.record_tables import table


@dataclass(frozen=True)
class Unit:
    """``name`` decides what may meet; ``words`` is what a message calls a number of this unit.

    ``most`` is the largest plain number that can be meant (1 for a share: ``iia >= 95`` is a slip for ``95%``). ``shown``
    stands behind a number and on an axis; empty for what has no dimension.
    """

    name: str
    words: str
    most: float = math.inf
    shown: str = ""


SHARE = Unit("share", "a share, from 0 to 1", 1.0)
RATIO = Unit("ratio", "a ratio, where 1 is the whole", 10.0)
LOGITS = Unit("logits", "a number of logits", shown="logits")
NATS = Unit("nats", "an amount of information, in nats", shown="nats")
NUMBER = Unit("number", "a plain number")
INDEX = Unit("index", "a parameter of the sweep")
TRUTH = Unit("truth", "true or false")
#: A number written without a unit: it takes the unit of what it meets.
BARE = Unit("bare", "a number without a unit")

#: The units that a measure can have, by the names that its record gives.
UNITS = table("units", (SHARE, RATIO, LOGITS, NATS, NUMBER))

_RATIOS = {"share", "ratio", "number"}


def written(value: float, unit: str | None) -> tuple[float, Unit]:
    """The value and unit of a number of a spec: ``95 %`` is the share 0.95, ``1 bits`` is 0.693 nats."""
    if unit == "%":
        return value / 100, SHARE
    if unit == "nats":
        return float(value), NATS
    if unit == "bits":
        return value * math.log(2), NATS
    return float(value), BARE


def met(left: Unit, right: Unit) -> Unit | None:
    """The unit of a sum or comparison of two numbers, or None where the two cannot meet.

    A bare number meets everything but information; zero is zero in any unit, which the caller sees to.
    """
    if left.name == right.name:
        return left
    if left == BARE:
        return None if right in (NATS, TRUTH) else right
    if right == BARE:
        return None if left in (NATS, TRUTH) else left
    if left.name in _RATIOS and right.name in _RATIOS:
        return RATIO
    if NUMBER in (left, right) and LOGITS in (left, right):
        return LOGITS
    return None


def product(left: Unit, right: Unit) -> Unit:
    """The unit of ``left * right``."""
    if left == BARE and right == BARE:
        return BARE
    scale = {"bare", "number", "ratio", "share"}
    if left.name in scale and right.name in scale:
        return RATIO if SHARE in (left, right) or RATIO in (left, right) else NUMBER
    if left.name in scale:
        return right
    if right.name in scale:
        return left
    return NUMBER


def quotient(left: Unit, right: Unit) -> Unit:
    """The unit of ``left / right``."""
    if left == BARE and right == BARE:
        return BARE
    if right.name in ("bare", "number", "ratio", "share") and left != right:
        return RATIO if left == SHARE else left
    return NUMBER
