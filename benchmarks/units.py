"""What it takes to run a plan as units: the same blocks by one process, and by a worker that notes each unit.

    python -m benchmarks.units [--memory BYTES] [--rounds N]

Prints the seconds of both, their ratio, and what a unit takes beside its blocks (the limit is 20 ms).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import causal_dsl as cd
from causal_dsl.planning.work_units import WorkUnit
from causal_dsl.units import Worker

SPEC = Path(__file__).parents[1] / "specs" / "equality_relu.causal"
LIMIT = 0.020


def one_process(options: cd.Options) -> float:
    """Seconds of the blocks of a run, as the units' own notes count theirs: without loading and scoring."""
    from causal_dsl.engine.execute import Execution

    taken, plain = [0.0], Execution._one

    def timed(self: Execution, *given: object) -> None:
        started = time.perf_counter()
        plain(self, *given)  # type: ignore[arg-type]
        taken[0] += time.perf_counter() - started

    Execution._one = timed  # type: ignore[method-assign]
    try:
        cd.run(cd.load(SPEC), options)
    finally:
        Execution._one = plain  # type: ignore[method-assign]
    return taken[0]


def by_units(options: cd.Options) -> tuple[float, int]:
    """Seconds of the blocks as units of a worker that has loaded its network, and how many there are."""
    worker = Worker(cd.load(SPEC), options)
    blocks: list[WorkUnit] = [unit for unit in worker.units if unit.kind == "block"]
    worker.run(blocks[0])  # it loads, proves and cuts
    started = time.perf_counter()
    for unit in blocks[1:]:
        worker.run(unit)
    taken = time.perf_counter() - started
    worker.close()
    return taken, len(blocks) - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory", type=int, default=1_000_000, help="bytes of a pass: less makes more units")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    plain, units = [], []
    count = 0
    for _ in range(given.rounds):
        with tempfile.TemporaryDirectory() as folder:
            plain.append(one_process(cd.Options(memory=given.memory, out=Path(folder) / "one")))
            seconds, count = by_units(cd.Options(memory=given.memory, out=Path(folder) / "many"))
            units.append(seconds)
    if not count:
        print("the plan has one block: pass less --memory")
        return
    one, many = median(plain) * count / (count + 1), median(units)
    each = (many - one) / count
    print(f"{count} blocks: {one:.3f} s by one process, {many:.3f} s as units, {many / one:.2f} times as long")
    print(
        f"{each * 1e3:.1f} ms for a unit beside its block; the limit is {LIMIT * 1e3:.0f} ms: {'kept' if each < LIMIT else 'NOT kept'}"
    )


if __name__ == "__main__":
    main()
