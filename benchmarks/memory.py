"""The memory that a piece of work adds to a process, at its peak."""

from __future__ import annotations

import ctypes
import resource
import sys
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

#: Rows of the products of :func:`take_buffers`: as many as a pass has tokens, by order of magnitude.
ROWS = 1024


class Counted(TorchDispatchMode):
    """Counts the bytes of the tensors that are made while it is on; ``most`` is the most that were alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, int] = {}
        self.now = self.most = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {
            tensor.untyped_storage()._cdata
            for tensor in torch.utils._pytree.tree_leaves((args, kwargs))
            if isinstance(tensor, Tensor)
        }
        out = function(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._see(tensor.untyped_storage(), given)
        return out

    def _see(self, storage: Any, given: set[int]) -> None:
        if storage._cdata in self.alive or storage._cdata in given:  # a view of what was there
            return
        self.alive[storage._cdata] = storage.nbytes()
        self.now += storage.nbytes()
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._gone, storage._cdata)

    def _gone(self, key: int) -> None:
        self.now -= self.alive.pop(key)


def take_buffers(models: Iterable[torch.nn.Module]) -> None:
    """Multiply by a matrix of each shape of these models, so that the library of products has taken its buffers.

    It keeps them, and how large they are differs from processor to processor: up to 10 MB for each thread.
    """
    shapes = {tuple(weight.shape) for model in models for weight in model.parameters() if weight.dim() == 2}
    for rows, columns in shapes:
        torch.nn.functional.linear(torch.zeros(ROWS, columns), torch.zeros(rows, columns))


def begin() -> int:
    """Give back what is free, forget the peak so far where the system can, and say how many bytes are held now.

    With ``MALLOC_TRIM_THRESHOLD_`` pinned, what loading left free would else stay resident and hide the work's own use.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
        try:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        except OSError:
            return peak()
        return _status("VmRSS")
    return peak()


def peak() -> int:
    """The most bytes that this process held, since :func:`begin` where the system can forget."""
    if sys.platform == "linux":
        return _status("VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise OSError(f"the system does not say {name}")
