"""A network as it was before it was trained: the same configuration, its weights drawn anew."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import nn

from causal_dsl.diagnostics import fail
from causal_dsl.network.network import Network, wrap

SEED = 0


def untrained(network: Network, seed: int = SEED) -> Network:
    """The network with weights as its library draws them before training; the global generator is left as it was.

    A Hugging Face model is made from its configuration; of other modules every one is asked to ``reset_parameters``.
    Raises E714 where nothing can be drawn anew: a network whose numbers were written down by hand.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _drawn(network)
    model.to(device=network.device, dtype=network.dtype)
    made = wrap(model, network.facts, network.tokens, f"{network.name} (untrained)", network.span)
    made.padding = network.padding
    return made


def _drawn(network: Network) -> nn.Module:
    config: Any = getattr(network.model, "config", None)
    if hasattr(config, "to_dict"):
        made: nn.Module = type(network.model)(deepcopy(config))
        return made
    model = deepcopy(network.model)
    drawn = set()
    for module in model.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            module.requires_grad_(True)
            with torch.no_grad():
                reset()
            drawn |= {id(parameter) for parameter in module.parameters(recurse=False)}
    if not drawn or any(id(parameter) not in drawn for parameter in model.parameters()):
        raise fail(
            "E714", f"the weights of `{network.name}` cannot be drawn anew", network.span,
            notes=("a control fits the same feature on an untrained network, and some module here has no `reset_parameters`",),
            help="give such modules a `reset_parameters`, or write controls=none in the feature",
        )  # fmt: skip
    return model
