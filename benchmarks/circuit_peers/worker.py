"""One peer in one process, in its own environment: ``python -m benchmarks.circuit_peers.worker JOB.json``.

Every round runs the plain forwards and then each work; a work's time is kept beside those of the plain forwards of its round.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.circuit_peers.task import Peer, Task, keep

#: A plain forward is short: it is run so often, and the mean taken.
_REPEATS = 2


def main(path: Path) -> None:
    job = json.loads(path.read_text(encoding="utf-8"))
    import torch

    torch.set_num_threads(1)
    folder = Path(job["folder"])
    module = importlib.import_module(f"benchmarks.circuit_peers.{job['peer']}")
    peer: Peer = module.peer(Path(job["network"]) if job["peer"] != "ours" else folder, Task.load(folder / "task.npz"))
    for name in job["works"] or list(peer.works):
        if name in peer.works:
            times = _timed(peer, name, job["rounds"], folder / f"{job['peer']}-{name}.npy")
            keep(folder / f"{job['peer']}.json", {name: times})


def _timed(peer: Peer, name: str, rounds: int, numbers: Path) -> list[dict[str, Any]]:
    work = peer.works[name]
    for forward in peer.plain.values():
        forward()
    if not work.once:
        work.run()
    found = []
    for _ in range(rounds):
        plain = {kind: _cpu(forward, _REPEATS) for kind, forward in peer.plain.items()}
        started = time.process_time()
        result = work.run()
        seconds = (time.process_time() - started) * work.scale
        found.append({"cpu": seconds, "plain": plain, "scale": work.scale, "resident": _resident()})
        np.save(numbers, result)
        print(name, found[-1], flush=True)
    return found


def _cpu(run: Callable[[], object], repeats: int) -> float:
    started = time.process_time()
    for _ in range(repeats):
        run()
    return (time.process_time() - started) / repeats


def _resident() -> int:
    """The largest resident memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
