"""What a fitting contender does in its process."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import memory
from benchmarks.contenders import Entry
from benchmarks.fits.workloads import FitArrays, for_timing


def check(entry: Entry, job: dict[str, Any]) -> dict[str, Any]:
    """Written vectors, logits and losses of small workloads, to be compared."""
    contender = entry.load(Path(job["model"]))
    for work in job["works"]:
        arrays = FitArrays.load(Path(work["arrays"]))
        _prepare(contender, arrays)
        vectors, logits = contender.written(arrays)
        fitted = contender.fit(arrays)
        np.savez(work["found"], vectors=vectors, logits=logits, losses=fitted.losses, checks=fitted.checks)
    return {}


def timed(entry: Entry, job: dict[str, Any]) -> dict[str, Any]:
    """Seconds and bytes of one workload, by part. Where ``scale`` is above 1 only some cells and epochs were run, and the
    seconds are what all would take; those of what is done once for all count once."""
    contender = entry.load(Path(job["model"]))
    warmup, arrays = (FitArrays.load(Path(job[name])) for name in ("warmup", "arrays"))
    _prepare(contender, warmup)
    contender.fit(warmup)  # weights that are mapped from the file, and imports made late, count for none
    before = memory.begin()
    _prepare(contender, arrays)
    scale = 1.0
    if job["part"]:
        arrays, scale = for_timing(arrays, *job["part"])
    contender.clocks.clear()
    wall, cpu = time.perf_counter(), time.process_time()
    fitted = contender.fit(arrays)
    whole = np.array([time.perf_counter() - wall, time.process_time() - cpu])
    peak = memory.peak() - before
    np.savez(job["found"], losses=fitted.losses, checks=fitted.checks, cells=arrays.numbers)
    parts = {name: np.array(seconds) for name, seconds in contender.clocks.seconds().items()}
    once = parts["prompts"]
    wall, cpu = (once + (whole - once) * scale).tolist()
    told = {name: (part if name == "prompts" else part * scale).tolist() for name, part in parts.items()}
    return {"wall": wall, "cpu": cpu, "scale": scale, "peak": peak, "parts": told}


def _prepare(contender: Any, arrays: FitArrays) -> None:
    if hasattr(contender, "prepare"):
        contender.prepare(arrays)
