"""Whether the result of an ablation depends on the value that it writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.score.estimates_and_findings import Estimate, Finding
from causal_dsl.score.format_numbers import counted, show, show_estimate

if TYPE_CHECKING:
    from causal_dsl import shapes

#: Two ways of taking a place away are said to differ where their shares differ by more than this, and the smaller is less
#: than a third of the larger: by the one the place is needed, by the other it is not.
DIFFERENT, LESS = 0.1, 1 / 3


@dataclass(frozen=True)
class OtherValues:
    """An ablation beside the other ways of taking its place away: the share of moved answers of each on the same pairs,
    and the ``differences`` of each other way from the test's own. ``changed``: the shares of `anew` and `resample` in those
    pairs alone in which they write different values, and their difference there; None where that was not looked at. ``short``: by how much `anew`
    falls short of `resample`, less what the test's own value moves; None where `anew` was not run."""

    own: str
    moved: Mapping[str, Estimate]
    differences: Mapping[str, Estimate]
    changed: tuple[Estimate, Estimate, Estimate] | None = None
    short: Estimate | None = None

    def to_json(self) -> shapes.ReplacedJson:
        found: shapes.ReplacedJson = {
            "own": self.own,
            "moved": {name: e.to_json() for name, e in self.moved.items()},
            "differences": {name: e.to_json() for name, e in self.differences.items()},
        }
        if self.changed is not None:
            names = ("anew", "resample", "difference")
            found["changed"] = {name: e.to_json() for name, e in zip(names, self.changed, strict=True)}
        if self.short is not None:
            found["short"] = self.short.to_json()
        return found


_WORDS = {
    "zero": "set to zero",
    "written": "written as the test says",
    "put": "written as the test says",
    "mean": "set to their mean",
    "resample": "taken from another input",
    "anew": "written as the test says, but from another input",
}


def replacement_findings(found: OtherValues) -> list[Finding]:
    """`replacement_matters`, where another way of taking the same places away moves other answers."""
    own = found.moved[found.own]
    apart = {name: d for name, d in found.differences.items() if name != "anew" and _differs(found, name)}
    if not apart:
        return []
    others = ", ".join(
        f"with the places {_WORDS[name]}, in {show(found.moved[name].value)} (difference {show_estimate(d)})"
        for name, d in apart.items()
    )
    if "anew" in found.moved and any((d.value or 0.0) > 0 for d in apart.values()):
        others += f"; with the places {_WORDS['anew']}, in {show(found.moved['anew'].value)}"
        if found.changed is not None:
            anew, resample, _ = found.changed
            others += f" (where that is another value than this input has: in {show(anew.value)} of {counted(anew.n)}, against {show(resample.value)})"
    return [
        Finding(
            "replacement_matters",
            f"With the places {_WORDS[found.own]}, the answer moves in {show(own.value)} of {counted(own.n)}; {others}. "
            "The score depends on the value that is written.",
        )
    ]


def _differs(found: OtherValues, name: str) -> bool:
    """Whether another way says otherwise than the test's own of whether the places are needed.

    What a test writes at will may well move less than another run in place: a part is taken away, and the rest is needed. If what it
    writes of another run in place moves as little, it is not that: then the places count while they hold what they hold in some run, and
    no longer as they are written. Nor is it if that moves less than another run in place by more than the test's own value moves: what is left
    of the part is read as another value in as many of these runs as of the test's own.
    """
    difference = found.differences[name]
    if found.own in ("zero", "mean"):
        return _far(found, found.own, name)
    if (difference.value or 0.0) < 0:
        return found.own == "written" and _far(found, found.own, name)
    if name != "resample" or not _far(found, found.own, name):
        return False
    anew = found.moved.get("anew")
    if anew is None or _apart(anew.value, found.moved[name].value):
        return True
    if found.short is not None and (found.short.value or 0.0) > DIFFERENT and _is_sure(found.short):
        return True
    return found.changed is not None and _far_apart(*found.changed)


def is_open(found: OtherValues) -> bool:
    """Whether it depends on the pairs in which `anew` and `resample` write different values: in the others they move the same answers,
    and hide how far they are apart."""
    if not {"anew", "resample"} <= found.moved.keys() or not _far(found, found.own, "resample"):
        return False
    return not _apart(found.moved["anew"].value, found.moved["resample"].value)


def _far(found: OtherValues, own: str, name: str) -> bool:
    return _far_apart(found.moved[own], found.moved[name], found.differences[name])


def _far_apart(one: Estimate, other: Estimate, difference: Estimate) -> bool:
    apart = _apart(one.value, other.value) and difference.value is not None
    return apart and abs(difference.value or 0.0) > DIFFERENT and _is_sure(difference)


def _is_sure(difference: Estimate) -> bool:
    if difference.method == "exact":
        return True
    return difference.low is not None and difference.high is not None and not difference.low <= 0 <= difference.high


def _apart(one: float | None, other: float | None) -> bool:
    least, most = sorted((one or 0.0, other or 0.0))
    return least < LESS * most


__all__ = ["OtherValues", "is_open", "replacement_findings"]
