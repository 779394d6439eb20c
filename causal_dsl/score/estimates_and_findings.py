"""A score with its interval, and the sentences that judge it: findings and verdicts."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.score.as_json import number
from causal_dsl.score.codes import Severity, severity

if TYPE_CHECKING:
    from causal_dsl import shapes

Method = Literal["exact", "bootstrap", "binomial", "clustered", "rule of three", "draws", "none"]


@dataclass(frozen=True, repr=False)
class Estimate:
    """A score with its 95% interval, over ``n`` pairs.

    ``value`` is None where the score is undefined (no pairs, NaN). ``low`` and ``high`` are None where there is no
    interval: ``method`` says whether because the score is ``exact``, or because ``none`` can be given.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    method: Method = "none"
    #: what the interval is about: more draws from the same inputs, or inputs that were not drawn; "" without an interval
    about: Literal["", "draws", "inputs"] = ""

    def __repr__(self) -> str:
        """The score as reports show it: ``<Estimate 0.938 [0.902, 0.961], n=64>``."""
        shown: str = import_module("causal_dsl.score.format_numbers").show_estimate(self)
        return f"<Estimate {shown}, n={self.n}>"

    def to_json(self) -> shapes.EstimateJson:
        return {
            "value": number(self.value),
            "low": number(self.low),
            "high": number(self.high),
            "n": self.n,
            "method": self.method,
            "about": self.about,
        }


@dataclass(frozen=True)
class Rise:
    """How much more a cell of a sweep scores than the cell ``below`` it (None: than the unpatched runs), over the same pairs."""

    difference: Estimate
    below: dict[str, Any] | None = None

    def to_json(self) -> shapes.RiseJson:
        return {**self.difference.to_json(), "below": number(self.below)}


@dataclass(frozen=True)
class Finding:
    """One sentence that can be quoted, with a code that says of what kind it is.

    ``level`` is its severity where that is not the one of its code (:mod:`causal_dsl.score.codes`). A finding with
    ``forbids`` false leaves the verdict as it is, whatever its code. ``about``: the names of the scores that it speaks of, for those who
    treat these otherwise."""

    code: str
    text: str
    level: Severity | None = None
    forbids: bool = True
    about: tuple[str, ...] = ()

    @property
    def severity(self) -> Severity:
        return self.level or severity(self.code)

    def to_json(self) -> shapes.FindingJson:
        return {"code": self.code, "text": self.text, "severity": self.severity}


@dataclass(frozen=True)
class Verdict:
    """A step of the ladder (:mod:`causal_dsl.score.verdict`), and the sentence that says why. ``lowered_by``: the code of the finding
    that made it lower than its numbers alone do; empty where none did."""

    code: str
    text: str
    lowered_by: str = ""

    def to_json(self) -> shapes.VerdictJson:
        found: shapes.VerdictJson = {"code": self.code, "text": self.text}
        return {**found, "lowered_by": self.lowered_by} if self.lowered_by else found
