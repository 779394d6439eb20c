"""Fields of diagnostics, scores, findings and verdicts."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

from causal_dsl.shapes.numbers_of_fields import Count


class DiagnosticJson(TypedDict):
    """A fault (its code begins with E) or a warning (W), and where it is."""

    code: str
    "its code, as `causal-dsl explain` takes it"
    title: str
    "the error, in one sentence"
    path: str
    "the file"
    line: Count
    "line of its first character, from 1; 0 where the file cannot be read"
    column: Count
    "column of its first character, from 1, in characters"
    end_line: Count
    "line of the end"
    end_column: Count
    "column after its last character"
    notes: list[str]
    "why, one sentence each"
    help: str | None
    "what to write instead; null or empty if there is no advice"


class EstimateJson(TypedDict):
    """A score with its 95% interval. Shares and rates lie in [0, 1]; other scores have the unit of their measure."""

    value: float | None
    "the score; null if undefined"
    low: float | None
    "lower end of the interval; null if there is none"
    high: float | None
    "upper end of the interval; null if there is none"
    n: Count
    "the number of pairs"
    method: Literal["exact", "bootstrap", "binomial", "clustered", "rule of three", "draws", "none"]
    "how the interval was made"
    about: Literal["", "draws", "inputs"]
    "what the interval is about: more draws of the same inputs, or inputs that were not drawn; empty where there is none"


class CeilingJson(TypedDict):
    """The score of a rule that does without the hypothesis: a share in [0, 1], or R^2 of an output that is a number, at most 1."""

    value: float | None
    "the score; null if undefined"
    exact: bool
    "whether it covers all combinations of inputs"
    n: Count
    "the number of combinations, or of drawn rows"
    low: float | None
    "lower bound; `value` where exact"
    high: float | None
    "upper bound; `value` where exact"


class FindingJson(TypedDict):
    """One sentence that can be quoted."""

    code: str
    "its kind; docs/measures.md lists the codes"
    text: str
    "the sentence"
    severity: Literal["alarm", "info"]
    "`alarm` where a number may mislead"


class VerdictJson(TypedDict):
    """The verdict of the scores on the hypothesis."""

    code: str
    "a step of the ladder in docs/measures.md, or `mixed`"
    text: str
    "the sentence that says why"
    lowered_by: NotRequired[str]
    "the code of the finding that made it lower than its numbers alone do"


class RiseJson(EstimateJson):
    """How much more a cell scores than the one below it, over the same pairs."""

    below: dict[str, Any] | None
    "parameters of the cell below; null for the unpatched runs"
