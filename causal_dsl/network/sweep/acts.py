"""The reads and writes of a pass, and where they are: every index made before it begins, where it will be needed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from causal_dsl.base.faults import OwnFault
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.inputs.batches import Points
from causal_dsl.network.attention_weights import Wanted, want
from causal_dsl.network.forward import Jobs, add_sum_read, add_write
from causal_dsl.network.network import Network
from causal_dsl.network.sending import sent
from causal_dsl.network.site_tensors import READ_FIRST
from causal_dsl.network.site_tensors import tap as find_tap
from causal_dsl.network.sweep.head import Head
from causal_dsl.network.sweep.ragged_batch import Attention, attention_of
from causal_dsl.network.tap import Tap
from causal_dsl.network.tape import Places, SiteRead, SiteWrite, Tape, TapeJob, WriteCount
from causal_dsl.planning.liveness import ANYWHERE, BOTTOM, ENTRY, Schedule, place_of
from causal_dsl.planning.memory import MOST_KEYS_CPU, MOST_KEYS_DEVICE
from causal_dsl.program.components import in_time
from causal_dsl.vocabulary.components import COMPONENTS


class Acts:
    """``jobs`` act inside layers, by module and side; ``leaving[level]`` read what a layer left, of the tokens that are live before;
    ``entering[level]`` write what the next one is given, of its own live tokens; ``wanted`` what attention compares.

    ``level`` is the one that is running, -1 before the first layer.
    """

    def __init__(self, network: Network, plan: Schedule, tape: Tape, head: Head):
        self.network, self.plan, self.tape, self.head = network, plan, tape, head
        self.layers = list(network.layers)
        self.level = -1
        self.jobs: Jobs = defaultdict(list)
        self.wanted: dict[nn.Module, Wanted] = {}
        self.leaving: dict[int, list[TapeJob]] = defaultdict(list)
        self.entering: dict[int, list[TapeJob]] = defaultdict(list)
        #: reads of rows that are written, of what the next layer is given
        self.given: dict[int, list[TapeJob]] = defaultdict(list)
        self._devices = [network.device_of(layer) for layer in self.layers]
        self._enlist()
        self._index()

    def _put(self, array: np.ndarray, level: int) -> Tensor:
        device = self._devices[min(level, len(self.layers) - 1)] if self.layers else self.network.device
        return sent(array, device)

    def _refuse_early(self) -> None:
        """Refuse a schedule in which something is written before what it is made from is read."""
        for write in self.tape.writes:
            for site in write.needs:
                if not in_time(site, write.site):
                    raise OwnFault(f"`{write.site}` is written before `{site}` is read, which it is made from")

    def _enlist(self) -> None:
        self._refuse_early()
        for writing in (True, False):
            every: Sequence[SiteRead | SiteWrite] = self.tape.writes if writing else self.tape.reads
            for number, access in enumerate(every):
                level, phase = place_of(access.site, len(self.layers))
                rows = np.asarray(access.rows, np.int64)
                if not len(rows):
                    if writing:
                        self.tape.fired[number] = WriteCount(0, torch.zeros(0))
                    continue
                places = np.zeros_like(rows) if access.positions is None else np.asarray(access.positions, np.int64)
                if access.site.component == "logits":
                    self.head.late.append((writing, number, rows, places))
                    continue
                tap = find_tap(self.network, access.site)
                if not writing and access.after:  # type: ignore[union-attr]
                    self._after(number, tap, level, phase, rows, places)
                    continue
                if phase == ENTRY:
                    if writing:
                        here = self._points(self.plan.find(level, rows, places), level)
                        self.entering[level].append(self.tape.writer(number, tap, here))
                    else:
                        before = self._leaving(level, rows, places)
                        self.leaving[level].append(
                            self.tape.reader(number, tap, self._points(before, max(0, level - 1)))
                        )
                    continue
                points: Places
                if phase == BOTTOM:
                    points = self._points(self.bottom(rows, places), 0)
                elif phase == ANYWHERE:
                    points = Anywhere(self, rows, places)
                else:
                    at = self.plan.levels[level].at if writing else partial(self._here, level)
                    points = self._points(at(rows, places), level)
                if COMPONENTS[access.site.component].compared:
                    assert isinstance(points, Points)
                    inside = Points(torch.zeros_like(points.rows), points.rows)  # heads come as [1, tokens, …]
                    want(self.network, self.tape, self.wanted, number, writing, inside, reads_first=True)
                elif phase == ANYWHERE and tap.module in self.layers:
                    (self._any_write if writing else self._any_read)(number, tap, rows, places)
                elif writing:
                    add_write(self.network, self.tape, self.jobs, number, points)
                elif not add_sum_read(self.network, self.tape, self.jobs, number, points):
                    job = self.tape.reader(number, tap, points)
                    self.jobs[tap.module, tap.side].append(TapeJob((READ_FIRST, 0, number), job.act))

    def _after(self, number: int, tap: Tap, level: int, phase: int, rows: np.ndarray, places: np.ndarray) -> None:
        """A read of what is there after the writes. A row that does not carry a token has its prompt's."""
        site = self.tape.reads[number].site
        if phase == ENTRY or (phase == ANYWHERE and tap.module in self.layers):
            level = level if phase == ENTRY else self.layers.index(tap.module) + 1
            self.given[level].append(
                self.tape.reader(number, tap, self._points(self._here(level, rows, places), level))
            )
            return
        points: Places
        if phase == BOTTOM:
            found = self.bottom(rows, places)
            points = self._points(np.where(found >= 0, found, self.bottom(self.plan.home[rows], places)), 0)
        elif phase == ANYWHERE:
            points = Anywhere(self, rows, places)
        else:
            points = self._points(self._here(level, rows, places), level)
        if COMPONENTS[site.component].compared:
            assert isinstance(points, Points)
            inside = Points(torch.zeros_like(points.rows), points.rows)
            want(self.network, self.tape, self.wanted, number, False, inside)
        else:
            self.jobs[tap.module, tap.side].append(self.tape.reader(number, tap, points))

    def _here(self, level: int, rows: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Where tokens lie among those that are live at a level, or those of the prompts of rows that do not carry them."""
        own = self.plan.levels[level].at(rows, places)
        return np.where(own >= 0, own, self.plan.levels[level].at(self.plan.home[rows], places))

    def _any_write(self, number: int, tap: Any, rows: np.ndarray, places: np.ndarray) -> None:
        level = self.layers.index(tap.module) + 1
        points = self._points(self.plan.find(level, rows, places), level)
        self.entering[level].append(self.tape.writer(number, tap, points))

    def _any_read(self, number: int, tap: Any, rows: np.ndarray, places: np.ndarray) -> None:
        level = self.layers.index(tap.module) + 1
        points = self._points(self._leaving(level, rows, places), level - 1)
        self.leaving[level].append(self.tape.reader(number, tap, points))

    def _points(self, found: np.ndarray, level: int) -> Points:
        if not (found >= 0).all():
            raise OwnFault("a place is not live where it is read or written")
        return Points(self._put(found, level), None)

    def bottom(self, rows: np.ndarray, places: np.ndarray) -> np.ndarray:
        at = np.full(len(self.plan.home), -1)
        at[self.plan.batch] = np.arange(len(self.plan.batch))
        found: np.ndarray = np.where(at[rows] >= 0, at[rows] * self.plan.width + places, -1)
        return found

    def _leaving(self, level: int, rows: np.ndarray, places: np.ndarray) -> np.ndarray:
        if level == 0:
            found = self.bottom(rows, places)
            return np.where(found >= 0, found, self.bottom(self.plan.home[rows], places))
        return self._here(level - 1, rows, places)

    def _index(self) -> None:
        """The index of the live tokens of every layer, and of the attention between them."""
        levels, put = self.plan.levels, self._put
        self.sources = [None if f.source is None else put(f.source, max(0, i - 1)) for i, f in enumerate(levels)]
        self.homes: list[Any] = []
        self.attention: list[Attention] = []
        for level, live in enumerate(levels[:-1]):
            if self.plan.whole:
                self.homes.append(put(self.plan.home[np.unique(live.rows)], level))
                continue
            most = MOST_KEYS_DEVICE if self._devices[level].type != "cpu" else MOST_KEYS_CPU
            facts = self.network.facts
            each = max(1, (facts.kv_heads or facts.heads or 1) * (facts.head_dim or 1))
            self.attention.append(attention_of(self.plan, level, max(1, most // each), partial(put, level=level)))
            homes = [self.plan.home[live.rows], live.positions, self.plan.home[live.keys_rows], live.keys_positions]
            self.homes.append(tuple(put(a, level) for a in homes))


@dataclass(frozen=True, eq=False)
class Anywhere:
    """Places in a module that may stand anywhere: looked up at the level that is running when it runs."""

    of: Acts
    rows: np.ndarray
    places: np.ndarray

    def on(self, device: torch.device) -> tuple[Tensor, ...]:
        """Where they lie among the live tokens."""
        of = self.of
        if of.level < 0:
            found = of.bottom(self.rows, self.places)
            found = np.where(found >= 0, found, of.bottom(of.plan.home[self.rows], self.places))
        else:
            found = of._here(of.level, self.rows, self.places)
        if not (found >= 0).all():
            raise OwnFault("a place is not live where it is read or written")
        return (sent(found, device),)

    def copy_of(self, tensor: Tensor) -> Tensor:
        """A copy of what is there [m, …]."""
        return tensor[self.on(tensor.device)]
