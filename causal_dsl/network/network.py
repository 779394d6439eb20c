"""A loaded network as a value."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from causal_dsl.diagnostics import NOWHERE, Diagnostic, Span
from causal_dsl.inputs import Inputs, given_to
from causal_dsl.program.facts import Facts, layout_of
from causal_dsl.program.identity import PADDING, NetworkKey
from causal_dsl.program.locations import Site
from causal_dsl.program.tokens import Tokens
from causal_dsl.store.keys import NetworkInputs
from causal_dsl.store.reads import Reads
from causal_dsl.vocabulary.architectures import Architecture

if TYPE_CHECKING:
    from causal_dsl.network.prove import Proof
    from causal_dsl.network.sites import Tap
    from causal_dsl.program.program import NetworkRef


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


def wrap(model: nn.Module, facts: Facts, tokens: Tokens | None = None, name: str = "", span: Span = NOWHERE) -> Network:
    """A module as a :class:`Network`: eval mode, no gradients of parameters, its layers found. Nothing is proved yet.

    ``facts.kind`` is ``language`` or ``vector``.
    """
    notes = _mode(model)
    model.eval()
    model.requires_grad_(False)
    device = _entrance(model)
    kinds = [p.dtype for p in model.parameters() if p.is_floating_point()]
    dtype = kinds[0] if kinds else torch.float32
    record = layout_of(facts) if facts.kind == "language" else None
    layout = record if record is None or record is facts.record else record.of_config(_text_config(model))
    layers: tuple[nn.Module, ...] = ()
    if layout is not None and layout.layers:
        layers = tuple(model.get_submodule(layout.layers).children())
    elif not facts.has_tokens:
        layers = vector_layers(model)
    if tokens is not None:
        tokens = tokens.of_network(_rows(model, facts))
    accepts = frozenset(inspect.signature(model.forward).parameters)
    return Network(model, facts, tokens, device, dtype, name, span, layout, layers, accepts=accepts, notes=notes)


def _mode(model: nn.Module) -> tuple[str, ...]:
    """A note where a network comes in training mode and that makes a difference."""
    minded = [
        name or type(module).__name__
        for name, module in model.named_modules()
        if module.training
        and (
            (isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0)
            or isinstance(module, nn.modules.batchnorm._NormBase)
        )
    ]
    if not minded:
        return ()
    return (
        f"it came in training mode and is run in eval mode: `{minded[0]}` drops nothing, or norms by what it learned",
    )


def _rows(model: nn.Module, facts: Facts) -> int | None:
    """How many tokens a model can both read and say."""
    getter = getattr(model, "get_input_embeddings", None)
    weight = getattr(getter(), "weight", None) if getter is not None else None
    known = [facts.vocabulary, None if weight is None else int(weight.shape[0])]
    return min((rows for rows in known if rows), default=None)


def _entrance(model: nn.Module) -> torch.device:
    """Where a model takes its inputs; weights that are brought from elsewhere when they are needed are ``meta`` till then."""
    getter = getattr(model, "get_input_embeddings", None)
    entrance = getter() if getter is not None else model
    where = getattr(getattr(entrance, "_hf_hook", None), "execution_device", None)
    if where is not None:
        return torch.device("cuda", where) if isinstance(where, int) else torch.device(where)
    first = next(iter([*model.parameters(), *model.buffers()]), None)
    return first.device if first is not None else torch.device("cpu")


def vector_layers(model: nn.Module) -> tuple[nn.Module, ...]:
    """What ``layer[l].out`` counts: the modules in ``model.layers``, else the children of a ``Sequential``."""
    layers = getattr(model, "layers", None)
    if isinstance(layers, nn.ModuleDict):
        layers = list(layers.values())
    if isinstance(layers, nn.ModuleList | nn.Sequential | list | tuple):
        return tuple(layer for layer in layers if isinstance(layer, nn.Module))
    return tuple(model.children()) if isinstance(model, nn.Sequential) else ()


def _text_config(model: nn.Module) -> object:
    config = getattr(model, "config", None)
    return getattr(config, "text_config", None) or config
