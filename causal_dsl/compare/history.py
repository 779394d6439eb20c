"""Many runs of one spec in the order of time. Runs belong together if the text of the spec and of its imports is the same."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.compare.comparison import told_scores
from causal_dsl.compare.differences import SINGLE
from causal_dsl.compare.recorded import RecordedRun
from causal_dsl.compare.run_changes import IdentityChange, run_changes
from causal_dsl.report.figures.pictures import Picture, figure_name
from causal_dsl.report.report_lines import ceiling_of, is_share, unit_name, unit_of
from causal_dsl.score.as_json import number
from causal_dsl.score.estimates_and_findings import Estimate
from causal_dsl.score.format_numbers import show, show_cell, show_estimate
from causal_dsl.score.spec_results import SCHEMA


@dataclass(frozen=True)
class Point:
    """A score in one run: of the test's one cell, or of the cell of a sweep that has the highest."""

    run: int
    estimate: Estimate
    cell: Mapping[str, Any]
    #: what rules without the hypothesis can score in that run; None where the score is not measured against them
    ceiling: float | None = None


@dataclass(frozen=True)
class Curve:
    """A score of a test over the runs that have it; ``of`` is the number of cells that it is the highest of. ``unit``: what stands
    behind its numbers; ``unit_name``: the name of that unit (of a share, ``share``). ``share``: it is a share, whose axis is all of [0, 1]."""

    test: str
    score: str
    of: int
    points: tuple[Point, ...]
    unit: str = ""
    share: bool = False
    unit_name: str = ""

    @property
    def axis(self) -> tuple[float, float]:
        """The ends of its axis: 0 and 1 of a share, and what its values reach beyond; 0 and what they reach of another score."""
        values = [0.0, *(point.estimate.value or 0.0 for point in self.points)]
        return min(values), max([1.0, *values] if self.share else values)

    @property
    def named(self) -> str:
        """The score with its unit."""
        return f"{self.score} ({self.unit})" if self.unit else self.score


@dataclass(frozen=True, eq=False)
class SpecHistory:
    """The runs of one spec, the first one first; ``changes`` are those of each run against the one before it."""

    runs: tuple[RecordedRun, ...]
    changes: tuple[tuple[IdentityChange, ...], ...]

    @property
    def spec(self) -> str:
        return self.runs[-1].spec

    @property
    def tests(self) -> list[str]:
        return list(dict.fromkeys(name for run in self.runs for name in run.tests))

    def curves(self, test: str) -> Iterator[Curve]:
        """A curve for each score that the report of the test shows."""
        found = [run.tests.get(test) for run in self.runs]
        cells = [cell for one in found if one is not None for cell in one["cells"]]
        for score in told_scores(cells[0]["scores"]) if cells else ():
            points, of = [], 1
            for place, one in enumerate(found):
                here = [cell for cell in (one or {}).get("cells", ()) if _value(cell, score) is not None]
                if here:
                    best = max(here, key=lambda cell: _value(cell, score) or 0.0)
                    own = self.runs[place].of(test)
                    points.append(Point(place, _estimate(best["scores"][score]), best["cell"], ceiling_of(score, own)))
                    of = max(of, len(here))
            if points:
                last = self.runs[points[-1].run].of(test)
                units = unit_of(score, last), is_share(score, last), unit_name(score, last)
                yield Curve(test, score, of, tuple(points), *units)

    def verdicts(self, test: str) -> list[str | None]:
        """The verdict of each run on a test; None where a run gives none, or lacks the test."""
        found = [run.tests.get(test) for run in self.runs]
        return [None if one is None else (one.get("verdict") or {}).get("code") for one in found]

    def statuses(self, test: str) -> list[str | None]:
        """The status of a test in each run; None where the run lacks it."""
        found = [run.tests.get(test) for run in self.runs]
        return [None if one is None else str(one["status"]) for one in found]

    def expectations(self, test: str) -> list[str | None]:
        """Whether the expectations of a test hold in each run; None where it has none there."""
        told = {"finished": "hold", "failed": "fail", "interrupted": "not judged"}
        asked = [bool(run.tests[test]["expectations"]) if test in run.tests else False for run in self.runs]
        return [
            told[status] if has and status else None for has, status in zip(asked, self.statuses(test), strict=True)
        ]

    def pictures(self) -> dict[str, Picture]:
        """A figure for each curve, by the name of its file."""
        made: dict[str, Picture] = {}
        for test in self.tests:
            for curve in self.curves(test):
                name = figure_name(f"{test}-{curve.score}-history")
                made[name if name not in made else f"{name}-{len(made)}"] = _picture(name, curve)
        return made

    def to_json(self) -> dict[str, Any]:
        return {
            "spec": self.spec,
            "digest": self.runs[-1].digest,
            "runs": [
                {
                    "results": run.name,
                    "finished": str(run.document.get("finished", "")),
                    "key": str(run.document["identity"].get("key", "")),
                    "changes": [change.to_json() for change in changes],
                }
                for run, changes in zip(self.runs, self.changes, strict=True)
            ],
            "tests": [
                {
                    "name": test,
                    "verdicts": self.verdicts(test),
                    "statuses": self.statuses(test),
                    "curves": [
                        {
                            "score": curve.score,
                            "cells": curve.of,
                            "unit": curve.unit,
                            "points": [
                                {
                                    "run": point.run,
                                    "cell": number(point.cell),
                                    "ceiling": number(point.ceiling),
                                    **point.estimate.to_json(),
                                }
                                for point in curve.points
                            ],
                        }
                        for curve in self.curves(test)
                    ],
                }
                for test in self.tests
            ],
        }


def histories_of(runs: Sequence[RecordedRun]) -> list[SpecHistory]:
    """The runs by their spec, in the order of time, where all say when they ended, else in the order in which they are given."""
    groups: dict[str, list[RecordedRun]] = {}
    for run in {run.file.resolve(): run for run in runs}.values() if _alone(runs) else runs:
        groups.setdefault(run.digest, []).append(run)
    found = []
    for group in groups.values():
        if all(run.document.get("finished") for run in group):
            group.sort(key=lambda run: str(run.document["finished"]))
        changes = [(), *(tuple(run_changes(*pair)) for pair in itertools.pairwise(group))]
        found.append(SpecHistory(tuple(group), tuple(changes)))
    return found


def _alone(runs: Sequence[RecordedRun]) -> bool:
    """Whether each file holds one run: then a file that is named twice counts once."""
    return all(run.folder is not None for run in runs)


def history_document(histories: Sequence[SpecHistory]) -> dict[str, Any]:
    """The document that ``history --json`` prints."""
    return {"schema": SCHEMA, "series": [one.to_json() for one in histories]}


def _value(cell: Mapping[str, Any], score: str) -> float | None:
    found = cell["scores"].get(score)
    return None if found is None else found["value"]


def _estimate(one: Mapping[str, Any]) -> Estimate:
    return Estimate(
        one["value"], one["low"], one["high"], one.get("n", 0), one.get("method", "none"), one.get("about", "")
    )


def _picture(name: str, curve: Curve) -> Picture:
    rows = [
        {
            "x": point.run + 1,
            "y": str(point.run + 1),
            "value": point.estimate.value,
            "low": point.estimate.low,
            "high": point.estimate.high,
            "method": point.estimate.method,
            "n": point.estimate.n,
            "ceiling": point.ceiling,
            "told": _told(curve, point),
            "line": show_cell(point.cell),
        }
        for point in curve.points
    ]
    title = curve.test if curve.of == 1 else f"{curve.test}, highest of {curve.of} cells"
    tops = [point.ceiling for point in curve.points if point.ceiling is not None]
    return Picture(
        *(name, title, "curve", tuple(rows), "run", curve.named),
        ceiling=(min(tops), max(tops)) if tops else None,
        share=curve.share,
        columns={"x": "run", **({"line": "cell"} if any(point.cell for point in curve.points) else {})},
        score=curve.score,
        unit=curve.unit_name,
    )


def _told(curve: Curve, point: Point) -> str:
    unit = f" {curve.unit}" if curve.unit else ""
    where = f" at {show_cell(point.cell)}" if point.cell else ""
    top = "" if point.ceiling is None else f", ceiling {show(point.ceiling)}"
    return f"run {point.run + 1}: {show_estimate(point.estimate)}{unit}{where}{top}"


_BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(curve: Curve, runs: int, blocks: str = _BLOCKS) -> str:
    """A curve in one line, a character for each run, on its axis; a space where the run lacks the score."""
    low, high = curve.axis
    found = {point.run: point.estimate.value for point in curve.points}
    line = ""
    for run in range(runs):
        value = found.get(run)
        flat = high - low <= SINGLE  # what rounding leaves is no bar
        share = 0.0 if value is None or flat else (value - low) / (high - low)
        line += " " if value is None else blocks[min(len(blocks) - 1, int(share * len(blocks)))]
    return line


def axis_said(curve: Curve) -> str:
    """The ends of the axis of a curve."""
    return " to ".join(show(end) for end in curve.axis)


__all__ = ["Curve", "SpecHistory", "axis_said", "histories_of", "history_document", "sparkline"]
