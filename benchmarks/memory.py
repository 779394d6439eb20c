"""The memory that a piece of work adds to a process, at its peak."""

from __future__ import annotations

import ctypes
import resource
import sys
from pathlib import Path


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
