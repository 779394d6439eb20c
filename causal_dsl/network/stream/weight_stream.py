"""The two places in memory that the weights of a streamed network take turns in, and the threads that read into them.

While a layer runs from one of them, the next one is read into the other: the next upwards, or, once gradients go
backwards, the next below. A tensor is used as soon as it is there itself, whether or not the rest of its layer is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import field
from threading import RLock

import torch
from torch import Tensor

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.network.stream.tensor_files import TensorFiles

#: Threads that read: several keep a fast disk busy.
READERS = max(1, min(4, (os.cpu_count() or 1) // 2))
#: The least that a place holds. Less is read at once, and what lies outside layers is read in pieces of this size or more.
LEAST = 1 << 26
#: Tensors begin at multiples of this in a place, and what of one is left is where it is in the memory of a network that maps
#: its files: products of matrices differ in their last bits with where in a cache line a matrix begins.
_ALIGNED = 64


@dataclass(eq=False)
class StreamedPart:
    """A parameter of a streamed network: ``fill(out, first)`` reads its numbers from ``first`` on. ``group``: the number of
    its layer; None outside of layers. ``size`` in bytes."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    fill: Callable[[Tensor, int], None]
    group: int | None = None
    #: where in its file it begins, for one that is used as it is stored; 0 for others
    begin: int = 0

    @property
    def size(self) -> int:
        return self.count * self.dtype.itemsize

    @property
    def room(self) -> int:
        """The bytes that it takes in a place, wherever it begins there."""
        return -(-self.size // _ALIGNED) * _ALIGNED + _ALIGNED

    @property
    def count(self) -> int:
        return int(torch.Size(self.shape).numel())


@dataclass(eq=False)
class _Slot:
    """One place: ``parts`` of what it holds (``key``), each with the reading that fills it; ``users`` are at work on it."""

    room: Tensor
    key: Hashable = None
    parts: dict[Hashable, tuple[Tensor, Future[None]]] = field(default_factory=dict)
    users: int = 0
    used: int = 0
    #: on a GPU: when what was computed from it last is done
    done: torch.cuda.Event | None = None


class WeightStream:
    """The weights of a network that are read as they are needed. ``reads[group]``: how often each layer was read."""

    def __init__(self, files: TensorFiles, parts: Sequence[StreamedPart], device: torch.device):
        self.files, self.device, self.parts = files, device, tuple(parts)
        self.groups: dict[int, list[StreamedPart]] = {}
        for part in parts:
            if part.group is not None:
                self.groups.setdefault(part.group, []).append(part)
        largest = max((sum(part.room for part in own) for own in self.groups.values()), default=0)
        self.slot_bytes = max(largest, min(LEAST, sum(part.room for part in parts)))
        self.reads: dict[int, int] = dict.fromkeys(self.groups, 0)
        self._slots: list[_Slot] = []
        self._lock, self._readers = RLock(), ThreadPoolExecutor(READERS, thread_name_prefix="weights")
        self._now: int | None = None
        self._step, self._clock = 1, 0
        self._copies = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __del__(self) -> None:
        readers = getattr(self, "_readers", None)
        if readers is not None:
            readers.shutdown(wait=False, cancel_futures=True)

    # ── layers ──────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def held(self, part: StreamedPart) -> Iterator[Tensor]:
        """The numbers of a parameter, for as long as something is computed from them."""
        if part.group is None:
            found = torch.empty(part.shape, dtype=part.dtype, device=self.device)
            part.fill(found, 0)
            yield found
            return
        slot = self._slot_of(part.group)
        if slot is None:  # both places are at work
            with self.held(StreamedPart(part.name, part.shape, part.dtype, part.fill)) as found:
                yield found
            return
        with self._using(slot):
            view, reading = slot.parts[part]
            reading.result()
            yield view.view(part.shape)

    def _slot_of(self, group: int) -> _Slot | None:
        """The place of a layer, which is read into one where it is in none; the layer that comes next is asked for."""
        with self._lock:
            slot = next((one for one in self._room() if one.key == group), None) or self._load(
                group, {part: (part, 0, part.count) for part in self.groups[group]}
            )
            if slot is None:
                return None
            slot.users += 1  # so that what comes next takes the other place
            if group != self._now:
                self._step = -1 if self._now is not None and group == self._now - 1 else 1
                self._now = group
                ahead = group + self._step
                if ahead in self.groups and all(one.key != ahead for one in self._slots):
                    self._load(ahead, {part: (part, 0, part.count) for part in self.groups[ahead]})
            slot.users -= 1
            return slot

    @contextmanager
    def _using(self, slot: _Slot) -> Iterator[None]:
        with self._lock:
            slot.users += 1
        try:
            yield
        finally:
            with self._lock:
                slot.users -= 1
                self._clock += 1
                slot.used = self._clock
                if self._copies is not None:
                    slot.done = slot.done or torch.cuda.Event()
                    slot.done.record(torch.cuda.current_stream(self.device))

    def _room(self) -> list[_Slot]:
        if not self._slots:
            self._slots = [_Slot(torch.empty(self.slot_bytes, dtype=torch.uint8, device=self.device)) for _ in range(2)]
        return self._slots

    def _load(self, key: Hashable, wanted: Mapping[Hashable, tuple[StreamedPart, int, int]]) -> _Slot | None:
        """Begin to read parts (from which number on, and how many) into the place that was used longest ago; None where both
        are at work."""
        free = [slot for slot in self._room() if not slot.users]
        if not free:
            return None
        slot = min(free, key=lambda one: one.used)
        for _, reading in slot.parts.values():
            if not reading.cancel():
                reading.exception()  # whoever asked for it is gone: what it raised concerns nobody
        slot.key, slot.parts, at = key, {}, 0
        self._clock += 1
        slot.used = self._clock
        if isinstance(key, int):
            self.reads[key] += 1
        for name, (part, first, count) in wanted.items():
            size, each = count * part.dtype.itemsize, part.dtype.itemsize
            start = at + (part.begin + first * each) % _ALIGNED
            view = slot.room[start : start + size].view(part.dtype)
            slot.parts[name] = view, self._readers.submit(self._read, part, view, first, slot.done)
            at += -(-size // _ALIGNED) * _ALIGNED + _ALIGNED
        return slot

    @torch.no_grad()
    def _read(self, part: StreamedPart, view: Tensor, first: int, done: torch.cuda.Event | None) -> None:
        with torch.cuda.stream(self._copies) if self._copies is not None else nullcontext():
            if self._copies is not None and done is not None:
                self._copies.wait_event(done)
            part.fill(view, first)

    # ── what lies outside of layers ─────────────────────────────────────────────────────────────

    def pieces(self, part: StreamedPart) -> Iterator[Tensor]:
        """A matrix in pieces of rows, each while the next one is read. A piece holds until the next is asked for."""
        count, each = part.shape[0], part.count // max(1, part.shape[0])
        rows = max(1, (self.slot_bytes - 2 * _ALIGNED) // max(1, each * part.dtype.itemsize))
        starts = list(range(0, count, rows))

        def load(start: int) -> _Slot | None:
            with self._lock:
                size = min(rows, count - start) * each
                return self._load((part, start), {part: (part, start * each, size)})

        slot = load(starts[0]) if rows * each * part.dtype.itemsize <= self.slot_bytes - 2 * _ALIGNED else None
        for start in starts:
            shape = (min(rows, count - start), *part.shape[1:])
            if slot is None:  # a row is larger than a place, or both are at work
                found = torch.empty(shape, dtype=part.dtype, device=self.device)
                part.fill(found, start * each)
                yield found
                continue
            with self._using(slot):
                following = load(start + rows) if start + rows < count else None
                view, reading = slot.parts[part]
                reading.result()
                yield view.view(shape)
            slot = following

    def rows(self, part: StreamedPart, wanted: Tensor) -> Tensor:
        """Rows of a matrix [len(wanted), …], read one by one; neighbours together. ``wanted`` is in rising order."""
        numbers = wanted.tolist()
        found = torch.empty((len(numbers), *part.shape[1:]), dtype=part.dtype)
        each = part.count // max(1, part.shape[0])
        begin = 0
        while begin < len(numbers):
            end = begin + 1
            while end < len(numbers) and numbers[end] == numbers[end - 1] + 1:
                end += 1
            part.fill(found[begin:end], numbers[begin] * each)
            begin = end
        return found.to(self.device)
