"""The metric of a test as a number that gradients are taken of: from logits, pair by pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.engine.readings import Targets
from causal_dsl.engine.readout import measure
from causal_dsl.measures.cell_data import CellData
from causal_dsl.measures.gradients import derived
from causal_dsl.measures.per_pair import Pair
from causal_dsl.measures.quantities import Columns, Quantity
from causal_dsl.program.answers import Answers
from causal_dsl.program.program import Test


@dataclass(frozen=True, eq=False)
class MetricGradient:
    """``metric`` of pairs of ``test``; ``targets`` gives the ids whose logits it asks for."""

    metric: Pair
    test: Test
    answers: Answers
    targets: Targets

    def values(self, logits: Tensor, base: Tensor, pairs: np.ndarray) -> np.ndarray:
        """The metric [m] of runs with these ``logits`` [m, vocabulary]; ``base``: of the plain runs of the same pairs."""
        own, beside = self._quantities()
        frame = self._frame(self._measured(logits, own, base, pairs), self._measured(base, beside, base, pairs), pairs)
        return self.metric.of(frame, "patched")

    def total(self, logits: Tensor, base: Tensor, pairs: np.ndarray) -> Tensor:
        """A number whose gradient is that of the sum of the metric over the pairs."""
        own, beside = self._quantities()
        measured = self._measured(logits, own, base, pairs)
        frame = self._frame(measured, self._measured(base, beside, base, pairs), pairs)
        by = derived(self.metric, frame).by
        parts = [
            (torch.from_numpy(np.ascontiguousarray(by[q])).to(values) * values).sum()
            for q, values in measured.items()
            if q in by
        ]
        return torch.stack(parts).sum() if parts else logits.sum() * 0

    def _quantities(self) -> tuple[list[Quantity], list[Quantity]]:
        needs = list(dict.fromkeys(self.metric.needs("patched")))
        return [q for run, q in needs if run == "patched"], [q for run, q in needs if run != "patched"]

    def _measured(
        self, logits: Tensor, quantities: Sequence[Quantity], base: Tensor, pairs: np.ndarray
    ) -> dict[Quantity, Tensor]:
        targets = {
            q: torch.from_numpy(self.targets(self.test, q)[pairs]).to(logits.device)
            for q in quantities
            if q.of is not None
        }
        classes = None
        if self.test.readout.kind == "logits" and self.answers.among is not None:
            classes = torch.tensor(list(self.answers.among), device=logits.device)
        return measure(logits, quantities, targets, classes, base.detach())

    @staticmethod
    def _frame(own: dict[Quantity, Tensor], beside: dict[Quantity, Tensor], pairs: np.ndarray) -> CellData:
        plain: Callable[[Tensor], np.ndarray] = lambda values: values.detach().double().cpu().numpy()  # noqa: E731
        columns = Columns({q: plain(v) for q, v in beside.items()}, {q: plain(v) for q, v in own.items()})
        return CellData(columns, np.zeros(len(pairs), np.int64))


__all__ = ["MetricGradient"]
