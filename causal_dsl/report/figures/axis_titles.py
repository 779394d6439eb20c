"""How an axis names a parameter: with what it numbers, where the places of the test or the score say so."""

from __future__ import annotations

import re
from collections.abc import Callable

from causal_dsl.score.results import TestResult
from causal_dsl.score.setting import Occupied

#: What a parameter may number: whether a place has a value of it there, and how the place of a reading is written.
_NUMBERED: dict[str, tuple[Callable[[Occupied, object], bool], str]] = {
    "layer": (lambda place, value: place.layer == value, r"\blayer\[{}\]"),
    "head": (lambda place, value: f".head[{value}]" in place.place, r"\bhead\[{}\]"),
    "position": (
        lambda place, value: bool(place.tokens) and place.place.endswith(f"[{value}]"),
        r"\b(?!layer|head)\w+\[{}\]$",
    ),
}


def axis_title(test: TestResult, score: str, parameter: str) -> str:
    """``layer l``, ``head h``, ``position p``; the parameter alone where it numbers none of these, or not in every cell."""
    for what, (numbers, written) in _NUMBERED.items():
        if parameter != what and (_placed(test, parameter, numbers) or _read(score, parameter, written)):
            return f"{what} {parameter}"
    return parameter


def _placed(test: TestResult, parameter: str, numbers: Callable[[Occupied, object], bool]) -> bool:
    """Whether the places that the test writes say so, in each cell."""
    places = test.setting.places if test.setting is not None else ()
    swept = [place for place in places if place.written and parameter in place.cell]
    values = {place.cell[parameter] for place in swept}
    return len(values) > 1 and all(numbers(place, place.cell[parameter]) for place in swept)


def _read(score: str, parameter: str, written: str) -> bool:
    """Whether the place of a reading says so: ``norm @ layer[l].resid_post[p]``."""
    _, at, place = score.partition(" @ ")
    return bool(at) and re.search(written.format(re.escape(parameter)), place) is not None


__all__ = ["axis_title"]
