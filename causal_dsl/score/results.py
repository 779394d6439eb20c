"""The results of a run in each cell of a test, and in the test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any, Literal

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostic
from causal_dsl.messages.displayed import NamedScores, Shown, not_there
from causal_dsl.score.as_json import number
from causal_dsl.score.codes import LADDER
from causal_dsl.score.estimates_and_findings import Estimate, Finding, Rise, Verdict
from causal_dsl.vocabulary.plugins import made

if TYPE_CHECKING:
    import numpy as np

    from causal_dsl import shapes
    from causal_dsl.causal.ceilings import Ceiling
    from causal_dsl.score.apart import WrittenApart
    from causal_dsl.score.circuit_results import CircuitResult, RandomCircuits
    from causal_dsl.score.controls import Learned
    from causal_dsl.score.parts import WrittenPart
    from causal_dsl.score.replacements import OtherValues
    from causal_dsl.score.results_beside import AttributionCheck, BeyondWhere, GradientCheck
    from causal_dsl.score.setting import FailedPair, RunSetting
    from causal_dsl.score.unmapped import Unclaimed


Status = Literal["finished", "failed", "interrupted"]


@dataclass(frozen=True)
class Fired:
    """One intervention of a cell: at how many places it fired, the mean of |new - old| / |old| over them, and at how
    many it was left out because nothing there can reach the read-out."""

    text: str
    rows: int
    change: float | None = None
    unreachable: int = 0

    def to_json(self) -> shapes.InterventionJson:
        return {
            "text": self.text,
            "rows": self.rows,
            "change": number(self.change),
            "unreachable": self.unreachable,
        }


@dataclass(frozen=True)
class CellInfo:
    """The information on a cell beside its columns: ``noise_floor`` is the largest change of a logit when the base is
    patched into itself; ``off_manifold`` how many of the vectors that come from no run (zero, noise, a given vector, a mean) have a
    number that their site does not come near, of how many that were looked at. ``averages``: whether all of these are means over runs."""

    interventions: tuple[Fired, ...] = ()
    noise_floor: float | None = None
    off_manifold: tuple[int, int] = (0, 0)
    averages: bool = False


@dataclass(frozen=True)
class WorstPair:
    """A pair in which a score is among the worst: its number, its ratio or change, and what its base says."""

    pair: int
    value: float
    base: str = ""

    def to_json(self) -> shapes.WorstPairJson:
        return {"pair": self.pair, "value": number(self.value), "base": self.base}


@dataclass(frozen=True, repr=False)
class CellResult(Shown):
    """One cell of a test; ``cell`` is ``{}`` where the test is not a sweep."""

    cell: dict[str, Any]
    scores: dict[str, Estimate]
    findings: tuple[Finding, ...] = ()
    interventions: tuple[Fired, ...] = ()
    noise_floor: float | None = None
    verdict: Verdict | None = None
    #: the interval of iia that holds for all cells of the sweep together
    together: tuple[float, float] | None = None
    #: the ceiling that its verdict uses
    top: float | None = None
    rise: Rise | None = None
    #: whether its verdict is a finding of the test, and so none of the cell
    told_once: bool = False
    #: the features that the cell writes through, how they were fitted, and what they are compared with
    learned: Learned | None = None
    #: what of the layer no variable claims, taken from other inputs; empty where that was not run
    unclaimed: tuple[Unclaimed, ...] = ()
    #: the variables that it writes together, written apart; empty where that was not run
    apart: tuple[WrittenApart, ...] = ()
    #: its interchange in pairs that do not pass the `where` of the test; None where that was not run
    beyond: BeyondWhere | None = None
    #: the places of a variable that has several, each written alone and left out; empty where that was not run
    parts: tuple[WrittenPart, ...] = ()
    #: an ablation beside other values at its places; None where there is none
    replaced: OtherValues | None = None
    #: the circuit that it intervenes on, and what ran beside it; None where that was not run
    circuit: CircuitResult | None = None
    #: of ratios and changes, the pairs in which they are worst, by score
    worst: Mapping[str, tuple[WorstPair, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.scores, NamedScores):
            object.__setattr__(self, "scores", NamedScores(self.scores))

    @property
    def stands_on(self) -> str:
        """The choices of its ablation of a circuit, of edges or of a path, in words; empty where it has none. Numbers that stand on other
        choices do not compare."""
        told = [one.text for one in self.findings if one.code == "choices"]
        return " ".join(told if self.circuit is None else [str(self.circuit.choices), *told])

    def _asked_as(self, name: str) -> str:
        if name in vars(self).get("scores", ()):
            return f'.scores["{name}"]'
        return f'.cell["{name}"]' if name in vars(self).get("cell", ()) else ""

    def to_json(self) -> dict[str, Any]:
        more: dict[str, Any] = {} if self.learned is None else {"learned": self.learned.to_json()}
        if self.verdict is not None:
            more["verdict"] = self.verdict.to_json()
        if self.together is not None:
            more["together"] = {"low": number(self.together[0]), "high": number(self.together[1])}
        if self.top is not None:
            more["top"] = number(self.top)
        if self.rise is not None:
            more["rise"] = self.rise.to_json()
        more |= {"unclaimed": [one.to_json() for one in self.unclaimed]} if self.unclaimed else {}
        more |= {"apart": [one.to_json() for one in self.apart]} if self.apart else {}
        more |= {} if self.beyond is None else {"beyond": self.beyond.to_json()}
        more |= {"parts": [one.to_json() for one in self.parts]} if self.parts else {}
        more |= {} if self.replaced is None else {"replaced": self.replaced.to_json()}
        more |= {} if self.circuit is None else {"circuit": self.circuit.to_json()}
        more |= {"worst": {n: [pair.to_json() for pair in own] for n, own in self.worst.items()}} if self.worst else {}
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

    def to_json(self) -> shapes.MeasuredJson:
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

    def to_json(self) -> shapes.ExpectationJson:
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

    def to_json(self) -> shapes.ReportJson:
        return {"text": self.text, "line": self.line, **self.estimate.to_json(), "cell": number(self.cell)}


@dataclass(frozen=True)
class Wrong:
    """The answer of the network in ``count`` of ``of`` wrong runs, with some pairs as examples: their numbers, and what should
    have been said."""

    run: Literal["base", "patched"]
    said: str
    count: int
    of: int
    examples: tuple[tuple[int, str], ...] = ()

    def to_json(self) -> shapes.WrongJson:
        examples: list[shapes.ExampleJson] = [{"pair": pair, "wanted": wanted} for pair, wanted in self.examples]
        return {"run": self.run, "said": self.said, "count": self.count, "of": self.of, "examples": examples}


@dataclass(frozen=True, repr=False)
class TestResult(Shown):
    """One test. ``n`` pairs were drawn, ``kept`` of them are scored; ``ceilings`` are those of the draws, and
    ``ceilings_kept`` those of the kept pairs (empty where there is no filter). ``distinct`` counts the distinct inputs
    of each role among the drawn pairs. ``asked`` (the names of
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
    distinct: Mapping[str, int] = field(default_factory=dict)
    parameters: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    #: what the network said where it was wrong, in a sweep in the cell of the highest iia: the commonest first
    wrong: tuple[Wrong, ...] = ()
    #: whether every row that can be drawn occurs, so that scores are exact under the weights of the design
    covered: bool = False
    #: of the kept pairs, where it is covered: what each counts [kept]; equal rows count once
    weights: np.ndarray | None = field(default=None, compare=False, repr=False)
    #: whether the rows are drawn from a part of the inputs
    part: bool = False
    diagnostics: tuple[Diagnostic, ...] = field(default=(), compare=False)
    #: the network that it ran on, by its name in the results; and how many cells it has, measured or not (None: those here)
    network: str = ""
    cell_count: int | None = None
    #: of a test that a fault kept from being run: the code of its diagnostic
    fault: str = ""
    #: of a member of a family: what the family is called, and the parameters that make it this member
    family: str = ""
    variant: tuple[tuple[str, int | float | str], ...] = ()
    #: where it reads several outputs: the result of each by itself. The scores above are then of all of them together
    outputs: Mapping[str, TestResult] = field(default_factory=dict)
    #: what the terms of the logits add up to whose attribution it asks for
    attributions: tuple[AttributionCheck, ...] = ()
    gradients: tuple[GradientCheck, ...] = ()
    #: scores over a sweep of circuits, of random circuits in the place of each
    random: Mapping[str, RandomCircuits] = field(default_factory=dict)
    #: who its network is: equal for one network under two names
    who: str = field(default="", compare=False)
    #: whether all cells of a sweep write and read the same, so that their numbers are those of one
    alike: bool = field(default=False, compare=False)
    #: pairs that fail: in a sweep those of the cell of the highest iia, and of the cells that decided a failed expectation
    failures: tuple[FailedPair, ...] = ()
    #: what it was run on; None where nothing was run
    setting: RunSetting | None = None

    @property
    def status(self) -> Status:
        """``interrupted``: some of its cells were not measured (``fault`` has the reason if it was not Ctrl-C), and
        nothing is judged. ``failed``: an expectation does not
        hold. ``finished``: all else."""
        if self.fault or (self.cell_count is not None and len(self.cells) < self.cell_count):
            return "interrupted"
        return "finished" if all(expectation.passed for expectation in self.expectations) else "failed"

    @property
    def cut(self) -> str:
        """Why not all of its cells were measured; "" where they were."""
        if self.status != "interrupted":
            return ""
        return f"not run ({self.fault})" if self.fault else "interrupted"

    @property
    def passed(self) -> bool:
        return self.status == "finished"

    @property
    def shown_cells(self) -> tuple[CellResult, ...]:
        """The cells that tables and figures show: of those that are all alike the first."""
        return self.cells[:1] if self.alike else self.cells

    @property
    def verdict(self) -> Verdict | None:
        """That of its one cell, or of all cells together; None where no variable is interchanged."""
        return of_test(self.cells, whole=self.cell_count is None or len(self.cells) == self.cell_count)

    def _swept(self) -> list[str]:
        return list(dict.fromkeys(name for cell in self.cells for name in cell.cell))

    def cell(self, **parameters: Any) -> CellResult:
        """The cell with these parameters: ``test.cell(l=8)``. Raises KeyError where there is none, or several."""
        found = [cell for cell in self.cells if parameters.items() <= cell.cell.items()]
        if len(found) != 1:
            asked = ", ".join(f"{name}={value!r}" for name, value in parameters.items())
            swept = {
                name: list(dict.fromkeys(cell.cell[name] for cell in self.cells if name in cell.cell))
                for name in self._swept()
            }
            known = "; ".join(f"{name} is one of {values}" for name, values in swept.items())
            known = known or ("it has one cell: `.cell()`" if self.cells else "no cell of it was measured")
            has = f"has {'no cell' if not found else f'{len(found)} cells'}" + (f" with {asked}" if asked else "")
            example = self.cells[0].cell if len(found) != 1 and self.cells else {}
            written = ", ".join(f"{name}={value!r}" for name, value in example.items())
            raise not_there(
                f"`{self.name}` {has}", known, f"write which one, such as `.cell({written})`" if written else ""
            )
        return found[0]

    def plot(self, score: str | None = None) -> Any:
        """The results as an Altair chart (`pip install 'causal-dsl[report]'`): the picture that the shape of the sweep asks for, of
        one ``score``, or of those that the test speaks of. Raises SpecError where nothing can be drawn, KeyError for a score that
        the test does not have."""
        try:
            return made("causal_dsl.report.figures.charts:plot")(self, score)
        except KeyError as error:
            raise not_there(str(error.args[0])) from None

    def _asked_as(self, name: str) -> str:
        first = next(iter(vars(self).get("cells", ())), None)
        if first is None or name not in first.scores:
            return ""
        which = ", ".join(f"{key}={value!r}" for key, value in first.cell.items())
        return f'.cell({which}).scores["{name}"]'

    def to_json(self) -> dict[str, Any]:
        verdict = self.verdict
        return {
            **({} if verdict is None else {"verdict": verdict.to_json()}),
            "name": self.name,
            "line": self.line,
            "status": self.status,
            **({"fault": self.fault} if self.fault else {}),
            "network": self.network,
            **({"family": self.family, "variant": dict(self.variant)} if self.family else {}),
            "cell_count": len(self.cells) if self.cell_count is None else self.cell_count,
            "n": self.n,
            "kept": self.kept,
            "exhaustive": self.exhaustive,
            "covered": self.covered,
            "distinct": dict(self.distinct),
            "ceilings": {name: ceiling.to_json() for name, ceiling in self.ceilings.items()},
            "ceilings_kept": {name: ceiling.to_json() for name, ceiling in self.ceilings_kept.items()},
            "cells": [cell.to_json() for cell in self.cells],
            "expectations": [expectation.to_json() for expectation in self.expectations],
            "reports": [report.to_json() for report in self.reports],
            "findings": [finding.to_json() for finding in self.findings],
            "wrong_answers": [wrong.to_json() for wrong in self.wrong],
            "failures": [failed.to_json() for failed in self.failures],
            "parameters": list(self.parameters),
            "asked": list(self.asked),
            "units": dict(self.units),
            "part": self.part,
            **({"alike": True} if self.alike else {}),
            **({} if self.setting is None else {"setting": self.setting.to_json()}),
            "seconds": self.seconds,
            **({"gradients": [check.to_json() for check in self.gradients]} if self.gradients else {}),
            **({"attributions": [check.to_json() for check in self.attributions]} if self.attributions else {}),
            **({"random_circuits": {name: one.to_json() for name, one in self.random.items()}} if self.random else {}),
            **({"outputs": {name: one.to_json() for name, one in self.outputs.items()}} if self.outputs else {}),
        }


def of_test(cells: Sequence[CellResult], whole: bool = True) -> Verdict | None:
    """The verdict of all cells together: that of the one cell, or the one that all have; else how many have which. ``whole``: these
    are all that there are."""
    found = [cell.verdict for cell in cells]
    if not found or any(one is None for one in found):
        return None
    if len(found) == 1:
        return found[0]
    counts = Counter(one.code for one in found if one is not None)
    of = f"{len(found)} {'cells' if whole else 'measured cells'}"
    told = ", ".join(f"{code} in {counts[code]}" for code in LADDER if counts[code])
    if len(counts) == 1:
        code = next(iter(counts))
        return Verdict(code, f"All {of}: {code}.")
    return Verdict("mixed", f"Of {of}, {told}.")
