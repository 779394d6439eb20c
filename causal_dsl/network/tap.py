"""Where a site is in a loaded network, as a value."""

from __future__ import annotations

from dataclasses import field, replace

import torch
from torch import nn

from causal_dsl.base.quick_dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class Tap:
    """Where a site is.

    ``side`` is ``in`` or ``out`` of ``module``, or ``attention``: what the attention of ``module`` compares
    (``q_rot``, ``k_rot``, ``pattern``); of a mixture of experts the ``router`` and the ``expert 3``
    (:mod:`causal_dsl.network.expert_modules`). ``columns`` of the tensor's last axis are the site's vector, None for all of
    them. What is read is multiplied by ``scale``, what is written divided by it. ``rank`` orders sites of one tensor.
    """

    module: nn.Module
    path: str
    side: str
    rank: float
    columns: torch.Tensor | None = None
    scale: float = 1.0
    #: The columns as a slice where :meth:`with_columns` found that they lie side by side: a view of them costs nothing.
    spot: slice | torch.Tensor = field(init=False, default_factory=lambda: slice(None))

    def __post_init__(self) -> None:
        if self.columns is not None:  # however columns were set: never a slice of others
            object.__setattr__(self, "spot", self.columns)

    def with_columns(self, columns: torch.Tensor, device: torch.device | None = None) -> Tap:
        """The same of some columns, given on the CPU and kept on ``device``: an index that travels at every use makes a device wait."""
        numbers = columns.tolist()
        beside = bool(numbers) and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        found = replace(self, columns=columns if device is None else columns.to(device))
        if beside:
            object.__setattr__(found, "spot", slice(numbers[0], numbers[-1] + 1))
        return found
