"""Fields of what a run took, and of what its numbers belong to: networks, inputs, the machine."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

from causal_dsl.shapes.numbers_of_fields import Count


class CostJson(TypedDict):
    """The predicted cost of a plan."""

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
    """The time and memory that a run took, and the cost of its whole plan where that was executed."""

    seconds: float
    "wall-clock time, in seconds"
    blocks: NotRequired[Count]
    "blocks of the plan"
    stored_blocks: NotRequired[Count]
    "those of them that were not run but taken from the store: by a run before, or by workers of this one"
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
    """The variables that were trained into a network."""

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
    """The parts of a loaded network: its weights, its other files, and how it computes."""

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
    """The identity of a run, to which its numbers belong."""

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
