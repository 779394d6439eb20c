"""Fields of circuits, of how they were found, and of readings by gradients."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from causal_dsl.shapes.numbers_of_fields import Count, Share


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
    "the share of them that are at least as good as the circuit's, in [0, 1]; null if `better` is neither"
    as_low: NotRequired[Share | None]
    "the share of them that are at most as high as the circuit's, in [0, 1]"
    own: float | None
    "that of the circuit, by as small a search"
    better: str
    "whether a score that is `high` or `low` speaks for a circuit; `neither`: that depends on the hypothesis"
    searched: str
    "over what of each circuit the score is searched here; empty if it is not searched"
    no_contrast: NotRequired[bool]
    "whether the score is a ratio that has `no_contrast`: it is not compared, and the shares are null; left out if not"


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
    left_out: NotRequired[int]
    "how many of its members `among` does not look at: `members` and all numbers are of the others"
    size: CircuitSizeJson
    "how large it is"
    choices: ChoicesJson
    "what its numbers stand on"
    checks: list[SelfCheckJson]
    "what its runs say of themselves; with `controls=none`, only where a score of the circuit needs these runs"
    random: dict[str, RandomCircuitsJson]
    "random circuits of the same size, by score"
    apart: NotRequired[list[str]]
    "scores of gradients and probes, which take passes of their own: no random circuits stand beside them"
    random_weighted_edges: list[float]
    "the weighted edges of each random circuit"
    random_members: NotRequired[list[list[str]]]
    "the nodes or the edges of each random circuit, in the same order; absent if these are more than 10,000 names"
    other_circuits: NotRequired[int]
    "how many other circuits have as many nodes (edges) of each kind, if these are fewer than 20: then all of them stand in `random`, and no finding compares with them"
    tests: dict[str, HypothesisTestJson]
    "null hypotheses about it, by score"
    found: NotRequired[list[DiscoveredJson]]
    "how it was found, where a run found it"
    parallel: NotRequired[bool]
    "true where the MLPs of its network read the same stream as the heads of their layer"
    shared_keys: NotRequired[bool]
    "true where several query heads of its network share keys and values: `size` then counts edges by query head, and `found` by key head"
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
    """The gradients of one place, and what happens there."""

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


class PortsJson(TypedDict):
    """The parts of a network that read the stream."""

    layers: Count
    "layers"
    heads: Count
    "query heads of a layer"
    kv_heads: Count
    "key heads of a layer"
    parallel: bool
    "whether the MLP of a layer reads the same stream as its heads"
