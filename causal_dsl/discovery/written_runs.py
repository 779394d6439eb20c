"""The writes of an intervention in batches of pairs, for passes that look at its run again: with gradients, and with one write more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.engine.execute import Execution
from causal_dsl.engine.reference import ReferenceExecutor
from causal_dsl.network.forward import SiteWrite
from causal_dsl.planning import graph as g
from causal_dsl.planning.steps import Step


@dataclass(eq=False)
class WrittenRun:
    """The run ``resume`` of a plan that was executed: what it takes from other runs is computed once, at the first batch."""

    execution: Execution
    resume: g.Resume

    def __post_init__(self) -> None:
        key = self.resume.base.network
        context = self.execution.contexts[key]
        step = Step(key, resumes=(self.resume,))
        with torch.no_grad():
            layout, kept = ReferenceExecutor(context).taken(step)
        self._family, self._values = layout.family[self.resume], replace(context.values(kept, {}), watch=None)

    def writes(self, which: np.ndarray) -> list[SiteWrite]:
        """The vectors that are written in the runs of some pairs, each a row of a batch, in order."""
        family = self._family
        rows = family.back[which]
        found = []
        for number, (write, spot) in enumerate(zip(self.resume.writes, family.spots, strict=True)):
            bounds = [np.searchsorted(spot.which, rows, side) for side in ("left", "right")]
            here = [np.arange(first, last) for first, last in zip(*bounds, strict=True)]
            batch = np.repeat(np.arange(len(rows)), [len(one) for one in here])
            alive = np.concatenate(here) if here else np.zeros(0, np.int64)
            batch, alive = batch[spot.live[alive]], alive[spot.live[alive]]
            if len(alive):
                edit = self._values.edit(write, family, number, alive)
                positions = torch.from_numpy(spot.positions[alive])
                found.append(SiteWrite(write.place.site, torch.from_numpy(batch), positions, edit))
        return found


__all__ = ["WrittenRun"]
