"""A module as a network: its mode, its device, its layers and its layout."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import nn

from causal_dsl.diagnostics import NOWHERE, Span
from causal_dsl.network.inferred.infer import inferred
from causal_dsl.network.network import Network
from causal_dsl.network.quiet import quiet
from causal_dsl.program.facts import layout_of
from causal_dsl.program.tokens import Tokens
from causal_dsl.vocabulary.network_facts import Facts
from causal_dsl.vocabulary.plugins import made


def wrap(model: nn.Module, facts: Facts, tokens: Tokens | None = None, name: str = "", span: Span = NOWHERE) -> Network:
    """A module as a :class:`Network`: eval mode, no gradients of parameters, its layers found. Nothing is proved yet.

    The kind of ``facts`` is one that was seen.
    """
    notes = _mode(model)
    model.eval()
    model.requires_grad_(False)
    device = _entrance(model)
    kinds = [p.dtype for p in model.parameters() if p.is_floating_point()]
    dtype = kinds[0] if kinds else torch.float32
    described = facts.traits.by_record
    record = layout_of(facts) if described else None
    layout = record if record is None or record is facts.record else record.of_config(_text_config(model))
    if facts.labels and layout is not None and layout is not facts.record:
        layout = replace(layout, unembed="head", head=("head",))
    layers: tuple[nn.Module, ...] = ()
    if layout is not None and layout.layers:
        layers = tuple(model.get_submodule(layout.layers).children())
    elif facts.traits.layers:
        layers = made(facts.traits.layers)(model)
    if tokens is not None:
        tokens = tokens.of_network(_rows(model, facts))
    accepts = getattr(model, "accepts", None) or frozenset(inspect.signature(model.forward).parameters)
    network = Network(model, facts, tokens, device, dtype, name, span, layout, layers, accepts=accepts, notes=notes)
    if record is None and described and facts.architecture:
        with quiet():
            return inferred(network)
    return network


@contextmanager
def in_eval_mode(model: nn.Module) -> Iterator[None]:
    """Within it a module runs in eval mode; after it, each of its modules has its own mode again, which :func:`wrap` tells."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


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
        f"it came in training mode and is run in eval mode: `{minded[0]}` does not drop values, or normalises by its running statistics",
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
    """The layers that ``layer[l].out`` counts: the modules in ``model.layers``, else the children of a ``Sequential``."""
    layers = getattr(model, "layers", None)
    if isinstance(layers, nn.ModuleDict):
        layers = list(layers.values())
    if isinstance(layers, nn.ModuleList | nn.Sequential | list | tuple):
        return tuple(layer for layer in layers if isinstance(layer, nn.Module))
    return tuple(model.children()) if isinstance(model, nn.Sequential) else ()


def _text_config(model: nn.Module) -> object:
    config = getattr(model, "config", None)
    return getattr(config, "text_config", None) or config
