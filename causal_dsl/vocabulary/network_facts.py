"""The facts of a network that are known before its weights are read, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Literal

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostic
from causal_dsl.vocabulary.architectures import Architecture
from causal_dsl.vocabulary.locations import Site
from causal_dsl.vocabulary.network_kinds import NETWORK_KINDS, NetworkKind


@dataclass(frozen=True)
class Facts:
    """The shape of a network; None is "not known".

    ``kind`` is the name of one of :data:`~causal_dsl.vocabulary.network_kinds.NETWORK_KINDS`: ``language`` (token ids to logits), ``vector`` (a
    float vector to logits), ``unknown`` (made by a user's Python function, not yet called); ``traits`` is its record. ``architecture`` is the ``model_type`` of transformers, ``""`` where unknown.
    ``mlp_width`` is the width of ``neurons``, None for fused experts, and ``inner``, of experts, the numbers that a token has
    in those that it goes through; ``experts`` is how many there are, and ``dense`` the layers that have none. ``parallel``: attention and MLP read the same
    residual stream. ``both_ways``: every token looks at every other, before it and after, and the network fills in a
    masked token. ``context`` is the longest prompt in tokens, ``first_position`` the number that the first of them
    has, ``embed_width`` the width of a token's embedding (None: that of the stream). ``widths`` (vector networks) is the
    width of the input and then of each layer's output. ``folder`` holds the weights, ``tokenizer`` is its
    ``tokenizer.json``. ``record`` is the layout of this very network, declared or inferred as it was loaded, where no record
    describes it. ``words`` is the vocabulary that a spec gives, ``last``: the answer is that of the last token, though tokens look both ways.
    ``activation`` is that of the MLP as transformers calls it, ``""`` where it is not known.
    ``labels``: of a sequence classifier, the names of its classes in the order of its logits.
    ``unproved``: the components that the layout of a declaration does not give, and, once the network is loaded, those that are not where it says.
    ``refused``: of a network that is loaded to be run, why sites of it that a spec names cannot be used; None where it is not loaded.
    """

    kind: str
    architecture: str = ""
    layers: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    head_dim: int | None = None
    width: int | None = None
    mlp_width: int | None = None
    inner: int | None = None
    experts: int | None = None
    dense: tuple[int, ...] = ()
    vocabulary: int | None = None
    context: int | None = None
    parallel: bool = False
    both_ways: bool = False
    first_position: int = 0
    embed_width: int | None = None
    widths: tuple[int, ...] = ()
    classes: int | None = None
    tokenizer: Path | None = None
    folder: Path | None = None
    record: Architecture | None = None
    #: of a vector network whose modules were seen: those whose output is a layer's, by their paths
    same: tuple[tuple[str, int], ...] = field(default=(), compare=False)
    words: tuple[str, ...] = ()
    last: bool = False
    labels: tuple[str, ...] = ()
    activation: str = ""
    unproved: tuple[str, ...] = field(default=(), compare=False, repr=False)
    refused: Mapping[Site, Diagnostic] | None = field(default=None, compare=False, repr=False)

    @property
    def masked(self) -> bool:
        """Whether it fills in a masked token, instead of saying what is next."""
        return self.both_ways and not self.last and not self.labels

    @property
    def traits(self) -> NetworkKind:
        """The record of its kind."""
        return NETWORK_KINDS[self.kind]

    @property
    def unseen(self) -> bool:
        """Whether nothing was seen of it yet, neither a config nor modules: `check` reads the spec again when it is loaded."""
        return not self.traits.seen or (self.traits.by_record and not self.architecture)

    @property
    def readout(self) -> Literal["next_token", "mask", "logits"]:
        """Where an answer is read, if the spec does not say it."""
        return "logits" if self.labels else "mask" if self.masked else self.traits.readout

    @property
    def outputs(self) -> int | None:
        """How many logits there are."""
        if self.labels:
            return len(self.labels)
        count: int | None = getattr(self, self.traits.outputs)
        return count
