"""What a run found, as values: indexable, as JSON, as a table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from causal_dsl.diagnostics import Diagnostic, did_you_mean

if TYPE_CHECKING:
    import pandas

    from causal_dsl.causal.ceilings import Ceiling
    from causal_dsl.score.controls import Learned
    from causal_dsl.score.unmapped import OtherValues, Unclaimed

Method = Literal["exact", "bootstrap", "binomial", "rule of three", "draws", "none"]


def number(value: Any) -> Any:
    """A number as JSON has it: NaN and the infinities are null."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): number(inner) for key, inner in value.items()}
    if hasattr(value, "item"):
        value = value.item()
    return value if not isinstance(value, float) or math.isfinite(value) else None


@dataclass(frozen=True)
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

    def to_json(self) -> dict[str, Any]:
        return {
            "value": number(self.value),
            "low": number(self.low),
            "high": number(self.high),
            "n": self.n,
            "method": self.method,
        }


@dataclass(frozen=True)
class Finding:
    """One sentence that can be quoted, with a code that says of what kind it is."""

    code: str
    text: str

    def to_json(self) -> dict[str, str]:
        return {"code": self.code, "text": self.text}


@dataclass(frozen=True)
class Fired:
    """One intervention of a cell: at how many places it fired, the mean of |new - old| / |old| over them, and at how
    many it was left out because nothing there can reach the read-out."""

    text: str
    rows: int
    change: float | None = None
    unreachable: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "text": self.text, "rows": self.rows, "change": number(self.change), "unreachable": self.unreachable,
        }  # fmt: skip


@dataclass(frozen=True)
class CellInfo:
    """What the run says of a cell beside its columns: ``noise_floor`` is the largest change of a logit when the base is
    patched into itself."""

    interventions: tuple[Fired, ...] = ()
    noise_floor: float | None = None


@dataclass(frozen=True)
class CellResult:
    """One cell of a test; ``cell`` is ``{}`` where the test is no sweep."""

    cell: dict[str, Any]
    scores: dict[str, Estimate]
    findings: tuple[Finding, ...] = ()
    interventions: tuple[Fired, ...] = ()
    noise_floor: float | None = None
    #: the features that the cell writes through, how they were fitted, and what they are compared with
    learned: Learned | None = None
    #: what of the layer no variable claims, taken from other inputs; empty where that was not run
    unclaimed: tuple[Unclaimed, ...] = ()
    #: an ablation beside other values at its places; None where there is none
    replaced: OtherValues | None = None

    def to_json(self) -> dict[str, Any]:
        more: dict[str, Any] = {} if self.learned is None else {"learned": self.learned.to_json()}
        more |= {"unclaimed": [one.to_json() for one in self.unclaimed]} if self.unclaimed else {}
        more |= {} if self.replaced is None else {"replaced": self.replaced.to_json()}
        return {
            **more,
            "cell": number(self.cell),
            "scores": {name: estimate.to_json() for name, estimate in self.scores.items()},
            "findings": [finding.to_json() for finding in self.findings],
            "interventions": [fired.to_json() for fired in self.interventions],
            "noise_floor": number(self.noise_floor),
        }


@dataclass(frozen=True)
class Measured:
    """One comparison of an expectation: its measured side, in the cell where it holds least (None: over cells).

    ``digits`` are the decimals it is shown with: 0 for what names a cell.
    """

    text: str
    name: str
    estimate: Estimate
    bound: float | None
    held: bool | None
    cell: dict[str, Any] | None = None
    digits: int = 3

    def to_json(self) -> dict[str, Any]:
        return {
            "text": self.text,
            "name": self.name,
            **self.estimate.to_json(),
            "bound": number(self.bound),
            "held": self.held,
            "cell": number(self.cell),
        }


@dataclass(frozen=True)
class ExpectationResult:
    """``value`` is that of the comparison that decided, in the cell where it holds least; a dict for a chosen cell."""

    text: str
    line: int
    value: Any
    passed: bool
    measured: tuple[Measured, ...] = ()
    failed_cells: tuple[dict[str, Any], ...] = ()
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "text": self.text,
            "line": self.line,
            "value": number(self.value),
            "passed": self.passed,
            "measured": [measured.to_json() for measured in self.measured],
            "failed_cells": [number(cell) for cell in self.failed_cells],
            "reason": self.reason,
        }


@dataclass(frozen=True)
class ReportResult:
    """A reported number over all cells (those of a cell stand among its scores); ``cell`` for a chosen cell."""

    text: str
    line: int
    estimate: Estimate
    cell: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        return {"text": self.text, "line": self.line, **self.estimate.to_json(), "cell": number(self.cell)}


@dataclass(frozen=True)
class TestResult:
    """One test. ``n`` pairs were drawn, ``kept`` of them are scored; ``ceilings`` are those of the draws, and
    ``ceilings_kept`` those of the kept pairs (empty where there is no filter). ``asked`` (the names of
    the scores that the test itself speaks of) and ``units`` (of each score) are for the report."""

    __test__ = False  # not a pytest class

    name: str
    line: int
    n: int
    kept: int
    ceilings: Mapping[str, Ceiling]
    cells: tuple[CellResult, ...]
    expectations: tuple[ExpectationResult, ...] = ()
    reports: tuple[ReportResult, ...] = ()
    findings: tuple[Finding, ...] = ()
    seconds: float = 0.0
    ceilings_kept: Mapping[str, Ceiling] = field(default_factory=dict)
    exhaustive: bool = False
    parameters: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    diagnostics: tuple[Diagnostic, ...] = field(default=(), compare=False)

    @property
    def passed(self) -> bool:
        return all(expectation.passed for expectation in self.expectations)

    def cell(self, **parameters: Any) -> CellResult:
        """The cell with these parameters: ``test.cell(l=8)``. Raises KeyError where there is none, or several."""
        found = [cell for cell in self.cells if parameters.items() <= cell.cell.items()]
        if len(found) != 1:
            raise KeyError(f"{len(found)} cells of `{self.name}` have {parameters}")
        return found[0]

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "line": self.line,
            "n": self.n,
            "kept": self.kept,
            "exhaustive": self.exhaustive,
            "ceilings": {name: _ceiling(ceiling) for name, ceiling in self.ceilings.items()},
            "ceilings_kept": {name: _ceiling(ceiling) for name, ceiling in self.ceilings_kept.items()},
            "cells": [cell.to_json() for cell in self.cells],
            "expectations": [expectation.to_json() for expectation in self.expectations],
            "reports": [report.to_json() for report in self.reports],
            "findings": [finding.to_json() for finding in self.findings],
            "seconds": self.seconds,
        }


def _ceiling(ceiling: Ceiling) -> dict[str, Any]:
    return {"value": number(ceiling.value), "exact": ceiling.exact, "n": ceiling.n}


@dataclass(frozen=True)
class SpecResult:
    """All tests of one file, with what is needed to repeat them, and what ``check`` warned of."""

    path: str
    digest: str
    tests: tuple[TestResult, ...]
    versions: Mapping[str, str] = field(default_factory=dict)
    networks: Any = field(default_factory=dict)
    cost: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[Diagnostic, ...] = field(default=(), compare=False)

    @property
    def passed(self) -> bool:
        return all(test.passed for test in self.tests)

    def to_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "digest": self.digest,
            "versions": dict(self.versions),
            "networks": self.networks,
            "tests": [test.to_json() for test in self.tests],
            "cost": number(self.cost),
            "diagnostics": [diagnostic.to_json() for diagnostic in self.warnings],
        }


@dataclass(frozen=True)
class Results:
    """The results of one or more specs: ``results["test name"]``, or ``results["path", "test name"]``."""

    specs: tuple[SpecResult, ...]

    @property
    def tests(self) -> tuple[TestResult, ...]:
        return tuple(test for spec in self.specs for test in spec.tests)

    @property
    def passed(self) -> bool:
        return all(spec.passed for spec in self.specs)

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """The failed expectations (F7…)."""
        return tuple(diagnostic for test in self.tests for diagnostic in test.diagnostics)

    def __iter__(self) -> Iterator[TestResult]:
        return iter(self.tests)

    def __len__(self) -> int:
        return len(self.tests)

    def __getitem__(self, key: str | tuple[str, str]) -> TestResult:
        path, name = key if isinstance(key, tuple) else (None, key)
        found = [test for spec in self.specs if path in (None, spec.path) for test in spec.tests if test.name == name]
        if len(found) > 1:
            raise KeyError(f"{len(found)} specs have a test `{name}`: ask for results[path, name]")
        if not found:
            raise KeyError(
                f"no test `{name}`: " + did_you_mean(name, [test.name for test in self.tests], "there are no results")
            )
        return found[0]

    def to_json(self) -> dict[str, Any]:
        """What ``run --json`` prints."""
        return {"specs": [spec.to_json() for spec in self.specs]}

    def frame(self) -> pandas.DataFrame:
        """A table with a row for each spec x test x cell x score; the parameters of the sweeps are columns."""
        import pandas

        rows = []
        for spec in self.specs:
            for test in spec.tests:
                for cell in test.cells:
                    for score, estimate in cell.scores.items():
                        rows.append(
                            {"spec": spec.path, "test": test.name, **cell.cell, "score": score, **estimate.to_json()}
                        )
        columns = None if rows else ["spec", "test", "score", "value", "low", "high", "n", "method"]
        return pandas.DataFrame(rows, columns=columns)
