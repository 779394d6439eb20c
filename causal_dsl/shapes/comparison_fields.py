"""The documents of `diff --json` and `history --json`."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from causal_dsl.shapes.numbers_of_fields import Count
from causal_dsl.shapes.score_fields import EstimateJson


class DifferenceJson(TypedDict):
    """The score of the second run less that of the first, in the unit of the score."""

    value: float | None
    "the difference; null if one of the scores is undefined"
    low: float | None
    "lower end of its 95% interval; null if there is none"
    high: float | None
    "upper end of its 95% interval; null if there is none"
    method: Literal["paired score", "paired bootstrap", "unpaired", "exact", "none"]
    "how the interval was made"
    paired: bool
    "whether it is over the same pairs, matched by their inputs"
    why: str
    "why it is not paired, or undefined; empty where it is paired or exact"


class BothScoresJson(TypedDict):
    """A score in both runs."""

    a: EstimateJson
    "in the first"
    b: EstimateJson
    "in the second"
    difference: DifferenceJson
    "how far they are apart"


class TurnJson(TypedDict):
    """A judgement in both runs."""

    a: str | None
    "in the first; null if it has none"
    b: str | None
    "in the second; null if it has none"
    changed: bool
    "whether they are not the same"


class ExpectationTurnJson(TurnJson):
    """Whether a line `expect` holds in both runs: `pass` or `FAIL`."""

    text: str
    "the line"
    line: Count
    "its number in the second run, from 1"


class CellComparisonJson(TypedDict):
    """A cell that both runs measured."""

    cell: dict[str, Any]
    "its parameters; empty where the test is not a sweep"
    verdict: TurnJson
    "the verdict of the cell"
    scores: dict[str, BothScoresJson]
    "the scores that both have"


class PairsMatchJson(TypedDict):
    """Whether both runs of a test are over the same pairs, by their inputs."""

    a: Count
    "pairs of the first run; 0 where they were not kept"
    b: Count
    "pairs of the second run; 0 where they were not kept"
    shared: Count
    "how many they share"
    same: bool
    "whether they share all"
    why: str
    "why they do not; empty where they do"


class TestComparisonJson(TypedDict):
    """A test that both runs have."""

    name: str
    "its name"
    status: TurnJson
    "finished, failed or interrupted"
    verdict: TurnJson
    "the verdict of all cells"
    pairs: PairsMatchJson
    "whether the pairs are the same"
    ceiling: TurnJson
    "the ceiling `output_only`, or the bounds between which it lies; null where there is none"
    cells: list[CellComparisonJson]
    "the cells that both measured"
    only_a: list[dict[str, Any]]
    "cells that only the first measured"
    only_b: list[dict[str, Any]]
    "cells that only the second measured"
    expectations: list[ExpectationTurnJson]
    "the lines `expect` that both have"


class ChangeJson(TypedDict):
    """One difference of what identifies two runs."""

    kind: str
    "spec, settings, networks, files, features, circuits, behaviour, versions, machine, command or tests"
    text: str
    "the difference, in words"


class SideJson(TypedDict):
    """One of the two runs."""

    results: str
    "where its results are"
    path: str
    "the spec's file"
    key: str
    "the key of its identity"
    finished: str
    "when it ended; empty where that was not recorded"


class SpecComparisonJson(TypedDict):
    """Two runs of a spec."""

    a: SideJson
    "the first"
    b: SideJson
    "the second"
    changes: list[ChangeJson]
    "where what identifies them differs"
    spec_lines: list[str]
    "a unified diff of the two specs; empty where they are the same or were not kept"
    tests: list[TestComparisonJson]
    "the tests that both have"
    only_a: list[str]
    "the names of tests that only the first has"
    only_b: list[str]
    "the names of tests that only the second has"
    verdict_changed: bool
    "whether a verdict or an expectation changed, or a test of the first is not in the second"


class DiffJson(TypedDict):
    """The document of `diff --json`."""

    schema: Count
    "as in the results"
    specs: list[SpecComparisonJson]
    "the specs that both have"
    only_a: list[str]
    "names of specs that only the first has"
    only_b: list[str]
    "names of specs that only the second has"
    verdict_changed: bool
    "whether a verdict or an expectation changed, or a test of the first is not in the second: the exit code is 1 then"


class HistoryRunJson(TypedDict):
    """A run of a history."""

    results: str
    "where its results are"
    finished: str
    "when it ended; empty where that was not recorded"
    key: str
    "the key of its identity"
    changes: list[ChangeJson]
    "where what identifies it differs from the run before"


class PointJson(EstimateJson):
    """A score in one run."""

    run: Count
    "the number of the run, from 0"
    cell: dict[str, Any]
    "the cell; of a sweep, the one that scores highest"
    ceiling: float | None
    "what rules without the hypothesis score in that run; null where the score is not measured against them"


class CurveJson(TypedDict):
    """A score over the runs that have it."""

    score: str
    "its name"
    cells: Count
    "how many cells it is the highest of"
    unit: str
    "what stands behind its numbers, such as nats; empty for shares and what else has no dimension"
    points: list[PointJson]
    "one for each run"


class HistoryTestJson(TypedDict):
    """A test over the runs."""

    name: str
    "its name"
    verdicts: list[str | None]
    "the verdict of each run; null where a run gives none, or lacks the test"
    statuses: list[Literal["finished", "failed", "interrupted"] | None]
    "its status in each run; null where the run lacks it"
    curves: list[CurveJson]
    "the scores that its report shows"


class SeriesJson(TypedDict):
    """The runs of one spec, in the order of time."""

    spec: str
    "the name of its file"
    digest: str
    "SHA-256 of the spec and its imports, which is the same in all of them"
    runs: list[HistoryRunJson]
    "the runs"
    tests: list[HistoryTestJson]
    "the tests"


class HistoryJson(TypedDict):
    """The document of `history --json`."""

    schema: Count
    "as in the results"
    series: list[SeriesJson]
    "one for each text of a spec"
