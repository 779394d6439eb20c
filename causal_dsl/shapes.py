"""The documents of `run --json`, `check --json` and `plan --json`: each field with its type, its unit and what it says.

``docs/generate.py`` makes ``docs/output.schema.json`` from these classes; the `to_json` methods make the documents, and the
tests hold what they make against the schema, which allows no other field.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

#: A share or a probability: between these ends.
Share = Annotated[float, (0.0, 1.0)]
#: How many there are of something.
Count = Annotated[int, (0, 2**63)]


class DiagnosticJson(TypedDict):
    """A fault (its code begins with E) or a warning (W), and where it is."""

    code: str
    "its code, as `causal-dsl explain` takes it"
    title: str
    "the error, in one sentence"
    path: str
    "the file"
    line: Count
    "line of its first character, from 1; 0 where the file cannot be read"
    column: Count
    "column of its first character, from 1, in characters"
    end_line: Count
    "line of the end"
    end_column: Count
    "column after its last character"
    notes: list[str]
    "why, one sentence each"
    help: str | None
    "what to write instead; null or empty if there is no advice"


class EstimateJson(TypedDict):
    """A score with its 95% interval. Shares and rates lie in [0, 1]; other scores have the unit of their measure."""

    value: float | None
    "the score; null if undefined"
    low: float | None
    "lower end of the interval; null if there is none"
    high: float | None
    "upper end of the interval; null if there is none"
    n: Count
    "the number of pairs"
    method: Literal["exact", "bootstrap", "binomial", "clustered", "rule of three", "draws", "none"]
    "how the interval was made"
    about: Literal["", "draws", "inputs"]
    "what the interval is about: more draws of the same inputs, or inputs that were not drawn; empty where there is none"


class CeilingJson(TypedDict):
    """The score of a rule that does without the hypothesis, a share in [0, 1]."""

    value: Share | None
    "the score; null if undefined"
    exact: bool
    "whether it covers all combinations of inputs"
    n: Count
    "the number of combinations, or of drawn rows"
    low: Share | None
    "lower bound; `value` where exact"
    high: Share | None
    "upper bound; `value` where exact"


class FindingJson(TypedDict):
    """One sentence that can be quoted."""

    code: str
    "its kind; docs/measures.md lists the codes"
    text: str
    "the sentence"
    severity: Literal["alarm", "info"]
    "`alarm` where a number may mislead"


class VerdictJson(TypedDict):
    """What the scores say of the hypothesis."""

    code: str
    "a step of the ladder in docs/measures.md, or `mixed`"
    text: str
    "the sentence that says why"


class RiseJson(EstimateJson):
    """How much more a cell scores than the one below it, over the same pairs."""

    below: dict[str, Any] | None
    "parameters of the cell below; null for the unpatched runs"


class InterventionJson(TypedDict):
    """One write of a cell."""

    text: str
    "the write, as it is written"
    rows: Count
    "at how many places (pairs and tokens) it fired"
    change: float | None
    "mean of |new - old| / |old| over them, without a unit"
    unreachable: Count
    "at how many it was left out because nothing there reaches the read-out"


class IntervalJson(TypedDict):
    """An interval."""

    low: float | None
    "lower end"
    high: float | None
    "upper end"


class FittedOnJson(TypedDict):
    """How much a feature was fitted on."""

    pairs: Count
    "pairs of the fit"
    inputs: Count
    "distinct inputs of the fit"
    steps: Count
    "steps of the optimiser"
    restarts: Count
    "the number of starts; the best one is used"


class ValidationJson(TypedDict):
    """The kept map on the inputs that ended the fit."""

    loss: float | None
    "mean cross-entropy, in nats"
    iia: Share | None
    "share of right answers, in [0, 1]"


class GatesJson(TypedDict):
    """The gates of a feature whose size is learned."""

    total: Count
    "all gates"
    open: Count
    "those that are open"
    undecided: Count
    "those that the fit left undecided"


class FeatureJson(TypedDict):
    """A feature that a cell writes through."""

    feature: str
    "as it is declared"
    place: str
    "where it sits"
    variables: list[str]
    "the variables that sit in it"
    size: Count
    "its dimensions"
    width: Count
    "dimensions of the vector"
    fitted_on: FittedOnJson
    "how much it was fitted on"
    validation: ValidationJson | None
    "on the inputs that ended the fit; null where there were none"
    losses: list[float | None]
    "mean cross-entropy of each epoch, in nats"
    gates: GatesJson | None
    "null where it has none"
    nonlinear: bool
    "whether it bends"
    file: str
    "the file that it was saved in or read from; empty where there is none"
    moved: bool
    "false if the gradient of its loss was zero in every step of the fit"


class ControlJson(TypedDict):
    """A control of a learned feature, on the same pairs."""

    iia: EstimateJson
    "its share of counterfactual answers, in [0, 1]"
    margin: float | None
    "by how many logits it moves the counterfactual answer over the base's"
    draws: list[Share | None]
    "iia of each random draw, in [0, 1]"
    difference: EstimateJson
    "the feature's iia less the control's"


class LearnedJson(TypedDict):
    """The learned features of a cell beside their controls."""

    features: list[FeatureJson]
    "each as it was fitted"
    margin: float | None
    "by how many logits the cell moves the counterfactual answer over the base's"
    controls: dict[str, ControlJson]
    "by name"
    outside: Share | None
    "share of written vectors with a number that the site never comes near, in [0, 1]"


class TakenJson(TypedDict):
    """Units that no variable claims, taken from another input."""

    units: list[int]
    "coordinates of a vector network, or tokens of a language network"
    place: str
    "the same in words"
    moved: EstimateJson
    "share of pairs whose answer changes, in [0, 1]"


class UnclaimedJson(TypedDict):
    """What of a layer no variable claims."""

    site: str
    "the site"
    placed: list[str]
    "the variables that are placed there"
    varied: list[str]
    "the inputs in which the other run differs"
    why: Literal["decided", "idle", "through", "alike"]
    "why it must not move the answer (docs/measures.md)"
    natural: Share
    "share of answers that may move without being said, in [0, 1]"
    taken: list[TakenJson]
    "each set of units"


class ReplacedJson(TypedDict):
    """An ablation beside other ways of taking its place away."""

    own: str
    "the test's own way"
    moved: dict[str, EstimateJson]
    "share of moved answers of each way, in [0, 1]"
    differences: dict[str, EstimateJson]
    "of each other way from the test's own"


class WrittenApartJson(TypedDict):
    """Some of the variables that a test writes together, written apart."""

    variables: dict[str, str]
    "which are written, and from which run"
    place: str
    "where"
    right: EstimateJson
    "share of pairs with the causal model's answer for these alone, in [0, 1]"
    moved: EstimateJson
    "share of pairs whose answer differs from the base's, in [0, 1]"
    asked: Count
    "the number of pairs in which the causal model changes the answer"


class BeyondJson(TypedDict):
    """A test's interchange in pairs that do not pass its `where`."""

    own: EstimateJson
    "share of these pairs whose base the network answers right by itself, in [0, 1]"
    right: EstimateJson
    "share of these pairs with the causal model's answer, in [0, 1], over those whose inputs the network answers right"


class WrittenPartJson(TypedDict):
    """One place of a variable that has several, or one of the numbers of its only place."""

    variable: str
    "the variable"
    place: str
    "where"
    alone: EstimateJson
    "iia if it alone is written, in [0, 1]"
    without: EstimateJson
    "iia if all but it are written, in [0, 1]"
    counts: EstimateJson
    "share of pairs whose answer it changes, written beside some of the others or none, in [0, 1]"


class WorstPairJson(TypedDict):
    """A pair in which a score is among the worst."""

    pair: Count
    "its number"
    value: float | None
    "its ratio, or its change"
    base: str
    "the input of its base, in words"


class CircuitSizeJson(TypedDict):
    """How large a circuit is."""

    nodes: Count
    "its nodes"
    of_nodes: Count
    "those of the network"
    edges: Count
    "edges between its nodes, and to the logits"
    weighted_edges: float
    "the same, each weighted by the share of the sender's neurons that are in the circuit"
    of_edges: Count
    "edges of the network"


class ChoicesJson(TypedDict):
    """The six choices that an ablation makes."""

    granularity: str
    "whether each token has a value of its own"
    component: str
    "the kinds of nodes that are looked at"
    value: str
    "what is written"
    positions: str
    "the tokens that are looked at"
    direction: str
    "the run that is written into"
    set: str
    "whether the circuit is written, or all else"


class SelfCheckJson(TypedDict):
    """Two runs that have to be the same."""

    says: str
    "what has to hold"
    apart: float | None
    "the largest difference of a logit"
    holds: bool
    "whether that is rounding"


class RandomCircuitsJson(TypedDict):
    """A score of random circuits."""

    values: list[float | None]
    "of each of them"
    as_high: Share | None
    "the share of them that are at least as high as the circuit's, in [0, 1]"
    as_good: Share | None
    "the share of them that are at least as good as the circuit's, in [0, 1]"
    own: float | None
    "that of the circuit, by as small a search"
    better: str
    "whether a score that is `high` or `low` speaks for a circuit"
    searched: str
    "over what of each circuit the score is searched here; empty if it is not searched"


class HypothesisTestJson(TypedDict):
    """A null hypothesis about a circuit."""

    null: str
    "what it says"
    p: Share | None
    "the p-value; of several tests the smallest times their number, in [0, 1]"
    rejected: bool | None
    "whether it is rejected at 5%"
    tests: Count
    "how many tests it is made of: one, or one for each member of the circuit"
    statistic: float | None
    "of one test, its statistic"
    n: Count
    "over how many pairs, or comparisons with random members, each test is"
    members: dict[str, float | None]
    "of each member its p-value, times the number of members"


class DiscoveredJson(TypedDict):
    """How a circuit was found, on inputs of the `fit` part."""

    what: str
    "nodes or edges"
    method: str
    "how they were scored"
    metric: str
    "what they add to"
    pairs: Count
    "on which they were scored"
    keep: float
    "the share, or the number, that is kept; if `by` is threshold, the least score of what is kept"
    by: str
    "whether they are ranked by signed or by absolute score; threshold: all are kept that score at least `keep`"
    scores: dict[str, float | None]
    "the score of each: how much the metric falls where it alone is as in the counterfactual run, to first order if the method uses gradients; of acdc how much the loss rises when it is dropped beside those dropped before it; of masks how likely its gate is to be open"
    correlation: float | None
    "Pearson's, of scores and exact effects; null where the scores are exact effects, and of acdc and masks"
    sampled: Count
    "of how many it is"
    stability: float | None
    "the mean Jaccard index of the set that is kept and those of 20 resamples of the pairs"
    forwards: float
    "how often all pairs were run"
    backwards: float
    "how often gradients were computed of all pairs"
    base: float | None
    "the mean of the metric in the base runs"
    source: float | None
    "the same in the counterfactual runs"
    check: GradientCheckJson | None
    "what gradients are held against; null where there is nothing"


class GradientCheckJson(TypedDict):
    """A number that scores by gradients have to give, whatever the network computes."""

    says: str
    "which number it is"
    apart: float | None
    "how far the scores are from it, at most"
    scale: float | None
    "the largest of the numbers that are compared"


class CircuitJson(TypedDict):
    """A circuit, and what ran beside it."""

    name: str
    "as the test names it"
    kind: str
    "`nodes` or `edges`: what it is a set of"
    members: list[str]
    "its nodes or its edges, with their token where they are at one"
    ports: NotRequired[PortsJson]
    "of a circuit of edges: what of the network reads the stream"
    size: CircuitSizeJson
    "how large it is"
    choices: ChoicesJson
    "what its numbers stand on"
    checks: list[SelfCheckJson]
    "what its runs say of themselves"
    random: dict[str, RandomCircuitsJson]
    "random circuits of the same size, by score"
    random_weighted_edges: list[float]
    "the weighted edges of each random circuit"
    tests: dict[str, HypothesisTestJson]
    "null hypotheses about it, by score"
    found: NotRequired[list[DiscoveredJson]]
    "how it was found, where a run found it"
    parallel: NotRequired[bool]
    "true where the MLPs of its network read the same stream as the heads of their layer"
    stated: NotRequired[dict[str, float | None]]
    "the scores of its edges that a file says, where one does"


class AttributionJson(TypedDict):
    """The terms of a logit in one kind of run: means over the pairs of all cells, in logits."""

    run: str
    "the run: `base`, `patched`, or a source"
    of: str
    "the logit"
    parts: dict[str, float | None]
    "what the embeddings, all attention, all MLPs, and the biases of the last norm and the read-out add"
    sum: float | None
    "their sum"
    logit: float | None
    "the logit that the network makes of the stream"
    apart: float | None
    "the largest difference of the two in a pair"
    heads_apart: float | None
    "the largest difference of the heads of a layer, with the biases behind them, from what its attention adds; 0 if no head is asked for"
    written: bool
    "whether the test writes into the stream itself, so that the sum lacks that"
    holds: bool
    "whether what is apart is rounding"


class GradientAtPlaceJson(TypedDict):
    """What gradients say of one place, and what happens there."""

    cell: dict[str, Any]
    "its parameters; empty where the test is not a sweep"
    score: float | None
    "the mean score"
    exact: float | None
    "how much the mean of the metric falls where the baseline stands at the place; null where that was not computed"


class GradientReadingJson(TypedDict):
    """A reading of gradients at places, beside exact effects."""

    of: str
    "as the test writes it"
    steps: Count
    "points of the way at which gradients were taken; 0: those of the base run alone"
    correlation: float | None
    "Pearson's, of scores and exact effects over the cells that have both; null of fewer than three"
    apart: float | None
    "the largest difference of a score from its exact effect"
    scale: float | None
    "the largest exact effect"
    cells: list[GradientAtPlaceJson]
    "each cell"


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
    "the ceiling that its verdict goes by"
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
    """What a test was run on."""

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


class PortsJson(TypedDict):
    """What of a network reads the stream."""

    layers: Count
    "layers"
    heads: Count
    "query heads of a layer"
    kv_heads: Count
    "key heads of a layer"
    parallel: bool
    "whether the MLP of a layer reads the same stream as its heads"


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
    "how many cells it has, measured or not"
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


class CostJson(TypedDict):
    """What a plan takes."""

    rows: Count
    "rows of all passes"
    layer_tokens: Count
    "tokens x layers that run in full"
    key_tokens: Count
    "tokens x layers of which only keys and values are computed"
    naive_layer_tokens: Count
    "`layer_tokens` of the plan as written"
    passes: Count
    "passes through the network"
    bytes: Count
    "bytes of stored activations"
    peak_bytes: Count
    "most bytes that tensors hold at once beside the weights"
    process_bytes: Count
    "bytes that a process on a CPU takes at its peak beside the weights"
    flops: float
    "floating-point operations"
    exact: bool
    "false where some blocks were counted and the others taken to be like them"


class RunCostJson(TypedDict):
    """What a run took, and the plan's cost where it was executed."""

    seconds: float
    "wall-clock time, in seconds"
    rows: NotRequired[Count]
    "as in the cost of a plan"
    layer_tokens: NotRequired[Count]
    "as in the cost of a plan"
    key_tokens: NotRequired[Count]
    "as in the cost of a plan"
    naive_layer_tokens: NotRequired[Count]
    "as in the cost of a plan"
    passes: NotRequired[Count]
    "as in the cost of a plan"
    bytes: NotRequired[Count]
    "as in the cost of a plan, in bytes"
    peak_bytes: NotRequired[Count]
    "as in the cost of a plan, in bytes"
    process_bytes: NotRequired[Count]
    "as in the cost of a plan, in bytes"
    flops: NotRequired[float]
    "as in the cost of a plan"
    exact: NotRequired[bool]
    "as in the cost of a plan"


class TrainedFromJson(TypedDict):
    """What was trained into a network."""

    network: NetworkKeyJson
    "the network that it starts from"
    alignment: str
    "the alignment, as text"
    settings: dict[str, Any]
    "the settings of the training"
    files: Any
    "SHA-256 of the files that it reads"


class NetworkKeyJson(TypedDict):
    """The identity of a network."""

    kind: Literal["hf", "zoo", "torch", "train"]
    "how it is declared"
    target: str
    "an absolute path, or the name of a repository or of a network of the zoo"
    revision: str | None
    "the revision of a repository"
    settings: dict[str, Any]
    "the settings that decide numbers"
    untrained: bool
    "whether its weights are newly drawn"
    training: NotRequired[TrainedFromJson]
    "what was trained into it"


class NetworkJson(TypedDict):
    """A network that was run."""

    kind: Literal["hf", "zoo", "torch", "train"]
    "how it is declared"
    target: str
    "what is declared"
    identity: NetworkKeyJson
    "who it is"
    weights: str | None
    "SHA-256 of its weights"
    architecture: str
    "its architecture"
    layers: Count
    "its layers"
    device: str
    "where it ran"
    dtype: str
    "in which numbers it ran"
    parameters: Count
    "how many parameters it has"
    training: NotRequired[dict[str, Any]]
    "the settings of `train(…)`"
    refused_sites: NotRequired[dict[str, str]]
    "sites that were refused when it was loaded, with the reason"
    notes: NotRequired[list[str]]
    "notes from loading it"
    executor: NotRequired[str]
    "which way its passes went, and why"
    blocks: NotRequired[Count]
    "in how many blocks it ran"


class NetworkInputsJson(TypedDict):
    """What a loaded network is made of."""

    kind: str
    "how it is declared"
    target: str
    "what is declared"
    revision: str | None
    "the revision of a repository"
    settings: dict[str, Any]
    "its settings"
    training: str
    "what was trained into it; empty where nothing was"
    weights: str
    "SHA-256 of its weights"
    files: dict[str, str]
    "SHA-256 of every other file that makes it, by path"
    architecture: str
    "its architecture"
    dtype: str
    "in which numbers it ran"
    device: str
    "where it ran"
    padding: str
    "how prompts are padded"
    behaviour: str
    "SHA-256 of its logits for a few inputs, where it is made by code"
    libraries: dict[str, str]
    "versions of the libraries that only such networks need"


class IdentityJson(TypedDict):
    """What the numbers of a run belong to."""

    key: str
    "SHA-256 of all that follows but `command`, and of `versions`"
    command: list[str] | None
    "the command line; null where it was run from Python"
    spec: str
    "SHA-256 of the spec and its imports"
    tests: list[str]
    "the tests that were run"
    seed: Count
    "the seed of the draws"
    dtype: str | None
    "what was asked for"
    device: str | None
    "what was asked for"
    compiled: bool
    "whether `--compile` was given"
    reference: bool
    "whether `--reference` was given"
    memory: Count | None
    "`--batch-memory`, in bytes"
    files: dict[str, str]
    "SHA-256 of every file that is read, by path"
    networks: dict[str, NetworkInputsJson]
    "what each network is made of, by its name"
    features: str
    "SHA-256 of the numbers of all fitted maps"
    circuits: str
    "SHA-256 of the nodes of all circuits that the run found; empty where it found none"
    behaviour: dict[str, str]
    "SHA-256 of the logits of networks made by code for some inputs, by name"


class MachineJson(TypedDict):
    """The machine that ran a spec."""

    system: str
    "its operating system"
    processor: str
    "its processor"
    cores: Count
    "how many cores it has"
    accelerators: list[str]
    "the accelerators that networks ran on"


class EmptyJson(TypedDict):
    """No fields."""


class SpecJson(TypedDict):
    """What a run found for one file; also `results.json`, which has `interrupted` besides."""

    schema: Count
    "counts up when a field changes its meaning"
    path: str
    "the file"
    digest: str
    "SHA-256 of the spec and its imports"
    identity: IdentityJson | EmptyJson
    "what the numbers belong to; empty where nothing was run"
    versions: dict[str, str]
    "the versions of all that computed"
    text: str
    "the spec as it was run"
    imports: NotRequired[dict[str, str]]
    "the texts of all files that it imports, by their paths from its folder"
    models: dict[str, list[ModelVariableJson]]
    "the causal models of the tests, by name: their variables in topological order"
    machine: MachineJson | EmptyJson
    "the machine that ran it; empty where nothing was run"
    finished: str
    "when it ended, in ISO 8601 and UTC; empty where nothing was run"
    networks: dict[str, NetworkJson]
    "the networks, by their names"
    tests: list[TestJson]
    "the tests"
    families: NotRequired[list[FamilyJson]]
    "tests that were written out of one declaration"
    cost: RunCostJson
    "what it took"
    diagnostics: list[DiagnosticJson]
    "the warnings"
    interrupted: NotRequired[bool]
    "in `results.json`: whether the run was stopped"
    seal: str
    "SHA-256 of the other fields, by which a document that was changed after the run is told"


class CheckedTestJson(TypedDict):
    """A test, before it is run."""

    name: str
    "its name"
    line: Count
    "where it begins, from 1"
    ceilings: dict[str, CeilingJson]
    "what rules without the hypothesis score"
    distinct: dict[str, int]
    "distinct inputs of each role"
    outputs: NotRequired[dict[str, dict[str, CeilingJson]]]
    "where it reads several outputs: the ceilings of each by itself, by its name"


class CheckedSpecJson(TypedDict):
    """What `check` says of one file. A file that another command cannot run or plan has this form too."""

    path: str
    "the file"
    diagnostics: list[DiagnosticJson]
    "faults and warnings"
    tests: list[CheckedTestJson]
    "the tests; empty where the file has faults that hide them"


class NodeJson(TypedDict):
    """A value of the graph."""

    id: Count
    "its number"
    kind: str
    "draw, forward, capture, write, resume, read, score, …"
    text: str
    "in words"
    rows: Count
    "rows that compute it"
    layer_tokens: Count
    "tokens x layers that compute it"
    bytes: Count
    "bytes of it that are stored"


class EdgeJson(TypedDict):
    """`target` is computed from `source`."""

    source: Count
    "number of a node"
    target: Count
    "number of a node"


class GraphJson(TypedDict):
    """A graph of values in the node-link form of networkx."""

    directed: bool
    "always true"
    multigraph: bool
    "always false"
    graph: dict[str, Any]
    "always empty"
    nodes: list[NodeJson]
    "the values"
    edges: list[EdgeJson]
    "what is computed from what"


class StepJson(TypedDict):
    """A step: some interventions on one network."""

    network: str
    "its name"
    interventions: Count
    "how many"
    blocks: Count
    "in how many blocks"
    reference: str
    "why it runs by whole forward passes; empty if interventions share one pass"


class StreamedBytesJson(TypedDict):
    """What a plan reads of the weights of a network with `weights=stream`."""

    network: str
    "its name in the spec"
    bytes: int
    "bytes of its weights that are read"
    blocks: int
    "passes through the network"
    layer_bytes: int
    "bytes of the matrices of one layer"
    bandwidth: float
    "bytes a second, as reading some of the weights took"
    seconds: float
    "how long reading takes at this bandwidth"


class LargestUnitJson(TypedDict):
    """The unit of work with the most operations."""

    label: str
    "what it is"
    flops: float
    "multiplications and additions, predicted"
    bytes: Count
    "bytes to and from the store, predicted"


class WorkersJson(TypedDict):
    """How long some workers take, estimated."""

    workers: Count
    "how many"
    flops_a_second: float
    "what a matrix product takes on this machine's processor"
    seconds: float
    "all units, the networks loaded on every worker"
    at_least: float
    "the longest chain of units that need each other"
    loading: float
    "of these, what a worker takes to load the largest network"


class UnitsJson(TypedDict):
    """The work as units that workers or shards can share."""

    trainings: Count
    "networks to be trained"
    fits: Count
    "groups of fits"
    blocks: Count
    "blocks of the sweeps"
    bytes: Count
    "bytes to and from the store, predicted"
    flops: float
    "multiplications and additions, predicted"
    largest: LargestUnitJson | None
    "the largest of them; null where there is nothing to do"
    workers: WorkersJson | None
    "an estimate for `--workers N`; null without it"


class UnitJson(TypedDict):
    """One unit of work of a shard."""

    key: str
    "the same in every process that reads the same spec with the same options"
    kind: Literal["training", "fit", "block"]
    "what it is"
    network: str
    "the part of a sweep of networks that it belongs to; empty where all networks are one part"
    label: str
    "what it is, in words"
    needs: list[str]
    "keys of the units whose results it uses"
    flops: float
    "multiplications and additions, predicted"
    bytes: Count
    "bytes to and from the store, predicted"
    memory: Count
    "bytes held beside the weights, predicted"
    weights: Count
    "bytes of the networks that it is run on"


class ShardJson(TypedDict):
    """What `run --shard i/N` did of a spec."""

    shard: Count
    "which shard, counted from 1"
    of: Count
    "how many there are"
    folder: str
    "where its results lie"
    units: list[UnitJson]
    "the units of this shard, all of them stored"
    found: Count
    "how many of them were stored before"
    every: Count
    "how many units the spec has"
    seconds: float
    "how long its units took"


class ShardSpecJson(TypedDict):
    """One file of `run --shard i/N --json`."""

    path: str
    "the file"
    diagnostics: list[DiagnosticJson]
    "warnings"
    tests: list[CheckedTestJson]
    "always empty: a shard scores nothing"
    shard: ShardJson
    "what was done"


class PlannedSpecJson(TypedDict):
    """The plan of one file."""

    path: str
    "the file"
    cost: CostJson
    "what it takes"
    steps: list[StepJson]
    "the steps, in order"
    fits: list[str]
    "what is fitted before, in words"
    streamed: list[StreamedBytesJson]
    "what is read of weights that stay in their files"
    units: UnitsJson
    "the work as units that workers can share"
    graph: GraphJson
    "the graph of values"


class RunJson(TypedDict):
    """The document of `run --json`. `schema` is left out where no spec could be run."""

    schema: NotRequired[Count]
    "counts up when a field changes its meaning"
    specs: list[SpecJson | ShardSpecJson | CheckedSpecJson]
    "one entry a file"


class CheckJson(TypedDict):
    """The document of `check --json`."""

    specs: list[CheckedSpecJson]
    "one entry a file"


class PlanJson(TypedDict):
    """The document of `plan --json`."""

    specs: list[PlannedSpecJson | CheckedSpecJson]
    "one entry a file"


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
    "the exact ceiling `output_only`"
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
    "the verdict of each run, else the status of the test; null where the run lacks it"
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
