"""Two runs of specs, test by test and cell by cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.compare.differences import Difference, difference, output_of
from causal_dsl.compare.pairing import Match, matched
from causal_dsl.compare.recorded import RecordedRun
from causal_dsl.compare.run_changes import IdentityChange, run_changes, spec_changes
from causal_dsl.score.as_json import number
from causal_dsl.score.spec_results import SCHEMA
from causal_dsl.vocabulary.measures import given, leading

Setting = Mapping[str, Any]
#: Scores that every test has; others stand in a test because it asks for them.
_CORE = (*given("answer"), *given("interchange"))


@dataclass(frozen=True)
class Turn:
    """A judgement in both runs; None where that run has none."""

    a: str | None
    b: str | None

    @property
    def changed(self) -> bool:
        return self.a != self.b

    def to_json(self) -> dict[str, Any]:
        return {"a": self.a, "b": self.b, "changed": self.changed}


@dataclass(frozen=True)
class CellComparison:
    """A cell that both runs measured: its verdict, and both scores with their difference."""

    cell: Setting
    verdict: Turn
    scores: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any], Difference]]

    def to_json(self) -> dict[str, Any]:
        scores = {name: {"a": a, "b": b, "difference": d.to_json()} for name, (a, b, d) in self.scores.items()}
        return {"cell": number(self.cell), "verdict": self.verdict.to_json(), "scores": scores}


@dataclass(frozen=True)
class ExpectationTurn:
    """A line `expect` of both runs: whether it holds. ``line`` is where it stands in the second."""

    text: str
    line: int
    held: Turn

    def to_json(self) -> dict[str, Any]:
        return {"text": self.text, "line": self.line, **self.held.to_json()}


@dataclass(frozen=True)
class TestComparison:
    """A test that both runs have. ``only_a`` and ``only_b`` are cells that one of them measured; ``match`` says whether the pairs
    are the same."""

    __test__ = False  # not a pytest class

    name: str
    status: Turn
    verdict: Turn
    match: Match
    cells: tuple[CellComparison, ...]
    only_a: tuple[Setting, ...]
    only_b: tuple[Setting, ...]
    expectations: tuple[ExpectationTurn, ...]
    ceiling: Turn

    @property
    def changed(self) -> bool:
        """Whether a verdict, or what holds of the expectations, is another one. Of a test that was interrupted only its cells
        are judged."""
        turns = [cell.verdict for cell in self.cells]
        if not self.interrupted:
            turns += [self.status, self.verdict, *(one.held for one in self.expectations)]
        return any(turn.changed for turn in turns)

    @property
    def interrupted(self) -> bool:
        return "interrupted" in (self.status.a, self.status.b)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "status": self.status.to_json(),
            "verdict": self.verdict.to_json(),
            "pairs": self.match.to_json(),
            "ceiling": self.ceiling.to_json(),
            "cells": [cell.to_json() for cell in self.cells],
            "only_a": [number(cell) for cell in self.only_a],
            "only_b": [number(cell) for cell in self.only_b],
            "expectations": [one.to_json() for one in self.expectations],
        }


@dataclass(frozen=True, eq=False)
class SpecComparison:
    """Two runs of a spec. ``gone`` are tests that only the first has, ``new`` those that only the second has."""

    a: RecordedRun
    b: RecordedRun
    changes: tuple[IdentityChange, ...]
    spec_lines: tuple[str, ...]
    tests: tuple[TestComparison, ...]
    gone: tuple[str, ...]
    new: tuple[str, ...]

    @property
    def changed(self) -> bool:
        """Whether a verdict changed; one that the second run lacks has changed, too."""
        return bool(self.gone) or any(test.changed for test in self.tests)

    def to_json(self) -> dict[str, Any]:
        return {
            "a": _side(self.a),
            "b": _side(self.b),
            "changes": [change.to_json() for change in self.changes],
            "spec_lines": list(self.spec_lines),
            "tests": [test.to_json() for test in self.tests],
            "only_a": list(self.gone),
            "only_b": list(self.new),
            "verdict_changed": self.changed,
        }


@dataclass(frozen=True, eq=False)
class RunComparison:
    """All specs that two sets of results share. ``gone`` and ``new`` are the names of specs that one of them has."""

    specs: tuple[SpecComparison, ...]
    gone: tuple[str, ...] = ()
    new: tuple[str, ...] = ()

    @cached_property
    def changed(self) -> bool:
        return bool(self.gone) or any(spec.changed for spec in self.specs)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "specs": [spec.to_json() for spec in self.specs],
            "only_a": list(self.gone),
            "only_b": list(self.new),
            "verdict_changed": self.changed,
        }


def _side(run: RecordedRun) -> dict[str, Any]:
    return {
        "results": run.name,
        "path": str(run.document["path"]),
        "key": str(run.document["identity"].get("key", "")),
        "finished": str(run.document.get("finished", "")),
    }


def told_scores(names: Iterable[str], most: int = 4) -> list[str]:
    """Of the scores of a cell, those that are shown of a sweep: iia or accuracy, and what the test asks for."""
    known = list(names)
    core = leading(known, "answer")
    asked = [name for name in known if name not in _CORE and not name.endswith("_unfiltered")]
    return ([core] if core else []) + asked[: most - 1] or known[:1]


def compare_runs(a: Sequence[RecordedRun], b: Sequence[RecordedRun]) -> RunComparison:
    """Compare runs of the same specs: by the name of the spec's file, or the one with the one. Specs whose names only one side has
    are compared where they share tests with one spec of the other side, and it with no other of theirs."""
    if len(a) == len(b) == 1:
        return RunComparison((compare_specs(a[0], b[0]),))
    left, right = ({_key(run, runs): run for run in runs} for runs in (a, b))
    gone, new = ([run for name, run in x.items() if name not in y] for x, y in ((left, right), (right, left)))
    fitting = _fitting(gone, new)
    other = {id(one): another for one, another in fitting}
    met = {id(another) for another in other.values()}
    pairs = [(run, right[name] if name in right else other.get(id(run))) for name, run in left.items()]
    return RunComparison(
        tuple(compare_specs(one, another) for one, another in pairs if another is not None),
        tuple(run.spec for run in gone if id(run) not in other),
        tuple(run.spec for run in new if id(run) not in met),
    )


def sharing(a: Sequence[RecordedRun], b: Sequence[RecordedRun]) -> list[tuple[RecordedRun, RecordedRun]]:
    """All pairs of runs that have a test in common, those with the most first."""
    found = [(one, another) for one in a for another in b if one.tests.keys() & another.tests.keys()]
    return sorted(found, key=lambda both: -len(both[0].tests.keys() & both[1].tests.keys()))


def _fitting(a: Sequence[RecordedRun], b: Sequence[RecordedRun]) -> list[tuple[RecordedRun, RecordedRun]]:
    """The pairs of runs that have tests in common, neither of them with another run."""
    found = sharing(a, b)
    times = Counter(id(run) for both in found for run in both)
    return [both for both in found if all(times[id(run)] == 1 for run in both)]


def _key(run: RecordedRun, among: Sequence[RecordedRun]) -> str:
    """The name of a spec's file; its whole path where several have that name."""
    return run.spec if sum(one.spec == run.spec for one in among) == 1 else str(run.document["path"])


def compare_specs(a: RecordedRun, b: RecordedRun) -> SpecComparison:
    """Compare two runs of a spec, or of two specs whose tests have the same names."""
    own, other = a.tests, b.tests
    return SpecComparison(
        a,
        b,
        tuple(run_changes(a, b)),
        tuple(spec_changes(a, b)),
        tuple(_test(a, b, name) for name in own if name in other),
        tuple(name for name in own if name not in other),
        tuple(name for name in other if name not in own),
    )


def _test(a: RecordedRun, b: RecordedRun, name: str) -> TestComparison:
    own, other = a.tests[name], b.tests[name]
    cells = [{_cell_key(cell["cell"]): cell for cell in test["cells"]} for test in (own, other)]
    tops = {every: (_ceiling(own, every), _ceiling(other, every)) for every in (False, True)}
    found, match = [], Match(int(own.get("n", 0)), int(other.get("n", 0)), 0, "no cell was measured in both")
    for key in (key for key in cells[0] if key in cells[1]):
        made, match = _cell(a, b, name, cells[0][key], cells[1][key], tops, (own, other))
        found.append(made)
    held = [{one["text"]: one for one in test["expectations"]} for test in (own, other)]
    expectations = [
        ExpectationTurn(text, int(held[1][text].get("line", 0)), Turn(_held(held[0][text]), _held(held[1][text])))
        for text in held[0]
        if text in held[1]
    ]
    return TestComparison(
        name,
        Turn(own["status"], other["status"]),
        Turn(_verdict(own), _verdict(other)),
        match,
        tuple(found),
        tuple(cell["cell"] for key, cell in cells[0].items() if key not in cells[1]),
        tuple(cell["cell"] for key, cell in cells[1].items() if key not in cells[0]),
        tuple(expectations),
        Turn(_told_ceiling(own), _told_ceiling(other)),
    )


def _cell(
    a: RecordedRun,
    b: RecordedRun,
    test: str,
    own: Mapping[str, Any],
    other: Mapping[str, Any],
    tops: Mapping[bool, tuple[float | None, float | None]],
    tests: tuple[Mapping[str, Any], Mapping[str, Any]],
) -> tuple[CellComparison, Match]:
    """A cell of both runs, and how the pairs of the test meet; ``tests`` are those of both that it is a cell of. ``tops``:
    the ceilings of both, over the pairs that a filter keeps and over all (True)."""
    units, drawn = tests[0].get("units") or {}, (int(tests[0]["n"]), int(tests[1]["n"]))
    scores, found = {}, {}
    for score in (score for score in own["scores"] if score in other["scores"]):
        output = output_of(score)
        if output not in found:
            kept = ((run.pairs, one["cell"]) for run, one in ((a, own), (b, other)))
            first, second = (None if file is None else file.rows(test, cell, output) for file, cell in kept)
            found[output] = matched(first, second, drawn)
        match, first, second = found[output]
        both = None if first is None or second is None else (first, second)
        estimates = own["scores"][score], other["scores"][score]
        ceilings, unit = tops[score.endswith("_unfiltered")], units.get(score.removesuffix("_unfiltered"), "")
        scores[score] = *estimates, difference(score, *estimates, match, both, ceilings, unit)
    match = found[next(iter(found))][0] if found else Match(0, 0, 0, "the cells have no score in common")
    return CellComparison(own["cell"], Turn(_verdict(own), _verdict(other)), scores), match


def _cell_key(cell: Setting) -> tuple[tuple[str, str], ...]:
    """A cell by its parameters: 3 and 3.0 are one number."""
    shown = {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in cell.items()}
    return tuple(sorted(shown.items()))


def _verdict(one: Mapping[str, Any]) -> str | None:
    found = one.get("verdict")
    return None if found is None else str(found["code"])


def _held(expectation: Mapping[str, Any]) -> str:
    return "pass" if expectation["passed"] else "FAIL"


def _ceiling(test: Mapping[str, Any], every: bool) -> float | None:
    """The ceiling of output_only, where it is exact: over all pairs, or over those that a filter keeps."""
    kept = None if every else test.get("ceilings_kept")
    found = (kept or test.get("ceilings") or {}).get("output_only")
    return None if found is None or not found.get("exact") or found["value"] is None else float(found["value"])


def _told_ceiling(test: Mapping[str, Any]) -> str | None:
    """The ceiling of output_only, or the bounds between which it lies; None where there is none."""
    found = (test.get("ceilings_kept") or test.get("ceilings") or {}).get("output_only")
    if found is None or found["value"] is None:
        return None
    if found.get("exact") or found["low"] == found["high"]:
        return f"{found['value']:.6g}"
    return f"{found['low']:.6g} to {found['high']:.6g}"


__all__ = [
    "CellComparison",
    "RunComparison",
    "SpecComparison",
    "TestComparison",
    "Turn",
    "compare_runs",
    "sharing",
    "told_scores",
]
