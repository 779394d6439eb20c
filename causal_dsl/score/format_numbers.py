"""Numbers as sentences and tables show them: never rounded onto a bound that they do not reach."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from causal_dsl.score.estimates_and_findings import Estimate

#: Decimals that tell a number from 0 and from 1: what lies nearer is of the rounding of networks in float32. A bound is told from
#: it by more, for its side decides whether an expectation holds.
_MOST, _MOST_AGAINST = 7, 9


def show(value: float | None, digits: int = 3, against: float | None = None, missing: str = "undefined") -> str:
    """A number with three decimals, or four significant digits from 1000 on; ``digits=0`` for what names a cell.

    What is not quite 0 or 1 does not read as 0 or 1, and what differs from ``against`` does not read the same: more decimals tell
    them apart, up to those beyond which a difference is of rounding. ``missing`` stands for what is not a finite number.
    """
    if value is None or not math.isfinite(value):
        return missing
    if abs(value) >= 1000:
        return f"{value:.4g}"
    if digits == 0:
        return f"{value:g}"
    text = f"{value:.{digits}f}"
    for more in range(digits, _MOST_AGAINST + 1):
        told = f"{value:.{more}f}"
        edges = (0.0, 1.0, against) if more <= _MOST else (against,)
        if more > _MOST and against is None:
            break
        if all(float(told) != edge or value == edge for edge in edges):
            text = told
            break
    return "0." + "0" * digits if text.strip("-0.") == "" else text


def show_estimate(estimate: Estimate, against: float | None = None, digits: int = 3) -> str:
    """``0.934 [0.912, 0.953]``; without an interval, the number alone."""
    text = show(estimate.value, digits, against)
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} {show_interval(estimate.low, estimate.high, digits)}"


def show_interval(low: float, high: float, digits: int = 3) -> str:
    """``[0.912, 0.953]``: both ends with the decimals that the one needs that needs most."""
    ends = [show(low, digits), show(high, digits)]
    decimals = [len(end.partition(".")[2]) for end in ends]
    if digits and max(abs(low), abs(high)) < 1000 and decimals[0] != decimals[1]:
        ends = [f"{end:.{max(decimals)}f}" for end in (low, high)]
    return f"[{ends[0]}, {ends[1]}]"


def show_cell(cell: Mapping[str, Any]) -> str:
    """``l=8, p=last``"""
    return ", ".join(f"{name}={value}" for name, value in cell.items())


def counted(number: int, what: str = "pair") -> str:
    """``1 pair``, ``702 pairs``"""
    return f"{number} {what}{'' if number == 1 else 's'}"


def show_percent(share: float, digits: int = 0) -> str:
    """``80%``; what is not quite none or all does not read as 0% or 100%."""
    for more in range(digits, 8):
        text = f"{100 * share:.{more}f}"
        if all(float(text) != edge or 100 * share == edge for edge in (0.0, 100.0)):
            break
    return text + "%"


def show_share(part: int, whole: int) -> str:
    """``412 of 512 (80.5%)``"""
    return f"{part} of {whole}" + (f" ({show_percent(part / whole, 1)})" if whole else "")
