"""The behaviour of a network, as a value: it tells apart what code does by something that no file says.

The code of a factory can read the environment, the working directory, another process, or a file through a library that
Python does not see. All of these decide numbers, and none can be listed. So the logits that the network gives for a few
inputs stand in its keys, beside the files, for networks that code makes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import suppress

import torch

from causal_dsl.inputs import Inputs
from causal_dsl.inputs.protocol import InputRows
from causal_dsl.network.forward import forward
from causal_dsl.network.network import Network
from causal_dsl.program.program import NetworkRef


def of_code(ref: NetworkRef) -> bool:
    """Whether code of the user makes a network, or the one that it is trained from."""
    while ref.training is not None:
        ref = ref.training.alignment.network
    return ref.kind == "torch"


def behaviour(network: Network) -> str:
    """SHA-256 in hex of the logits for the inputs that the proof at load takes; empty where it cannot be run on them."""
    for inputs in network.given.standard(network.facts):
        with suppress(Exception):  # a network may take whole numbers only; what it takes is tried at hand
            return _digest(network, inputs)
    return ""


def behaviour_at_hand(network: Network, inputs: Iterable[Inputs]) -> str:
    """SHA-256 in hex of the logits for some of the inputs that are about to be run."""
    found = hashlib.sha256()
    for some in inputs:
        if len(some):
            with suppress(Exception):  # what it raises is told by the run itself
                found.update(_digest(network, some.rows(some.some())).encode())
    return found.hexdigest()


@torch.no_grad()
def _digest(network: Network, batch: InputRows) -> str:
    logits = forward(network, batch, readout=torch.arange(len(batch))).logits
    assert logits is not None
    return hashlib.sha256(logits.float().contiguous().cpu().numpy().tobytes()).hexdigest()


__all__ = ["behaviour", "behaviour_at_hand", "of_code"]
