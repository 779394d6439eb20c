"""Interventions on edges by whole forward passes. Each pass has rows of as many interventions as fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.engine.activation_cache import PassActivations
from causal_dsl.engine.looked_at import Looks
from causal_dsl.engine.network_share import Context
from causal_dsl.engine.reference import ReferenceExecutor
from causal_dsl.engine.same_beginnings import SameBeginnings
from causal_dsl.inputs.batches import Batch
from causal_dsl.inputs.protocol import InputRows
from causal_dsl.network import edge_terms
from causal_dsl.network.continued import Beginnings
from causal_dsl.network.edge_pass import edges_together
from causal_dsl.network.edge_terms import Room
from causal_dsl.network.edges import EdgeWrite, adds_up, all_senders
from causal_dsl.network.forward import SiteWrite, forward
from causal_dsl.planning import graph as g
from causal_dsl.planning.edge_room import edge_tokens, kept_bytes
from causal_dsl.planning.pass_layout import Family, Layout
from causal_dsl.vocabulary.locations import Site
from causal_dsl.vocabulary.ports import Port, Reach

#: The tokens from which on the beginnings of rows are left out: to compute what is kept of them takes as long as some tokens more.
WORTH_LEAVING_OUT = 256


@dataclass(frozen=True, eq=False)
class EdgeBatch:
    """Some interventions on the same pairs, of which those of ``batch``, with at most so many ``tokens``."""

    families: Sequence[Family]
    batch: np.ndarray
    tokens: int

    @property
    def rows(self) -> int:
        """How many rows they are."""
        return len(self.families) * len(self.batch)


class EdgeExecutor(ReferenceExecutor):
    """Runs steps of interventions on edges; all else as the reference does."""

    def __init__(self, context: Context):
        super().__init__(context)
        self.room = Room(kept_bytes(context.budget, edge_terms.KEPT))
        self.beginnings = Beginnings(self.network)

    def _each(
        self, layout: Layout, kept: PassActivations, places: Looks | None
    ) -> Iterator[tuple[Family, tuple[Tensor, np.ndarray]]]:
        if places is not None and any(key[0] in {f.resume for f in layout.families} for key in places.watches):
            yield from super()._each(
                layout, kept, places
            )  # what is read at places is read intervention by intervention
            return
        stacked = []
        for family in layout.families:
            if family.taken or any(write.to is None for write in family.resume.writes) or self._zeros_apart(family):
                # a run of its own: that vectors are taken from, in which sites are written, or not all with zeros
                yield family, self._patched(layout, family, kept, None, places)
            else:
                stacked.append(family)
        loads: list[list[EdgeBatch]] = []
        for load in self._loads(layout, stacked):  # few pairs, as those of a noise floor, ride along with others
            before = loads[-1] if loads else []
            if before and self._rows(before) + load.rows <= self._fit(max(one.tokens for one in (*before, load))):
                before.append(load)
            else:
                loads.append([load])
        waiting = {family.resume: len(family.pairs) for family in stacked}
        found: dict[g.Resume, list[tuple[np.ndarray, Tensor]]] = {family.resume: [] for family in stacked}
        changes = {family.resume: np.zeros((len(family.resume.writes), 2)) for family in stacked}
        for together in loads:
            for family, batch, logits in self._together(layout, together, kept, changes):
                found[family.resume].append((batch, logits))
                waiting[family.resume] -= len(batch)
                if not waiting[family.resume]:
                    parts = found.pop(family.resume)
                    back = np.argsort(np.concatenate([batch for batch, _ in parts]), kind="stable")
                    every = torch.cat([logits for _, logits in parts])
                    whole = every.index_select(0, torch.from_numpy(back).to(every.device))
                    yield family, (whole, changes[family.resume])

    def _zeros_apart(self, family: Family) -> bool:
        """Whether zeros are written, but not at all places alike, or in a network whose stream is more than what senders give: then
        what is left of the stream at a token is not the sum of those whose edges are left."""
        writes, spots = family.resume.writes, family.spots
        if not any(write.zero for write in writes):
            return False
        first = spots[0]
        alike = all(  # of late senders fewer tokens are looked at: what is at the others is read by no one
            np.array_equal(one.which, first.which) and np.array_equal(one.positions, first.positions)
            for one in spots[1:]
        )
        places = [write.place.site for write in writes]
        heads = [(_part(site), head) for site in places for head in self._heads(site)]
        once = len(set(heads)) == len(heads)
        known = all(write.zero for write in writes) and {_part(site) for site in places} <= self.senders
        return not (alike and once and known and self.adds_up)

    @cached_property
    def adds_up(self) -> bool:
        """Whether the stream of the network is the sum of what its senders give."""
        return adds_up(self.network, self.inputs.rows(np.array([0])), self.network.padding)

    @cached_property
    def senders(self) -> set[tuple[str, int | None]]:
        """The sites of all senders."""
        return all_senders(self.network, Port("logits"))

    def _heads(self, site: Site) -> Sequence[int]:
        """The heads of a site that are written; of others than heads the whole, as one."""
        return (site.heads or range(self.network.facts.heads or 1)) if site.component == "z" else (0,)

    def _others(self, family: Family) -> list[Site]:
        """Of a run that writes zeros the senders that it does not write: what they give is there as it is."""
        if not any(write.zero for write in family.resume.writes):
            return []
        left = {sender: set(self._heads(Site(*sender))) for sender in self.senders}
        for write in family.resume.writes:
            site = write.place.site
            left[site.component, site.layer] -= set(self._heads(site))
        found = []
        for (component, layer), heads in left.items():
            if heads:
                found.append(Site(component, layer, tuple(sorted(heads)) if component == "z" else ()))
        return found

    @staticmethod
    def _rows(loads: Sequence[EdgeBatch]) -> int:
        return sum(load.rows for load in loads)

    def _loads(self, layout: Layout, of: Sequence[Family]) -> Iterator[EdgeBatch]:
        """Interventions on the same pairs, as many as fit, and of the pairs as many as fit where those of one do not."""
        alike: dict[tuple[object, bytes], list[Family]] = {}
        for family in of:
            alike.setdefault((family.resume.base, family.pairs.tobytes()), []).append(family)
        for families in alike.values():
            homes = layout.prompt_rows(families[0].resume.base, families[0].resume, families[0].pairs)
            lengths = self.inputs.lengths[layout.inputs[homes]]
            longest = int(lengths.max(initial=1))
            most = max(1, self._fit(longest) // max(1, len(homes)))
            order = np.argsort(lengths, kind="stable")
            for start in range(0, len(families), most):
                own = families[start : start + most]
                size = max(1, self._fit(longest) // len(own))
                for first in range(0, len(order), size):
                    batch = order[first : first + size]
                    yield EdgeBatch(own, batch, int(lengths[batch].max(initial=1)))

    def _fit(self, tokens: int) -> int:
        """As many as fit the budget, and no more than those whose senders' terms are kept for later receivers."""
        fit = edge_tokens(self.network.facts, self.context.budget, edge_terms.KEPT)
        return min(super()._fit(tokens), max(1, fit // max(1, tokens)))

    def _together(
        self, layout: Layout, loads: Sequence[EdgeBatch], kept: PassActivations, changes: dict[g.Resume, np.ndarray]
    ) -> Iterator[tuple[Family, np.ndarray, Tensor]]:
        """Interventions as the rows of one batch: of each its logits on some of its pairs."""
        values = self.context.values(kept, {})
        each = [(family, load.batch) for load in loads for family in load.families]
        homes = [layout.prompt_rows(family.resume.base, family.resume, family.pairs)[batch] for family, batch in each]
        inputs = layout.inputs[np.concatenate(homes)]
        prompts = self.inputs.rows(inputs)
        read = np.concatenate([layout.rows.read[family.rows[batch]] for family, batch in each])
        whole = self.network.given.batch(self.network, prompts, self.network.padding)
        left_out = self._left_out(layout, each, whole, read)
        run = whole if not left_out else self.beginnings.goes_on(whole, left_out)
        begins = -run.offsets.numpy()
        writes: list[EdgeWrite] = []
        whose: list[tuple[g.Resume, int] | None] = []
        count = 0
        for family, batch in each:
            place = np.full(len(family.pairs), -1)
            place[batch] = count + np.arange(len(batch))
            count += len(batch)
            where: list[tuple[np.ndarray, np.ndarray, Tensor, Tensor]] = []  # the places of the last write
            everywhere: tuple[Tensor, Tensor] | None = None  # and of that with the most
            for number, (write, spot) in enumerate(zip(family.resume.writes, family.spots, strict=True)):
                here = np.nonzero((place[spot.which] >= 0) & spot.live)[0]
                runs = spot.positions[here] >= begins[place[spot.which[here]]]
                changes[family.resume][number] += len(here) - runs.sum(), 0  # where nothing changes
                here = here[runs]
                if not len(here):
                    continue
                assert write.to is not None
                at, there = place[spot.which[here]], spot.positions[here]
                if not where or not (np.array_equal(where[0][0], at) and np.array_equal(where[0][1], there)):
                    where = [(at, there, torch.from_numpy(at), torch.from_numpy(there))]
                *_, rows, positions = where[0]
                if everywhere is None or len(rows) > len(everywhere[0]):
                    everywhere = rows, positions
                made = SiteWrite(write.place.site, rows, positions, values.edit(write, family, number, here))
                writes.append(EdgeWrite(made, write.to, write.zero))
                whose.append((family.resume, number))
            reach = family.resume.writes[0].to
            if everywhere is not None and reach is not None:
                for site in self._others(family):
                    nobody = Reach(reach.ports, (0,) * len(self._heads(site)))
                    writes.append(EdgeWrite(SiteWrite(site, *everywhere, torch.zeros_like), nobody, True))
                    whose.append(None)
        if writes:
            with edges_together(self.network, run, writes, self.room) as acted:
                found = self._forward(prompts, run, read)
            for place_, (acts, change) in acted.items():
                known = whose[place_]
                if known is None:
                    continue
                resume, number = known
                changes[resume][number] += acts, float(change.double().nan_to_num(posinf=0.0).sum())
        else:
            found = self._forward(prompts, run, read)
        self.context.tick(self._tokens(inputs))
        for (family, batch), logits in zip(each, found.split([len(batch) for _, batch in each]), strict=True):
            yield family, batch, logits

    def _left_out(
        self, layout: Layout, each: Sequence[tuple[Family, np.ndarray]], whole: Batch, read: np.ndarray
    ) -> int:
        """How many columns of a batch need not be run again: no write changes anything there, and nothing is read there. A noise
        floor, of which nothing changes anywhere, has as many as those that it rides along with."""
        alike = SameBeginnings(self.context.layouts, layout, self.inputs)
        first, count = np.full(whole.rows, whole.longest), 0
        for family, batch in each:
            first[count : count + len(batch)] = alike.first_changed(family, whole.longest)[batch]
            count += len(batch)
        changed = first < whole.longest
        if not changed.any():
            return 0
        offsets = whole.offsets.numpy()
        found = min(int((first + offsets)[changed].min()), int((read + offsets).min()))
        worth = found * len(layout.families) * len(each[0][1]) >= WORTH_LEAVING_OUT
        return found if worth and self.beginnings.usable else 0

    def _forward(self, prompts: InputRows, batch: Batch, read: np.ndarray) -> Tensor:
        outcome = forward(
            self.network,
            prompts,
            [],
            [],
            readout=torch.arange(len(read)),
            positions=torch.from_numpy(read),
            stop=False,
            padding=self.network.padding,
            batch=batch,
        )
        assert outcome.logits is not None
        return outcome.logits


def _part(site: Site) -> tuple[str, int | None] | None:
    """The component and layer of a site that is written with all its numbers."""
    return None if site.dims is not None else (site.component, site.layer)


__all__ = ["EdgeExecutor"]
