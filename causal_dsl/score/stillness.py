"""The findings that are meant to be so and are then no alarm: the stillness of an ablation that should have no effect, and what speaks against a
hypothesis that is expected to fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from causal_dsl.measures.context import Expectation
from causal_dsl.measures.per_cell import PairMean
from causal_dsl.measures.per_pair import AtOutput, Moved, OfDistribution
from causal_dsl.score.codes import AGAINST, Severity
from causal_dsl.score.estimates_and_findings import Finding
from causal_dsl.score.results import CellResult, TestResult
from causal_dsl.vocabulary.findings import FINDINGS
from causal_dsl.vocabulary.measures import given, perfect

#: What says that nothing moved.
_STILL = tuple(code for code, kind in FINDINGS.items() if kind.still)
#: A share, or a divergence, by which an answer has certainly moved.
_CLEARLY = 0.5


def nothing_expected(expectations: Sequence[Expectation]) -> bool:
    """Whether expectations ask for no movement: those that speak of `moved`, `kl` or `js` pass where these are 0 and the
    network is right, and one of them fails where they are not."""
    found = []
    right = {name: value for name, value in perfect().items() if name in given("answer")}
    for expectation in expectations:
        names = {part.measure for part in expectation.truth.walk() if isinstance(part, PairMean) and _movement(part)}
        if names:
            truths = [expectation.truth.assume({**right, **dict.fromkeys(names, size)}) for size in (0.0, _CLEARLY)]
            if truths[0] != 1:
                return False
            found.append(truths[1] == 0)
    return any(found)


def _movement(part: PairMean) -> bool:
    pair = part.pair.metric if isinstance(part.pair, AtOutput) else part.pair
    return part.run == "patched" and (isinstance(pair, Moved) or (isinstance(pair, OfDistribution) and pair.two_runs))


def meant_to_fail(expectations: Sequence[Expectation]) -> bool:
    """Whether each expectation of a test is one that a network fails in which the hypothesis holds, as `iia <= 60%` at a place where the
    variable is not: what speaks against the hypothesis is then no alarm."""
    holding = perfect()
    return bool(expectations) and all(expectation.truth.assume(holding) == 0 for expectation in expectations)


def as_meant(result: TestResult, expectations: Sequence[Expectation]) -> TestResult:
    """The result with what speaks against the hypothesis told as information, where the test is :func:`meant_to_fail`."""
    if not meant_to_fail(expectations):
        return result
    return replace(result, findings=_informing(result.findings), cells=tuple(map(_as_meant, result.cells)))


def _as_meant(cell: CellResult) -> CellResult:
    return replace(cell, findings=_informing(cell.findings))


def _informing(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    return tuple(replace(f, level="info") if f.code in AGAINST else f for f in findings)


def at_rest(cell: CellResult, holds: bool = False) -> CellResult:
    """The cell with its stillness told as information. ``holds``: what its test expects of the answers is so; that vectors out of range were
    written is then information, too, since nothing rests on an effect of theirs."""
    return _levelled(cell, "info", (*_STILL, "outside") if holds else _STILL)


def not_at_rest(cell: CellResult) -> CellResult:
    """The cell with its stillness told as an alarm again: what else was written in the same places did move the answer."""
    return _levelled(cell, None, _STILL)


def _levelled(cell: CellResult, level: Severity | None, codes: Sequence[str]) -> CellResult:
    findings = tuple(replace(f, level=level) if f.code in codes else f for f in cell.findings)
    return replace(cell, findings=findings)


__all__ = ["as_meant", "at_rest", "meant_to_fail", "not_at_rest", "nothing_expected"]
