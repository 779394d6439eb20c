"""Two workers against one, of one thread each, on a sweep and on fits; and what the simulator predicts of it.

``python -m benchmarks.two_workers`` runs each spec on one worker and on two, several rounds in turn; nothing else should run. Beside it stands what the machine
allows: the same units in two plain processes (``--shard 1/2`` and ``2/2``) against one, without Ray. Of each unit it compares the seconds and the processor
time alone with those beside another: where seconds grow and processor time does not, the cores were taken; where both grow, memory and caches are shared.
With ``--costs`` it writes ``unit_costs.json``, which ``python -m benchmarks.scheduling`` reads.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.scheduling import Job, Machines, simulate
from causal_dsl import Options, parse
from causal_dsl.tools.command_line import memory_size
from causal_dsl.units import units_of

SWEEP = """\
domain Shape = {"arrow", "circle", "cross", "diamond"}

causal equality {
  a, b, c, d ~ Shape
  left  := a == b
  right := c == d
  output same := left == right
}

network net = zoo("equality-gpt2")

align at(l in 0:2, p in [a, b, c, d]) : equality -> net {
  prompt "{a} {b} {c} {d} ="

  same @ next_token
}

test sweep on at {
  base, source ~ equality(n=PAIRS, seed=0)
  do(layer[l].resid_post[p] <- source)
  report moved
  report kl
}
"""

FITS = """\
domain Shape = 0..3

causal equality {
  a, b, c, d ~ Shape
  left  := a == b
  right := c == d
  output same := left == right
}

network mlp = zoo("equality-relu")

align halves(l in 0:3, k in [1, 2]) : equality -> mlp {
  a @ input[0:4]   via onehot()
  b @ input[4:8]   via onehot()
  c @ input[8:12]  via onehot()
  d @ input[12:16] via onehot()

  left @ layer[l].out via rotation(dim=k, n=8192, batch=8192, epochs=EPOCHS, rate=0.01)
  same @ logits
}

test fitted on halves {
  base, source ~ equality(n=256, seed=0)
  do(left <- source)
  report iia
}
"""


@dataclass(frozen=True)
class Timed:
    """One run: ``wall`` seconds of all of it; ``working`` seconds from the beginning of the first unit to the end of the last, which
    took ``units`` seconds, and ``cpu`` seconds of the processor, by key; ``ray``: processor seconds of Ray's own processes."""

    wall: float
    working: float
    units: dict[str, float]
    cpu: dict[str, float]
    ray: float = 0.0


def once(text: str, name: str, memory: int, workers: int, shards: int = 0) -> Timed:
    """A run in a cache and a folder of its own: on so many Ray ``workers``, or in so many plain processes, a shard each."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / f"{name}.causal").write_text(text)
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        plain = ["run", f"{name}.causal", "--out", "out", "--batch-memory", str(memory), "-q"]
        runs = [["--shard", f"{number}/{shards}"] for number in range(1, shards + 1)] or [["--workers", str(workers)]]
        began = time.perf_counter()
        started = [
            subprocess.Popen(
                [sys.executable, "-m", "causal_dsl.tools.cli", *plain, *more],
                cwd=folder,
                env={**environment, "CAUSAL_DSL_CACHE": str(folder / f"cache{number}")},
                stdout=subprocess.DEVNULL,
            )
            for number, more in enumerate(runs)
        ]
        ray = _watched(started)
        wall = time.perf_counter() - began
        failed = [run.args for run in started if run.returncode]
        if failed:
            raise SystemExit(f"{failed[0]} failed")
        done = sorted((folder / "out").rglob("units/done/*.json"), key=lambda path: path.stat().st_mtime)
        kinds = {unit.key: unit.kind for unit in units_of(parse(text, f"{name}.causal"), Options(memory=memory))}
        said = {path.stem: json.loads(path.read_text()) for path in done}
        main = "fit" if "fit" in kinds.values() else "block"  # what other units wait for, or do, is told apart
        ends = {path.stem: path.stat().st_mtime for path in done if kinds[path.stem] == main}
        seconds = {key: float(said[key]["seconds"]) for key in ends}
        working = max(ends.values()) - min(ends[key] - seconds[key] for key in seconds)
        return Timed(wall, working, seconds, {key: float(said[key]["cpu"]) for key in ends}, ray)


def _watched(started: list[subprocess.Popen[bytes]]) -> float:
    """Wait for processes; the processor seconds of what they started that is not a worker: Ray's own processes."""
    used: dict[int, float] = {}
    while any(run.poll() is None for run in started):
        for run in started:
            with suppress(psutil.Error):
                for child in psutil.Process(run.pid).children(recursive=True):
                    with suppress(psutil.Error):
                        if not " ".join(child.cmdline()).startswith("ray::"):
                            times = child.cpu_times()
                            used[child.pid] = times.user + times.system
        time.sleep(0.5)
    return sum(used.values())


def jobs_of(text: str, name: str, memory: int, seconds: dict[str, float]) -> tuple[list[Job], float]:
    """The units of a spec as jobs of the simulator, with what each took; and the seconds in which the network was loaded and proved,
    which the first unit took beside what its multiplications and additions take at the rate of the others of its kind."""
    units = {unit.key: unit for unit in units_of(parse(text, f"{name}.causal"), Options(memory=memory))}
    first = next(iter(seconds))
    kind = [key for key in seconds if units[key].kind == units[first].kind and key != first]
    rate = statistics.median(seconds[key] / units[key].flops for key in kind) if kind else 0.0
    own = min(seconds[first], units[first].flops * rate) if kind else seconds[first]
    taken = {**seconds, first: own}
    jobs = [
        Job(u.key, taken[u.key], u.bytes, tuple(need for need in u.needs if need in taken), name)
        for u in units.values()
        if u.key in taken
    ]
    return jobs, seconds[first] - own


def _times(one: dict[str, float], other: dict[str, float]) -> str:
    """How many times as long units took in another run."""
    return f"{sum(other[key] for key in one) / max(1e-9, sum(one.values())):.2f} times"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.two_workers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=4096, help="of the sweep")
    parser.add_argument("--epochs", type=int, default=20, help="of the fits")
    parser.add_argument(
        "--memory", type=memory_size, default=200_000_000, help="of a pass: how finely the sweep is cut"
    )
    parser.add_argument("--costs", type=Path, help="write the units of both, with their costs, to this file")
    given = parser.parse_args(arguments)
    specs = {
        "sweep": SWEEP.replace("PAIRS", str(given.pairs)),
        "fits": FITS.replace("EPOCHS", str(given.epochs)),
    }
    kept: list[dict[str, Any]] = []
    loads: list[float] = []
    print(f"load of the machine before: {os.getloadavg()[0]:.2f}; {os.cpu_count()} cores")
    for name, text in specs.items():
        rounds = [
            (
                once(text, name, given.memory, 1),
                once(text, name, given.memory, 2),
                once(text, name, given.memory, 0, shards=1),
                once(text, name, given.memory, 0, shards=2),
            )
            for _ in range(given.rounds)
        ]
        ratios = [one.working / two.working for one, two, _, _ in rounds]
        plain = [one.working / two.working for _, _, one, two in rounds]
        walls = [one.wall / two.wall for one, two, _, _ in rounds]
        one, two, alone, both = rounds[-1]
        jobs, load = jobs_of(text, name, given.memory, one.units)
        beside = max(0.0, one.working - sum(one.units.values()))
        loads.append(load)
        handled = beside / len(jobs)
        said = simulate(jobs, Machines(2, start=0.0, load=load, handled=handled, spread=0.0)).seconds
        print(
            f"{name}: {len(jobs)} units, {sum(one.units.values()):.1f} s of units; one worker {one.working:.1f} s, two {two.working:.1f} s\n"
            f"  ratio of the work {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), "
            f"of whole runs {statistics.median(walls):.2f} (one {one.wall:.1f} s, two {two.wall:.1f} s)\n"
            f"  two plain processes of half the units each, without Ray: ratio {statistics.median(plain):.2f} ({min(plain):.2f} to {max(plain):.2f}), "
            f"which is what this machine allows; of that, Ray's workers reach {statistics.median(ratios) / statistics.median(plain):.0%}\n"
            f"  beside each other, units took {_times(one.units, two.units)} the seconds and {_times(one.cpu, two.cpu)} the processor time "
            f"(plain processes: {_times(alone.units, both.units)} and {_times(alone.cpu, both.cpu)}); "
            f"Ray's own processes took {two.ray:.1f} s of processor time in {two.wall:.1f} s\n"
            f"  beside the units, one worker took {1000 * beside / len(jobs):.1f} ms a unit\n"
            f"  simulated for two workers: {said:.1f} s, of which {load:.1f} s of loading; the run took {two.working:.1f} s"
        )
        kept += [vars(job) for job in jobs]
    print(f"load of the machine after: {os.getloadavg()[0]:.2f}")
    if given.costs is not None:
        machine = {"start": 2.0, "load": max(loads), "handled": 0.002}
        given.costs.write_text(json.dumps({"machine": machine, "units": kept}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
