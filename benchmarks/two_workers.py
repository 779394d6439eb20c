"""Two workers against one, of one thread each, on a sweep and on fits; and what the simulator predicts of it.

``python -m benchmarks.two_workers`` runs each spec on one worker and on two, side by side in time, several rounds in turn; nothing else should run. It
writes ``unit_costs.json``, which ``python -m benchmarks.scheduling`` reads.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    took ``units`` seconds by key."""

    wall: float
    working: float
    units: dict[str, float]


def once(text: str, name: str, workers: int, memory: int) -> Timed:
    """A run in a process, a cache and a folder of its own."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / f"{name}.causal").write_text(text)
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "CAUSAL_DSL_CACHE": str(folder / "cache"),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        words = [
            "run",
            f"{name}.causal",
            "--workers",
            str(workers),
            "--out",
            "out",
            "--batch-memory",
            str(memory),
            "-q",
        ]
        began = time.perf_counter()
        command = [sys.executable, "-m", "causal_dsl.tools.cli", *words]
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        wall = time.perf_counter() - began
        done = list((folder / "out" / name / "units" / "done").glob("*.json"))
        done.sort(key=lambda path: path.stat().st_mtime)
        seconds = {path.stem: float(json.loads(path.read_text())["seconds"]) for path in done}
        ends = {path.stem: path.stat().st_mtime for path in done}
        working = max(ends.values()) - min(ends[key] - seconds[key] for key in seconds)
        return Timed(wall, working, seconds)


def jobs_of(text: str, name: str, memory: int, seconds: dict[str, float]) -> tuple[list[Job], float]:
    """The units of a spec as jobs of the simulator, with what each took; and the seconds in which the network was loaded and proved,
    which the first unit took beside what its multiplications and additions take at the rate of the others of its kind."""
    units = {unit.key: unit for unit in units_of(parse(text, f"{name}.causal"), Options(memory=memory))}
    first = next(iter(seconds))
    kind = [key for key in seconds if units[key].kind == units[first].kind and key != first]
    rate = statistics.median(seconds[key] / units[key].flops for key in kind) if kind else 0.0
    own = min(seconds[first], units[first].flops * rate) if kind else seconds[first]
    taken = {**seconds, first: own}
    return [Job(u.key, taken[u.key], u.bytes, u.needs, name) for u in units.values()], seconds[first] - own


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
        rounds = [(once(text, name, 1, given.memory), once(text, name, 2, given.memory)) for _ in range(given.rounds)]
        ratios = [one.working / two.working for one, two in rounds]
        walls = [one.wall / two.wall for one, two in rounds]
        one, two = rounds[-1]
        jobs, load = jobs_of(text, name, given.memory, one.units)
        beside = max(0.0, one.working - sum(one.units.values()))
        loads.append(load)
        handled = beside / len(jobs)
        said = simulate(jobs, Machines(2, start=0.0, load=load, handled=handled, spread=0.0)).seconds
        print(
            f"{name}: {len(jobs)} units, {sum(one.units.values()):.1f} s of units; one worker {one.working:.1f} s, two {two.working:.1f} s\n"
            f"  ratio of the work {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), "
            f"of whole runs {statistics.median(walls):.2f} (one {one.wall:.1f} s, two {two.wall:.1f} s)\n"
            f"  beside the units, one worker took {1000 * beside / len(jobs):.1f} ms a unit; units took {sum(two.units.values()) / sum(one.units.values()):.2f} times as long beside each other\n"
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
