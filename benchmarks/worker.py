"""One contender in one process: ``python -m benchmarks.worker JOB.json``, started by the harness in its environment.

A job of kind ``check`` runs small workloads and keeps their logits; one of kind ``time`` runs one workload after a
warm-up, and writes times, memory and logits. ``fit-check`` and ``fit-time`` are the same for fits.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import memory
from benchmarks.contenders import CONTENDERS, FITTERS, FORWARD, Entry
from benchmarks.workloads import Arrays, for_timing


def main(path: Path) -> None:
    job = json.loads(path.read_text(encoding="utf-8"))
    import torch

    torch.set_num_threads(job["threads"])
    if job["kind"].startswith("fit"):
        from benchmarks.fits import work

        entry = FITTERS[job["contender"]]
        result = work.check(entry, job) if job["kind"] == "fit-check" else work.timed(entry, job)
    else:
        entry = FORWARD if job["contender"] == FORWARD.name else CONTENDERS[job["contender"]]
        result = check(entry, job) if job["kind"] == "check" else timed(entry, job)
    Path(job["result"]).write_text(json.dumps(result), encoding="utf-8")


def check(entry: Entry, job: dict[str, Any]) -> dict[str, Any]:
    """Logits of every small workload, to be compared."""
    contender = entry.load(Path(job["model"]))
    for work in job["works"]:
        arrays = Arrays.load(Path(work["arrays"]))
        _prepare(contender, arrays)
        np.save(work["logits"], contender.run(arrays))
    return {}


def timed(entry: Entry, job: dict[str, Any]) -> dict[str, Any]:
    """Seconds and bytes of one workload.

    Where only some layers were run, ``scale`` is the number of cells for each of those, and the seconds are what all
    would take: those of work that is done once for all cells count once.
    """
    contender = entry.load(Path(job["model"]))
    touch, warmup, arrays = (Arrays.load(Path(job[name])) for name in ("touch", "warmup", "arrays"))
    _prepare(contender, touch)
    contender.run(touch)  # weights that are mapped from the file, and imports made late, count for none
    before = memory.begin()
    if entry is not FORWARD:  # it has just run all that it ever runs
        _prepare(contender, warmup)
        contender.run(warmup)
    _prepare(contender, arrays)
    kept, scale = for_timing(arrays, job["every"])
    once = getattr(contender, "once", None)
    if once is not None:
        once.wall = once.cpu = 0.0
    wall, cpu = time.perf_counter(), time.process_time()
    logits = contender.run(kept)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = memory.peak() - before
    np.savez(job["logits"], logits=logits, cells=kept.numbers)
    if once is not None:
        wall, cpu = once.wall + (wall - once.wall) * scale, once.cpu + (cpu - once.cpu) * scale
    result = {"wall": wall, "cpu": cpu, "scale": scale, "peak": peak}
    if entry.name == "ours":
        contender.score(arrays)
        result |= {"beside": contender.beside, "predicted": contender.predicted}
    return result


def _prepare(contender: Any, arrays: Arrays) -> None:
    """What is not part of the work: only our own contender has such a thing, a spec to check."""
    if hasattr(contender, "prepare"):
        contender.prepare(arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
