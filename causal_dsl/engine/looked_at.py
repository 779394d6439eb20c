"""The vectors that were read at places in the runs of one pass."""

from __future__ import annotations

from dataclasses import field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import NOWHERE
from causal_dsl.engine.attended_keys import as_wide
from causal_dsl.engine.network_share import Context
from causal_dsl.measures.quantities import Quantity
from causal_dsl.network.ending import Ending
from causal_dsl.planning import graph as g
from causal_dsl.planning.pass_layout import Layout
from causal_dsl.program.program import Test
from causal_dsl.vocabulary.locations import Place

#: A run, and a place in it.
Key = tuple[g.Forward | g.Resume, Place]


@dataclass(eq=False)
class Looks:
    """The vectors that the tests read at places in one pass. ``values[key]`` are the vectors there [k, width], in the order of the
    layout's watch of the key."""

    context: Context
    layout: Layout
    values: dict[Key, Tensor] = field(default_factory=dict)
    #: what several readings are made from
    shared: dict[Any, Any] = field(default_factory=dict)
    #: the numbers that were made already
    done: dict[object, dict[Quantity, np.ndarray]] = field(default_factory=dict)

    @property
    def watches(self) -> list[Key]:
        """The places that the pass reads."""
        return list(self.layout.watches)

    def take(self, key: Key, values: Tensor) -> None:
        """All vectors of a place."""
        self.values[key] = self._wide(key, values)

    def put(self, key: Key, index: Tensor, values: Tensor) -> None:
        """Some vectors of a place."""
        values = self._wide(key, values)
        if key not in self.values:
            self.values[key] = values.new_full((len(self.layout.watches[key].rows), values.shape[1]), float("nan"))
        self.values[key][index.to(values.device)] = values

    def _wide(self, key: Key, values: Tensor) -> Tensor:
        site = key[1].site
        if site.component != "pattern" or site.dims is not None:
            return values
        heads = len(site.heads) or self.context.network.facts.heads or 1
        return as_wide(values, heads, self.layout.width)

    def back(self, run: g.Forward | g.Resume, pairs: np.ndarray) -> np.ndarray:
        """Which of the pairs of a run's watches stands for each pair of the block."""
        if isinstance(run, g.Forward):
            return np.arange(len(pairs))
        return next(family.back for family in self.layout.families if family.resume == run)

    def ids(self, test: Test, quantity: Quantity, run: g.Forward | g.Resume, pairs: np.ndarray) -> Tensor:
        """The ids whose logits a quantity asks for in a run [n] (of sets [n, most])."""
        assert self.context.targets is not None
        role = run.role if isinstance(run, g.Forward) else run.base.role
        return torch.from_numpy(self.context.targets(test, Quantity("logit", quantity.of), role)[pairs])

    @cached_property
    def ending(self) -> Ending:
        """The end of the network, from the residual stream to logits."""
        inputs = self.context.plan.inputs[self.layout.network]
        shortest = self.layout.inputs[int(inputs.lengths[self.layout.inputs].argmin())]
        every = (read for scores in self.context.plan.scores.values() for score in scores for _, read in score.reads)
        span = next((looked.look.span for read in every for looked in read.looks), NOWHERE)
        return Ending(self.context.network, inputs.rows(np.array([shortest])), span)


__all__ = ["Key", "Looks"]
