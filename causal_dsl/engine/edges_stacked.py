"""Interventions on edges by whole forward passes. Each pass has rows of as many interventions as fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from causal_dsl.engine.activation_cache import PassActivations
from causal_dsl.engine.looks import Looks
from causal_dsl.engine.reference import ReferenceExecutor
from causal_dsl.inputs.protocol import InputRows
from causal_dsl.network.edge_pass import KEPT, TOGETHER, edges_together
from causal_dsl.network.edges import EdgeWrite
from causal_dsl.network.forward import SiteWrite, forward
from causal_dsl.planning.rows import Family, Layout

#: So many tokens are run together, whatever is kept of them.
_LEAST_TOKENS = 256


class EdgeExecutor(ReferenceExecutor):
    """Runs steps of interventions on edges; all else as the reference does."""

    def _each(
        self, layout: Layout, kept: PassActivations, places: Looks | None
    ) -> Iterator[tuple[Family, tuple[Tensor, np.ndarray]]]:
        if places is not None and any(key[0] in {f.resume for f in layout.families} for key in places.watches):
            yield from super()._each(
                layout, kept, places
            )  # what is read at places is read intervention by intervention
            return
        alike: dict[tuple[object, bytes], list[Family]] = {}
        for family in layout.families:
            alike.setdefault((family.resume.base, family.pairs.tobytes()), []).append(family)
        for families in alike.values():
            homes = layout.prompt_rows(families[0].resume.base, families[0].resume, families[0].pairs)
            lengths = self.inputs.lengths[layout.inputs[homes]]
            most = max(1, self._fit(int(lengths.max(initial=1))) // max(1, len(homes)))
            for start in range(0, len(families), most):
                yield from self._together(layout, families[start : start + most], kept)

    def _fit(self, tokens: int) -> int:
        """As many as fit the budget, and no more than those whose senders' terms are kept for later receivers."""
        facts = self.network.facts
        senders = 1 + (facts.layers or 1) * ((facts.heads or 1) + 1)
        kept = KEPT // ((senders + TOGETHER) * (facts.width or 1) * self.context.budget.size)
        return min(super()._fit(tokens), max(1, max(kept, _LEAST_TOKENS) // max(1, tokens)))

    def _together(
        self, layout: Layout, families: Sequence[Family], kept: PassActivations
    ) -> Iterator[tuple[Family, tuple[Tensor, np.ndarray]]]:
        """Interventions on the same pairs, run as the rows of one batch, and of several where there are many pairs."""
        values = self.context.values(kept, {})
        homes = [layout.prompt_rows(f.resume.base, f.resume, f.pairs) for f in families]
        lengths = self.inputs.lengths[layout.inputs[homes[0]]]
        order = np.argsort(lengths, kind="stable")
        size = max(1, self._fit(int(lengths.max(initial=1))) // len(families))
        changes = [np.zeros((len(f.resume.writes), 2)) for f in families]
        logits: list[list[Tensor]] = [[] for _ in families]
        for start in range(0, len(order), size):
            batch = order[start : start + size]
            writes: list[EdgeWrite] = []
            whose: list[tuple[int, int]] = []
            for turn, family in enumerate(families):
                place = np.full(len(family.pairs), -1)
                place[batch] = turn * len(batch) + np.arange(len(batch))
                for number, (write, spot) in enumerate(zip(family.resume.writes, family.spots, strict=True)):
                    here = np.nonzero((place[spot.which] >= 0) & spot.live)[0]
                    if not len(here) or write.to is None:
                        continue
                    rows, positions = torch.from_numpy(place[spot.which[here]]), torch.from_numpy(spot.positions[here])
                    made = SiteWrite(write.place.site, rows, positions, values.edit(write, family, number, here))
                    writes.append(EdgeWrite(made, write.to))
                    whose.append((turn, number))
            prompts = self.inputs.rows(layout.inputs[np.concatenate([own[batch] for own in homes])])
            read = np.concatenate([layout.rows.read[family.rows[batch]] for family in families])
            if writes:
                with edges_together(self.network, prompts, writes, self.network.padding) as acted:
                    found = self._forward(prompts, read)
                for place_, (count, change) in acted.items():
                    turn, number = whose[place_]
                    changes[turn][number] += count, float(change.double().nan_to_num(posinf=0.0).sum())
            else:
                found = self._forward(prompts, read)
            for own, part in zip(logits, found.split(len(batch)), strict=True):
                own.append(part)
            self.context.tick(len(families) * self._tokens(layout.inputs[homes[0][batch]]))
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        for turn, family in enumerate(families):
            every = torch.cat(logits[turn])
            yield family, (every.index_select(0, torch.from_numpy(back).to(every.device)), changes[turn])

    def _forward(self, prompts: InputRows, read: np.ndarray) -> Tensor:
        outcome = forward(
            self.network,
            prompts,
            [],
            [],
            readout=torch.arange(len(read)),
            positions=torch.from_numpy(read),
            stop=False,
            padding=self.network.padding,
        )
        assert outcome.logits is not None
        return outcome.logits


__all__ = ["EdgeExecutor"]
