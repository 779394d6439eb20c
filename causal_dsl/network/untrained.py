"""A network as it was before it was trained: the same configuration, its weights drawn anew."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import nn

from causal_dsl.diagnostics import fail
from causal_dsl.network.network import Network
from causal_dsl.network.wrapped import wrap

SEED = 0


def untrained(network: Network, seed: int = SEED) -> Network:
    """The network with weights as its library draws them before training; the global generator is left as it was.

    A Hugging Face model is made from its configuration; of other modules every one is asked to ``reset_parameters``.
    Raises E714 where nothing can be drawn anew: a network whose numbers were written down by hand.
    """
    model = drawn_anew(network.model, seed)
    if isinstance(model, str) or not any(True for _ in model.parameters()):
        raise fail(
            "E714",
            f"the weights of `{network.name}` cannot be reinitialised",
            network.span,
            notes=(
                "a control fits the same feature on an untrained network, and some module here has no `reset_parameters`",
            ),
            help="give such modules a `reset_parameters`, or write controls=none in the feature",
        )
    return wrap(model, network.facts, network.tokens, f"{network.name} (untrained)", network.span)


def drawn_anew(model: nn.Module, seed: int) -> nn.Module | str:
    """A copy of a module, its weights drawn by the seed alone as its library draws them; the global generator is left as
    it was. Of a module with a parameter that nothing draws: the path of that parameter.
    """
    first = next(model.parameters(), torch.zeros(0))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        config: Any = getattr(model, "config", None)
        if hasattr(config, "to_dict"):
            made: nn.Module = type(model)(deepcopy(config))
            return made.to(device=first.device, dtype=first.dtype)
        copy = deepcopy(model).to("cpu")  # drawn there, numbers are the same on every device
        drawn = set()
        for module in copy.modules():
            reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
            if callable(reset):
                reset()
                drawn |= {id(parameter) for parameter in module.parameters(recurse=False)}
    left = next((name for name, parameter in copy.named_parameters() if id(parameter) not in drawn), None)
    return copy.to(first.device) if left is None else left
