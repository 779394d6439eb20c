"""Between which ends a measure or a reading stays, by its unit."""

from __future__ import annotations

import math


def ends_of(unit: str | None, least: float | None, most: float | None) -> tuple[float, float]:
    """The least and the greatest number that it can be: those that its record says, else of a share 0 and 1, and of another unit none."""
    low, high = (0.0, 1.0) if unit == "share" else (-math.inf, math.inf)
    return low if least is None else least, high if most is None else most


__all__ = ["ends_of"]
