"""Tensors of safetensors files, read from a place in a file into memory that is there already.

Nothing is mapped: what a mapping has touched counts as memory of the process, and a read into a buffer that is used again
does not.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import NOWHERE, Span, SpecError, fail, shown_path

#: Bytes that are read, and cast, at once.
PIECE = 1 << 24

#: How safetensors writes a type.
_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor is: its numbers begin at byte ``begin`` of ``path``."""

    path: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int


class _Staging(threading.local):
    """Memory of each thread that reads, through which numbers go that are cast or that go on to another device."""

    def __init__(self) -> None:
        self.raw: Tensor | None = None

    def room(self, pinned: bool) -> Tensor:
        if self.raw is None:
            self.raw = torch.empty(PIECE, dtype=torch.uint8, pin_memory=pinned)
        return self.raw


class TensorFiles:
    """The tensors of some safetensors files. ``bytes`` were read so far, in ``seconds`` of all threads together."""

    def __init__(self, paths: Iterable[Path], span: Span = NOWHERE):
        self.span = span
        self.tensors: dict[str, StoredTensor] = {}
        self._open: dict[Path, int] = {}
        self._staging = _Staging()
        self._lock = threading.Lock()
        self.bytes, self.seconds = 0, 0.0
        for path in paths:
            self._list(path)

    def __del__(self) -> None:
        for number in self._open.values():
            os.close(number)

    def _list(self, path: Path) -> None:
        number = self._open[path] = os.open(path, os.O_RDONLY)
        size = int.from_bytes(os.pread(number, 8, 0), "little")
        header = json.loads(os.pread(number, size, 8))
        for name, about in header.items():
            if name != "__metadata__":
                if about["dtype"] not in _TYPES:
                    raise fail(
                        "E941",
                        f"the weights in {shown_path(path.parent)} cannot be read layer by layer",
                        self.span,
                        notes=(f"`{name}` is stored as {about['dtype']}",),
                        help="leave `weights=stream` or `shard=auto` out",
                    )
                begin, shape = 8 + size + int(about["data_offsets"][0]), tuple(map(int, about["shape"]))
                self.tensors[name] = StoredTensor(path, _TYPES[about["dtype"]], shape, begin)

    def read(self, stored: StoredTensor, first: int, out: Tensor) -> None:
        """The numbers of a tensor from ``first`` on (counted as it is stored) into a contiguous ``out``, in its dtype.

        Raises E943 where that cannot be read any more.
        """
        out = out.view(-1)
        if out.device.type == "cpu" and out.dtype == stored.dtype:
            self._fill(stored, first * stored.dtype.itemsize, out.view(torch.uint8))
            return
        size, room = stored.dtype.itemsize, self._staging.room(out.device.type == "cuda")
        each = PIECE // size
        for start in range(0, len(out), each):
            count = min(each, len(out) - start)
            raw = room[: count * size]
            self._fill(stored, (first + start) * size, raw)
            # Not in the background: the staging memory is read into again at once.
            out[start : start + count].copy_(raw.view(stored.dtype))

    def _fill(self, stored: StoredTensor, skip: int, raw: Tensor) -> None:
        """Bytes of a tensor into a tensor of bytes."""
        view, number = memoryview(raw.numpy()), self._open[stored.path]
        begin, done = time.perf_counter(), 0
        while done < len(view):
            try:
                got = os.preadv(number, [view[done : done + PIECE]], stored.begin + skip + done)
            except OSError as error:
                raise self._gone(stored.path, str(error)) from error
            if not got:
                raise self._gone(stored.path, "it ends before a tensor that it held when it was opened")
            done += got
        with self._lock:
            self.bytes += done
            self.seconds += time.perf_counter() - begin

    def _gone(self, path: Path, why: str) -> SpecError:
        return fail(
            "E943",
            f"weights in {shown_path(path)} could be read before, and cannot be now",
            self.span,
            notes=(why, "weights=stream reads them again in every pass"),
            help="leave the files as they are while something runs on them, and run again",
        )

    def whole(self, stored: StoredTensor) -> Tensor:
        """All of a tensor, as it is stored."""
        out = torch.empty(stored.shape, dtype=stored.dtype)
        if math.prod(stored.shape):
            self.read(stored, 0, out)
        return out
