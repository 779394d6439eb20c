"""The lines of a report on a test, whether it is printed, drawn, or a page: each sentence and each choice once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.measures.names import RATIOS_OF_MEANS
from causal_dsl.measures.units import UNITS
from causal_dsl.report.heatmap import marks
from causal_dsl.score.chance import show_ceilings, show_distinct
from causal_dsl.score.codes import LADDER, Severity, severity
from causal_dsl.score.estimates_and_findings import Estimate, Finding
from causal_dsl.score.format_numbers import counted, show, show_cell, show_estimate, show_interval, show_share
from causal_dsl.score.results import CellResult, ExpectationResult, TestResult
from causal_dsl.score.spec_results import Results
from causal_dsl.vocabulary.findings import FINDINGS
from causal_dsl.vocabulary.measures import leading

#: In which order findings are told: the verdicts first.
_ORDER = (*LADDER, *(code for _, code in sorted((kind.told, code) for code, kind in FINDINGS.items() if kind.told)))


def summary(results: Results) -> tuple[str, bool | None]:
    """How many expectations passed, in a line, and whether all did; None where there are none."""
    expectations = [e for test in results.tests for e in test.expectations]
    passed = sum(e.passed for e in expectations)
    tests = counted(len(results.tests), "test")
    unrun = sum(bool(test.fault) for test in results.tests)
    stopped = sum(test.status == "interrupted" for test in results.tests) - unrun
    if unrun:
        tests += f", {unrun} not run because of a fault"
    if stopped:
        tests += f", {stopped} interrupted and not judged"
    if not expectations:
        return f"{tests}, no expectation{' was judged' if unrun or stopped else 's'}", None
    if unrun or stopped:  # those of tests that were not finished are not among them
        return f"{tests}, {passed} of {len(expectations)} judged expectations passed", passed == len(expectations)
    return f"{tests}, {passed} of {len(expectations)} expectations passed", passed == len(expectations)


def facts(test: TestResult) -> str:
    """The pairs, the cells and the time of a test, in a line."""
    of = " in their part of the inputs" if test.part else ""
    whole = f", which are all there are{of}" if test.exhaustive else ""
    whole = f", which include all that can be drawn{of}" if test.covered else whole
    parts = [counted(test.n, "pair") + whole] if test.n else []
    if test.distinct:
        parts.append(show_distinct(test.distinct))
    if test.ceilings_kept or test.kept != test.n:
        parts.append(f"kept {show_share(test.kept, test.n)}")
    if test.status == "interrupted":
        count = f": {len(test.cells)} of {counted(test.cell_count, 'cell')} measured" if test.cell_count else ""
        parts.append(test.cut + count)
    elif len(test.cells) != 1:
        parts.append(f"{len(test.cells)} cells")
    if test.seconds >= 0.05:
        parts.append(f"{test.seconds:.1f} s")
    return "; ".join(parts)


def mapped(test: TestResult) -> list[str]:
    """The scores of a sweep that are shown: those that the test speaks of, else iia, else accuracy."""
    known = test.cells[0].scores
    asked = [name for name in test.asked if name in known]
    beside = {
        name.replace(f"{ratio}(", f"{ratio}{other}(", 1)
        for name in asked
        for ratio in RATIOS_OF_MEANS
        if name.startswith(f"{ratio}(")
        for other in ("_per_pair", "_median")
    }
    beside |= {f"median({name})" for name in asked if name.startswith("change(")}
    asked = [name for name in asked if name not in beside]
    first = leading(known)
    assert asked or first is not None
    return asked or [str(first)]


def worst_lines(cell: CellResult) -> Iterator[str]:
    """The pairs in which ratios and changes are worst, a line for each score."""
    for name, pairs in cell.worst.items():
        told = [f"{show(one.value)} in pair {one.pair}" + (f" ({_cut(one.base)})" if one.base else "") for one in pairs]
        yield f"worst of {name}: {', '.join(told)}"


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return f'"{text}"' if len(text) <= 40 else f'"…{text[-38:]}"'


def interval(estimate: Estimate) -> str:
    """An interval as tables show it; in words where there is none."""
    if estimate.low is None or estimate.high is None:
        return "exact" if estimate.method == "exact" else "none" if estimate.value is not None else ""
    return show_interval(estimate.low, estimate.high)


def is_share(score: str, test: TestResult) -> bool:
    """Whether a score is a share, with a scale of its own; iia_star is one too, from its ceiling at 0 to 1."""
    return test.units.get(score.removesuffix("_unfiltered")) == "share"


def unit_of(score: str, test: TestResult) -> str:
    """The unit behind a number of a score: ``nats``, ``logits``; empty for shares and what else has no dimension."""
    unit = UNITS.get(test.units.get(score.removesuffix("_unfiltered"), ""))
    return "" if unit is None else unit.shown


def unit_name(score: str, test: TestResult) -> str:
    """The name of the unit of a score, as the results have it: ``share``, ``nats``; empty where they have none."""
    return test.units.get(score.removesuffix("_unfiltered"), "")


def with_unit(score: str, test: TestResult) -> str:
    """A score with its unit, as an axis names it: ``kl (nats)``."""
    unit = unit_of(score, test)
    return f"{score} ({unit})" if unit else score


def fewer(score: str, cells: Sequence[CellResult], test: TestResult) -> str:
    """Where a score of a sweep rests on some of the pairs alone, such as those that another answer would show; empty where on all."""
    counts = {cell.scores[score].n for cell in cells if score in cell.scores}
    if not counts or min(counts) >= test.kept or score.endswith("_unfiltered"):
        return ""
    low, high = min(counts), max(counts)
    of = f"{low} of" if low == high else f"{low} to {high} of"
    return f"over {of} the {counted(test.kept)}" + ("" if low == high else ", cell by cell")


def ceiling_of(score: str, test: TestResult) -> float | None:
    """The ceiling that the verdicts of all cells go by, for scores that are measured against one; else that of output_only."""
    tops = {cell.top for cell in test.cells}
    if score == "iia" and len(tops) == 1 and None not in tops:
        return tops.pop()
    ceiling = (test.ceilings_kept or test.ceilings).get("output_only")
    if ceiling is None or score not in ("iia", "iia_star"):
        return None
    return 0.0 if score == "iia_star" else ceiling.value


def apart(cells: Sequence[CellResult]) -> list[tuple[str, list[CellResult]]]:
    """The cells of a sweep whose numbers compare, each group with the choices that it alone stands on: ablations that make other choices
    (Miller et al. 2024) are not put in one order."""
    groups: dict[str, list[CellResult]] = {}
    for cell in cells:
        groups.setdefault(cell.stands_on, []).append(cell)
    parts = {told: told.removesuffix(".").split("; ") for told in groups}
    shared = set.intersection(*map(set, parts.values())) if parts else set()
    return [
        ("; ".join(part for part in parts[told] if part not in shared) if len(groups) > 1 else "", own)
        for told, own in groups.items()
    ]


def extremes(score: str, cells: Sequence[CellResult]) -> str:
    """The highest score of a sweep, and how wide its intervals are."""
    known = [cell for cell in cells if cell.scores[score].value is not None]
    if not known:
        return "undefined in every cell"
    best = max(known, key=lambda cell: cell.scores[score].value or 0.0)
    parts = [f"highest: {show_estimate(best.scores[score])} at {show_cell(best.cell)}"]
    widths = [e.high - e.low for cell in known if (e := cell.scores[score]).low is not None and e.high is not None]
    if widths:
        parts.append(f"95% intervals up to {show(max(widths))} wide")
    return "; ".join(parts)


def marks_said(score: str, cells: Sequence[CellResult], ceiling: float | None) -> str:
    """The meaning of the marks of the cells; where no cell has one, the meaning of that."""
    marked = any(marks(cell, score, ceiling).strip() for cell in cells if score in cell.scores)
    if score == "iia" and any(cell.rise is not None for cell in cells):
        below = any(cell.rise is not None and cell.rise.below is not None for cell in cells)
        than = "the cell below it" if below else "the unpatched runs"
        first = " (the lowest: than the unpatched runs)" if below else ""
        more, less = ("^ scores more", "v less") if marked else ("no cell clearly scores more", "or less")
        return f"{more} than {than}{first} over the same pairs, {less}; intervals hold for all cells together"
    if ceiling is None:
        return ""
    jointly = ", for all cells together" if any(cell.together is not None for cell in cells) else ""
    if not marked:
        return f"no interval lies above or below the ceiling {show(ceiling)}{jointly}"
    return f"+ interval above the ceiling {show(ceiling)}, - below it{jointly}"


def measured(expectation: ExpectationResult) -> str:
    """The measured value of an expectation, or why it failed."""
    if expectation.reason:
        return expectation.reason
    if not expectation.measured:
        return ""
    several = len(expectation.measured) > 1
    parts = []
    for one in expectation.measured:
        where = f" at {show_cell(one.cell)}" if one.cell else ""
        if one.estimate.value is None and one.cell:
            parts.append(f"{one.name}: {show_cell(one.cell)}")
            continue
        number = show_estimate(one.estimate, one.bound, one.digits)
        parts.append((f"{one.name} " if several else "") + number + where)
    return "; ".join(parts)


def alike_said(test: TestResult) -> str:
    """Why one cell is shown for all of a sweep; empty where all are shown."""
    if not test.alike:
        return ""
    names = " and ".join(f"`{name}`" for name in test.parameters)
    change = "changes" if len(test.parameters) == 1 else "change"
    return f"the same in all {len(test.cells)} cells: {names} {change} nothing that the test writes or reads"


def controlled(test: TestResult) -> TestResult:
    """The test with the cells whose controls are told: of cells that are alike, those that differ in their controls."""
    if not test.alike:
        return test
    kept: list[CellResult] = []
    for cell in test.cells:
        told = (cell.unclaimed, cell.apart, cell.beyond, cell.parts, cell.replaced, cell.learned, cell.circuit)
        if all(
            told != (one.unclaimed, one.apart, one.beyond, one.parts, one.replaced, one.learned, one.circuit)
            for one in kept
        ):
            kept.append(cell)
    return replace(test, cells=tuple(kept))


def chance(test: TestResult) -> Iterator[str]:
    """The chance levels of a test, a line for each output and filter."""
    for name, one in (("", test), *test.outputs.items()):
        of = f", `{name}`" if name else ", all outputs together" if test.outputs else ""
        of = f", r2{of}" if "constant" in one.ceilings else of
        for title, ceilings in (("chance", one.ceilings), ("on the kept pairs", one.ceilings_kept)):
            if ceilings:
                yield f"{title}{of}: {show_ceilings(ceilings)}"


def of_output(test: TestResult, score: str) -> tuple[TestResult, str]:
    """Whose score it is, and what it is called there: the iia of one output is that of its own result."""
    of = next((name for name in test.outputs if score.endswith(f"({name})")), "")
    own = score.removesuffix(f"({of})")
    alone = bool(of) and own == "iia"
    return (test.outputs[of], own) if alone else (test, score)


def varying(test: TestResult, cells: Sequence[CellResult]) -> list[str]:
    """The parameters in which cells differ."""
    return [name for name in test.parameters if len({cell.cell[name] for cell in cells}) > 1]


@dataclass(frozen=True)
class ToldFinding:
    """A verdict or a finding, as it is told; ``level`` is its severity where that is not the one of its code."""

    code: str
    text: str
    level: Severity | None = None

    @property
    def severity(self) -> Severity:
        return self.level or severity(self.code)


def findings(test: TestResult) -> list[ToldFinding]:
    """The verdicts and findings of a test, in the order in which they are told; those of a sweep's cells are counted."""
    found: list[ToldFinding] = []
    if len(test.cells) == 1:
        found += map(_line, test.cells[0].findings)
    elif test.cells:
        found += tallied(test)
    found += map(_line, test.findings)
    if test.verdict is not None and len(test.cells) > 1:
        found.insert(0, ToldFinding("verdict", test.verdict.text, "info"))
    for name, one in reversed(list(test.outputs.items())):
        if one.verdict is not None:
            found.insert(1, ToldFinding(f"{name}: {one.verdict.code}", one.verdict.text, severity(one.verdict.code)))
    return found


def _line(finding: Finding) -> ToldFinding:
    return ToldFinding(finding.code, finding.text, finding.severity)


def tallied(test: TestResult) -> Iterator[ToldFinding]:
    """The findings of the cells of a sweep, counted by their code."""
    found = [(finding, cell) for cell in test.cells for finding in cell.findings]
    order = {code: i for i, code in enumerate(_ORDER)}
    found.sort(key=lambda pair: (order.get(pair[0].code, len(order)), pair[0].code))
    for code, group in itertools.groupby(found, key=lambda pair: pair[0].code):
        pairs = list(group)
        cells = list({id(cell): cell for _, cell in pairs}.values())  # a cell may have several of one code
        named = "; ".join(show_cell(cell.cell) for cell in cells[:4])
        words = f"{len(cells)} of {len(test.cells)} cells" + (f": {named}" if len(cells) <= 4 else "")
        yield ToldFinding(code, words)


__all__ = [
    "ToldFinding",
    "alike_said",
    "apart",
    "ceiling_of",
    "chance",
    "controlled",
    "extremes",
    "facts",
    "fewer",
    "findings",
    "interval",
    "is_share",
    "mapped",
    "marks_said",
    "measured",
    "of_output",
    "summary",
    "tallied",
    "unit_name",
    "unit_of",
    "varying",
    "with_unit",
]
