"""A loaded network as a value."""

from __future__ import annotations

from dataclasses import field
from itertools import chain
from typing import Any, Literal

import torch
from torch import nn

from causal_dsl.base.faults import foreign
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import NOWHERE, Diagnostic, Span, one_line, printable
from causal_dsl.inputs import Inputs, given_to
from causal_dsl.network.shard_group import ShardedLayers
from causal_dsl.network.stream.weight_stream import WeightStream
from causal_dsl.program.identity import NetworkKey
from causal_dsl.program.tokens import Tokens
from causal_dsl.store.keys import NetworkInputs
from causal_dsl.store.reads import Reads
from causal_dsl.vocabulary.architectures import Architecture
from causal_dsl.vocabulary.locations import Site
from causal_dsl.vocabulary.network_facts import Facts

#: Who a module is that no declaration names.
_NO_ONE = NetworkKey("torch", "")


@dataclass(frozen=True, eq=False)
class Network:
    """``model`` as its library made it: in eval mode, its parameters without gradients, otherwise untouched.

    It is not changed by who uses it: a use of it under another ``key``, ``name`` or ``padding`` is a network of its own around the
    same module. What is found out about it later, such as the proof of its sites, is kept beside it
    (:mod:`causal_dsl.network.known_of_network`).

    ``tokens`` is None for vector networks. ``layers`` are the modules that ``layer[l]`` counts. ``accepts`` are the arguments
    that the model's forward takes; ``padding`` is the side at which prompts are padded. ``key`` is who it is.
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
    #: what it was loaded from, by :func:`causal_dsl.network.fingerprint.made_of`; None for one that was made in Python
    inputs: NetworkInputs | None = field(default=None, repr=False)
    reads: Reads | None = field(default=None, repr=False)
    accepts: frozenset[str] = frozenset()
    padding: Literal["left", "right"] = "right"
    warnings: tuple[Diagnostic, ...] = ()
    notes: tuple[str, ...] = ()
    key: NetworkKey = _NO_ONE
    #: what reads its weights, where they stay in their files
    stream: WeightStream | None = field(default=None, repr=False)
    #: its layers, where processes share their weights out
    sharded: ShardedLayers | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        about = [self.facts.architecture or self.facts.kind]
        about += [] if self.facts.layers is None else [f"{self.facts.layers} layer{'s' * (self.facts.layers != 1)}"]
        about += [str(self.dtype).removeprefix("torch."), str(self.device)]
        return f"<Network {printable(one_line(self.name)) or type(self.model).__name__}: {', '.join(about)}>"

    def run(self, *arguments: Any, **named: Any) -> Any:
        """The output of the model. An exception of its code that would end this process is an ordinary one
        (:data:`causal_dsl.base.faults.foreign`)."""
        with foreign:
            return self.model(*arguments, **named)

    @property
    def given(self) -> type[Inputs]:
        """The inputs that it is given, and how rows of them are made one batch."""
        return given_to(self.facts)

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
