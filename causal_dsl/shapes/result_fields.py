"""Fields of cells, of measured and expected scores, and of tests."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

from causal_dsl.shapes.circuit_fields import AttributionJson, CircuitJson, GradientReadingJson, RandomCircuitsJson
from causal_dsl.shapes.control_fields import (
    BeyondJson,
    ReplacedJson,
    UnclaimedJson,
    WorstPairJson,
    WrittenApartJson,
    WrittenPartJson,
)
from causal_dsl.shapes.feature_fields import IntervalJson, InterventionJson, LearnedJson
from causal_dsl.shapes.numbers_of_fields import Count
from causal_dsl.shapes.score_fields import CeilingJson, EstimateJson, FindingJson, RiseJson, VerdictJson


class CellJson(TypedDict):
    """One cell of a test."""

    cell: dict[str, Any]
    "its parameters; empty where the test is not a sweep"
    scores: dict[str, EstimateJson]
    "by measure; units are in docs/measures.md"
    findings: list[FindingJson]
    "what its numbers say"
    interventions: list[InterventionJson]
    "its writes"
    noise_floor: float | None
    "largest change of a logit if the base is patched into itself, in logits; null if that was not run"
    verdict: NotRequired[VerdictJson]
    "where a variable is interchanged"
    together: NotRequired[IntervalJson]
    "interval of iia that holds for all cells of the sweep together"
    top: NotRequired[float | None]
    "the ceiling that its verdict uses"
    rise: NotRequired[RiseJson]
    "how much more it scores than the cell below"
    learned: NotRequired[LearnedJson]
    "where it writes through learned features"
    unclaimed: NotRequired[list[UnclaimedJson]]
    "units that no variable claims, if that control was run"
    apart: NotRequired[list[WrittenApartJson]]
    "the variables that it writes together, each written by itself, if that control was run"
    beyond: NotRequired[BeyondJson]
    "the interchange in pairs that do not pass the `where` of the test"
    parts: NotRequired[list[WrittenPartJson]]
    "the places of a variable that has several, each written alone and left out, if that control was run"
    replaced: NotRequired[ReplacedJson]
    "an ablation beside other values"
    circuit: NotRequired[CircuitJson]
    "the circuit that it intervenes on, where a score of it is asked for"
    worst: NotRequired[dict[str, list[WorstPairJson]]]
    "of ratios and changes, the three pairs in which they are worst, by score"


class MeasuredJson(EstimateJson):
    """The measured side of a comparison."""

    text: str
    "the comparison"
    name: str
    "what is measured"
    bound: float | None
    "the bound, in the unit of the measure"
    held: bool | None
    "whether it holds; null where the value is undefined"
    cell: dict[str, Any] | None
    "the cell where it holds least; null where it is over cells"


class ExpectationJson(TypedDict):
    """A line `expect`."""

    text: str
    "the line"
    line: Count
    "its number, from 1"
    value: Any
    "the value in the deciding comparison, in the cell where it holds least; the parameters of a chosen cell"
    passed: bool
    "whether it holds"
    measured: list[MeasuredJson]
    "each comparison"
    failed_cells: list[dict[str, Any]]
    "parameters of the cells where it does not hold"
    reason: str
    "why it failed; empty where it holds"


class ReportJson(EstimateJson):
    """A line `report` that is over all cells."""

    text: str
    "the line"
    line: Count
    "its number, from 1"
    cell: dict[str, Any] | None
    "parameters of a chosen cell"


class ExampleJson(TypedDict):
    """A pair with a wrong answer."""

    pair: Count
    "its number, from 0"
    wanted: str
    "the right answer"


class FailedPairJson(TypedDict):
    """A pair whose answer is wrong."""

    cell: dict[str, Any]
    "parameters of the cell in which it is wrong"
    pair: Count
    "its number, from 0"
    inputs: dict[str, str]
    "its inputs in words, by role"
    wanted: str
    "the right answer"
    said: str
    "what the network says"
    before: str
    "what it says in the unpatched run; empty where nothing is patched"


class OccupiedJson(TypedDict):
    """Where a variable is in one cell."""

    cell: dict[str, Any]
    "parameters of the cell"
    variable: str
    "the variable; empty where a site is written directly"
    place: str
    "the site and the position, as a spec has them"
    layer: Count | None
    "its layer, from 0; null where it is in none"
    tokens: list[int]
    "which tokens of the example prompt, from 0; empty in a vector network"
    written: bool
    "whether the test writes it"
    via: str
    "the feature through which it is written; empty for the whole vector"


class SettingJson(TypedDict):
    """The setting in which a test was run."""

    model: str
    "its causal model, a name under `models`"
    tokens: list[str]
    "the tokens of the base prompt of its first pair; empty in a vector network"
    read: Count | None
    "the token at which the answer is read, from 0; null in a vector network"
    layers: Count | None
    "layers of the network; null where they are not known"
    places: list[OccupiedJson]
    "where its variables are, cell by cell; at most 4000"


class ModelVariableJson(TypedDict):
    """A variable of a causal model."""

    name: str
    "its name"
    kind: Literal["input", "mechanism", "template"]
    "whether it is drawn, computed, or the choice of a prompt"
    output: bool
    "whether it is an output"
    domain: str
    "its values, in words"
    parents: list[str]
    "the variables that it is computed from, or that its set depends on"
    text: str
    "its statement, as the spec has it; empty where it has none"


class WrongJson(TypedDict):
    """A wrong answer of the network."""

    run: Literal["base", "patched"]
    "in which runs"
    said: str
    "the answer"
    count: Count
    "how many wrong runs have it"
    of: Count
    "how many wrong runs there are"
    examples: list[ExampleJson]
    "some of its pairs"


class TestJson(TypedDict):
    """One test."""

    name: str
    "its name"
    line: Count
    "where it begins, from 1"
    status: Literal["finished", "failed", "interrupted"]
    "`failed` where an expectation does not hold; `interrupted` where not all cells were measured"
    fault: NotRequired[str]
    "the code of the diagnostic that kept it from being run; its `status` is then `interrupted`"
    network: str
    "its name under `networks`"
    cell_count: Count
    "how many cells it has, measured or not; 0 where a fault that `check` finds keeps it from being run"
    n: Count
    "pairs that were drawn"
    kept: Count
    "of them those that are scored"
    exhaustive: bool
    "whether the draws are all inputs"
    covered: bool
    "whether every row that can be drawn occurs, so that scores are exact"
    distinct: dict[str, int]
    "distinct inputs of each role"
    ceilings: dict[str, CeilingJson]
    "what rules without the hypothesis score on the draws"
    ceilings_kept: dict[str, CeilingJson]
    "the same on the kept pairs; empty without a filter"
    cells: list[CellJson]
    "its cells, in order"
    expectations: list[ExpectationJson]
    "its lines `expect`; none are judged where it was interrupted"
    reports: list[ReportJson]
    "its lines `report` over all cells"
    findings: list[FindingJson]
    "what its numbers say over all cells"
    wrong_answers: list[WrongJson]
    "the network's wrong answers, the most common first"
    failures: list[FailedPairJson]
    "pairs whose answer is wrong, at most 100 of a cell and 300 in all: in a sweep those of the cell of the highest iia, and of the cells that decided a failed expectation"
    parameters: list[str]
    "the parameters of its cells"
    asked: list[str]
    "the scores that the test speaks of"
    units: dict[str, str]
    "the unit of each score"
    part: bool
    "whether the pairs are drawn from a part of the inputs"
    alike: NotRequired[bool]
    "true where all cells of a sweep write and read the same, so that their numbers are those of one"
    setting: NotRequired[SettingJson]
    "what it was run on; left out where nothing was run"
    seconds: float
    "wall-clock time, in seconds"
    gradients: NotRequired[list[GradientReadingJson]]
    "where it asks for gradients at places: the exact effects of the same places"
    attributions: NotRequired[list[AttributionJson]]
    "where it asks for attributions: what all terms of the stream add up to"
    random_circuits: NotRequired[dict[str, RandomCircuitsJson]]
    "where it asks for a score over a sweep of circuits: that of random circuits in the place of each"
    outputs: NotRequired[dict[str, TestJson]]
    "where it reads several outputs: the result of each by itself, by its name; all else is then of all of them together"
    verdict: NotRequired[VerdictJson]
    "of all cells, where a variable is interchanged"
    family: NotRequired[str]
    "the declaration that was written out to this test and others"
    variant: NotRequired[dict[str, int | float | str]]
    "the parameters in which it differs from them"


class SpreadJson(TypedDict):
    """A score over networks of a family that differ in one parameter; each network counts once."""

    score: str
    "its name"
    over: str
    "the parameter in which the networks differ"
    at: dict[str, Any]
    "the cell, and what else is swept over"
    networks: Count
    "how many networks have the score"
    mean: float | None
    "the mean over networks"
    sd: float | None
    "the sample standard deviation over networks; null for one"
    low: float | None
    "the smallest"
    high: float | None
    "the largest"
    lowest: dict[str, int | float | str]
    "the network that has the smallest"
    highest: dict[str, int | float | str]
    "the network that has the largest"


class JudgedJson(EstimateJson):
    """One measure of an alignment."""

    measure: str
    "the measure, with the variable that is interchanged or the circuit"
    test: str
    "the test that has it"
    asks: str
    "what it asks"


class AgreementJson(TypedDict):
    """The measures of one alignment in the tests of a spec, side by side."""

    model: str
    "the causal model"
    places: dict[str, str]
    "where its variables are"
    measures: list[JudgedJson]
    "the measures"
    partings: list[str]
    "where interchanges and scrubbing part, and what that means"


class FamilyJson(TypedDict):
    """The tests that one declaration with parameters was written out to."""

    name: str
    "the name of the declaration"
    tests: list[str]
    "the names of the tests"
    parameters: list[str]
    "what they differ in"
    over_networks: list[str]
    "those of the parameters that decide the network"
    spreads: list[SpreadJson]
    "scores over the networks; empty where there is one network"
