"""Nothing that was asked for is missing from the results: tests that were not run stand there as interrupted, or with
the fault that stopped them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from causal_dsl.score.results import TestResult

if TYPE_CHECKING:
    from causal_dsl.causal.ceilings import Ceiling
    from causal_dsl.program.program import Test


def not_measured(test: Test, ceilings: Mapping[str, Ceiling], fault: str = "") -> TestResult:
    """A test of which no cell was finished: nothing of it is judged. ``n`` is 0, for no pair of it was run to the end. ``fault``: the
    code of the diagnostic that stopped it."""
    known = {name: ceiling for name, ceiling in ceilings.items() if name != "informative"}
    parameters = tuple(name for name, _ in test.cells[0].values) if test.cells else ()
    return TestResult(
        test.name,
        test.span.line if test.span.source.text else 0,
        0,
        0,
        known,
        (),
        parameters=parameters,
        network=test.network.name,
        cell_count=len(test.cells) + len(test.lost),
        family=test.family,
        variant=test.variant,
        who=str(test.network.key),
        fault=fault,
    )


def as_far_as_measured(result: TestResult, test: Test) -> TestResult:
    """A result told of its network and of how many cells it should have. Where some were not finished nothing that was
    expected is judged: an expectation speaks of all cells."""
    told = replace(
        result,
        network=test.network.name,
        cell_count=len(test.cells) + len(test.lost),
        fault=test.lost[0][0].code if test.lost else "",
        family=test.family,
        variant=test.variant,
        who=str(test.network.key),
        alike=len(test.cells) > 1 and all(cell.does == test.cells[0].does for cell in test.cells),
    )
    if told.status != "interrupted":
        return told
    return replace(told, expectations=(), diagnostics=())


def refuse_missing(asked: Sequence[Test], results: Iterable[TestResult], interrupted: bool) -> None:
    """Hold that every test that was asked for is in the results, whole where nothing was interrupted."""
    found = {result.name: result for result in results}
    left = [test.name for test in asked if test.name not in found]
    cut = [name for name, result in found.items() if result.status == "interrupted" and not interrupted]
    if left or cut:
        raise RuntimeError(f"not in the results: {', '.join([*left, *cut])}")


__all__ = ["as_far_as_measured", "not_measured", "refuse_missing"]
