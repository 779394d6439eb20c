"""A loaded network as a value."""

from __future__ import annotations

from dataclasses import field, replace
from itertools import chain
from typing import Any, Literal

import torch
from torch import nn

from causal_dsl.diagnostics import NOWHERE, Diagnostic, Span
from causal_dsl.inputs import Inputs, given_to
from causal_dsl.network.proof import Proof
from causal_dsl.network.shard_group import ShardedLayers
from causal_dsl.network.stream.weight_stream import WeightStream
from causal_dsl.network.tap import Tap
from causal_dsl.program.identity import PADDING, NetworkKey
from causal_dsl.program.program import NetworkRef
from causal_dsl.program.tokens import Tokens
from causal_dsl.quick_dataclasses import dataclass
from causal_dsl.store.keys import NetworkInputs
from causal_dsl.store.reads import Reads
from causal_dsl.vocabulary.architectures import Architecture
from causal_dsl.vocabulary.locations import Site
from causal_dsl.vocabulary.network_facts import Facts

#: Who a module is that no declaration names.
_NO_ONE = NetworkKey("torch", "")


@dataclass(eq=False)
class Network:
    """``model`` as its library made it: in eval mode, its parameters without gradients, otherwise untouched.

    It is not changed by who uses it: a use of it under another ``key``, ``name`` or ``padding`` is a network of its own
    (:meth:`used_as`) around the same module. Only the ``proof`` of its sites is put in after it was made.

    ``tokens`` is None for vector networks. ``layers`` are the modules that ``layer[l]`` counts. ``proof`` says which
    sites were found where the table says (:func:`causal_dsl.network.prove.prove`). ``accepts`` are the arguments that
    the model's forward takes; ``padding`` is the side at which prompts are padded. ``key`` is who it is.
    ``warnings`` are what was noticed as it was loaded, ``notes`` what was done to it then.
    """

    model: nn.Module
    facts: Facts
    tokens: Tokens | None
    device: torch.device
    dtype: torch.dtype
    name: str = ""
    span: Span = NOWHERE
    layout: Architecture | None = None
    layers: tuple[nn.Module, ...] = ()
    proof: Proof | None = None
    #: what it was loaded from, by :func:`causal_dsl.network.fingerprint.made_of`; None for one that was made in Python
    inputs: NetworkInputs | None = field(default=None, repr=False)
    reads: Reads | None = field(default=None, repr=False)
    taps: dict[Site, Tap] = field(default_factory=dict, repr=False)
    accepts: frozenset[str] = frozenset()
    padding: Literal["left", "right"] = "right"
    warnings: tuple[Diagnostic, ...] = ()
    notes: tuple[str, ...] = ()
    key: NetworkKey = _NO_ONE
    #: what reads its weights, where they stay in their files
    stream: WeightStream | None = field(default=None, repr=False)
    #: its layers, where processes share their weights out
    sharded: ShardedLayers | None = field(default=None, repr=False)
    compiled_blocks: dict[nn.Module, Any] = field(default_factory=dict, repr=False)

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "proof" and name in self.__dict__:
            raise AttributeError(f"`{name}` of a loaded network is not changed: make another with dataclasses.replace")
        super().__setattr__(name, value)

    def used_as(self, ref: NetworkRef) -> Network:
        """The same module, as a declaration uses it."""
        if self.key == ref.key and self.name == ref.name:
            return self
        padding = dict(ref.key.settings).get("padding", PADDING)
        return replace(self, key=ref.key, name=ref.name, span=ref.span, padding=padding)

    @property
    def unproved(self) -> tuple[str, ...]:
        """The components that are not where its layout says, of a network that was proved."""
        return () if self.proof is None else tuple(self.proof.refused)

    @property
    def given(self) -> type[Inputs]:
        """What it is given, and how rows of that are made one batch."""
        return given_to(self.facts)

    def compiled_block(self, block: nn.Module) -> Any:
        """A module's forward through ``torch.compile``, for any number of tokens; compiled once."""
        if block not in self.compiled_blocks:
            self.compiled_blocks[block] = torch.compile(block.forward, dynamic=True)
        return self.compiled_blocks[block]

    def device_at(self, site: Site) -> torch.device:
        """Where the vectors of a site are."""
        if site.layer is None or not self.layers:
            return self.device
        return self.device_of(self.layers[min(site.layer, len(self.layers) - 1)])

    def device_of(self, module: nn.Module) -> torch.device:
        """Where a module computes: its layers may be spread over devices."""
        where = getattr(getattr(module, "_hf_hook", None), "execution_device", None)
        if where is not None:
            return torch.device(where) if not isinstance(where, int) else torch.device("cuda", where)
        first = next(chain(module.parameters(), module.buffers()), None)
        return self.device if first is None or first.device.type == "meta" else first.device
