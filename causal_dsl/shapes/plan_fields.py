"""The document of `plan --json` on one file: its graph, steps, costs and units."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from causal_dsl.shapes.identity_fields import CostJson
from causal_dsl.shapes.numbers_of_fields import Count
from causal_dsl.shapes.score_fields import DiagnosticJson
from causal_dsl.shapes.spec_fields import CheckedTestJson


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
    """The reads of the weights of a network with `weights=stream`."""

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
    "how long reading takes at this bandwidth, that of fits too"
    fit_bytes: int
    "bytes of its weights that fits read before, at most"
    fit_steps: Count
    "steps of the fits, those that share a pass counted once"


class LargestUnitJson(TypedDict):
    """The unit of work with the most operations."""

    label: str
    "what it is"
    flops: float
    "multiplications and additions, predicted"
    bytes: Count
    "bytes that it writes to the store, predicted"


class WorkersJson(TypedDict):
    """How long some workers take, estimated."""

    workers: Count
    "how many"
    at_once: Count
    "as many of them as this machine has cores or GPUs for, with which the seconds are estimated"
    flops_a_second: float
    "what a matrix product takes on this machine's processor"
    seconds: float
    "all units, the networks loaded on every worker"
    at_least: float
    "the longest chain of units that need each other"
    loading: float
    "of these, what a worker takes to load the largest network"
    alone: float
    "all units in one process, which loads its networks once"
    beside: float
    "what `run --workers` takes beside the units: Ray is started, and a network is loaded once more to score"


class UnitsJson(TypedDict):
    """The work as units that workers or shards can share."""

    trainings: Count
    "networks to be trained"
    searches: Count
    "searches for circuits"
    fits: Count
    "groups of fits"
    constants: Count
    "interventions whose constants are found"
    blocks: Count
    "blocks of the sweeps"
    gradients: Count
    "readings by gradients at places, of a test and a way of taking them"
    bytes: Count
    "bytes to and from the store, predicted: each result is written once and read once to be scored, and each worker reads what its units need"
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
    kind: Literal["training", "search", "fit", "constants", "block", "gradients"]
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
    """The work of `run --shard i/N` on a spec."""

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
