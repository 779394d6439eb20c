"""The resources of this machine for workers, found without loading torch or Ray."""

from __future__ import annotations

import os
from pathlib import Path

#: Where the driver of NVIDIA lists its devices, one folder each.
_DEVICES = Path("/proc/driver/nvidia/gpus")


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> int:
    """The GPUs that this process may use, as far as the driver and ``CUDA_VISIBLE_DEVICES`` say."""
    there = len(list(_DEVICES.iterdir())) if _DEVICES.is_dir() else 0
    said = os.environ.get("CUDA_VISIBLE_DEVICES")
    if said is None:
        return there
    named = [one.strip() for one in said.split(",")]
    shown = next((place for place, one in enumerate(named) if one in ("", "-1")), len(named))
    return min(there, shown)


def automatic() -> tuple[int, str]:
    """How many workers ``--workers auto`` starts on this machine, and what each of them has of its own."""
    own = gpus()
    return (own, "GPU") if own else (cores(), "core")


__all__ = ["automatic", "cores", "gpus"]
