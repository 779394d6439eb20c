"""Where the measures of a whole alignment differ, and what that means: scrubbing, carrying, accuracy and abstraction errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from causal_dsl.score.estimates_and_findings import Estimate, Finding
from causal_dsl.score.format_numbers import show
from causal_dsl.score.results import TestResult


def with_agreement(result: TestResult) -> TestResult:
    """The result, with findings on cells whose measures of the whole alignment differ."""
    cells = [replace(cell, findings=(*cell.findings, *agreement_findings(cell.scores))) for cell in result.cells]
    return replace(result, cells=tuple(cells))


def agreement_findings(scores: Mapping[str, Estimate]) -> Iterator[Finding]:
    """A finding for each two measures whose intervals do not overlap, where that says something about the alignment."""
    scrubbed, carried, accuracy = (scores.get(name) for name in ("scrubbed", "carried", "accuracy"))
    error, resampled = scores.get("abstraction_error"), scores.get("abstraction_error_resampled")
    if scrubbed and carried and below(scrubbed, carried):
        yield Finding(
            "differences_matter",
            f"`scrubbed` ({_value(scrubbed)}) is below `carried` ({_value(carried)}): the places hold more that the answer depends on "
            "than the values of their variables. Vectors from other inputs with the same values do not replace them.",
        )
    if carried and accuracy and below(carried, accuracy):
        yield Finding(
            "rest_matters",
            f"`carried` ({_value(carried)}) is below `accuracy` ({_value(accuracy)}): the answer depends on parts of the network that "
            "the alignment does not place.",
        )
    if scrubbed and error and below(_right(error), scrubbed):
        yield Finding(
            "scrubbing_blind",
            f"`scrubbed` is {_value(scrubbed)}, and under interventions with other values {_value(error)} of the values are wrong. "
            "Scrubbing writes no values but those that the reference has, so it does not test whether a place changes the answer.",
        )
    if error and resampled and below(error, resampled):
        yield Finding(
            "rest_interferes",
            f"`abstraction_error` is {_value(error)}, and {_value(resampled)} with what is not placed taken from other inputs: the "
            "interventions follow the causal model less often where the rest of the network is of another input.",
        )


def _right(error: Estimate) -> Estimate:
    """The share that is right, of an error."""

    def turned(number: float | None) -> float | None:
        return None if number is None else 1 - number

    return replace(error, value=turned(error.value), low=turned(error.high), high=turned(error.low))


def below(one: Estimate, other: Estimate) -> bool:
    """Whether the whole interval of a score lies below that of another; of exact scores, the score itself."""
    high = one.value if one.method == "exact" else one.high
    low = other.value if other.method == "exact" else other.low
    return high is not None and low is not None and high < low - 1e-12


def _value(score: Estimate) -> str:
    return show(score.value)


__all__ = ["agreement_findings", "below", "with_agreement"]
