"""Is a network after a run what it was before? The same few inputs, before the first block and after the last.

Two runs of one batch say nothing of a network that counts its calls and becomes another one later: half of the numbers are then those of
the other.
"""

from __future__ import annotations

import torch
from torch import Tensor

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.inputs import Inputs
from causal_dsl.inputs.protocol import InputRows
from causal_dsl.network.forward import forward
from causal_dsl.network.network import Network
from causal_dsl.network.steadiness import apart, most_of_batch, refused_change


@dataclass(frozen=True)
class Before:
    """The logits [rows, vocabulary] of a network for some inputs before it was run."""

    network: Network
    inputs: InputRows
    logits: Tensor

    def refuse_change(self) -> None:
        """Raise E663 where it now gives others, by more than rounding."""
        now = _logits(self.network, self.inputs)
        if now is None:
            return
        far = apart(now, self.logits)
        if far > most_of_batch(self.network.dtype):
            raise refused_change(self.network, far)


def before(network: Network, inputs: Inputs) -> Before | None:
    """The answers of a network to a few of the inputs of a run; None where it cannot be run on them by themselves."""
    if not len(inputs):
        return None
    rows = inputs.rows(inputs.some())
    logits = _logits(network, rows)
    return None if logits is None else Before(network, rows, logits.cpu())


@torch.no_grad()
def _logits(network: Network, inputs: InputRows) -> Tensor | None:
    try:
        return forward(network, inputs, readout=torch.arange(len(inputs))).logits
    except Exception:  # some take no such number of rows; what it raises in the run is told there
        return None


__all__ = ["Before", "before"]
