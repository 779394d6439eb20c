"""A list of inputs of a causal model, each with its weight."""

from __future__ import annotations

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.condition_functions import Condition


@dataclass
class Support:
    """Columns of codes of every variable, ``[n]`` each, and the weight of each row: probability is weight / total.

    ``broken`` is the condition that left no row, where none is left.
    """

    values: dict[str, np.ndarray]
    weights: np.ndarray
    broken: Condition | None = None

    @property
    def n(self) -> int:
        return len(self.weights)

    @property
    def total(self) -> int:
        return int(self.weights.sum())
