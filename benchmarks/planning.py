"""What it takes to plan very many pairs and cells: ``python -m benchmarks.planning``, a minute.

The plan of a loaded network of three layers of 50 units, with the controls of each cell: cut to memory, with its cost and its units. Each size is a
process of its own; printed are its processor time, how much of that went to laying out blocks and how many of these there were, and its peak memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.scoring import peak_mb

SIZES = ((10_000, 10), (100_000, 10), (100_000, 100), (1_000_000, 100))
_NET = """
import torch

def make():
    torch.manual_seed(0)
    sizes = (16, 50, 50, 2)
    layers = [layer for a, b in zip(sizes, sizes[1:]) for layer in (torch.nn.Linear(a, b), torch.nn.ReLU())]
    return torch.nn.Sequential(*layers[:-1])
"""
_SPEC = """
domain Shape = 0..3
causal equality {{
  a, b, c, d ~ Shape
  left := a == b
  right := c == d
  output same := left == right
}}
network mlp = torch("net.py:make")
align halves(l in 0:2, i in 0:{units}) : equality -> mlp {{
  a @ input[0:4] via onehot()
  b @ input[4:8] via onehot()
  c @ input[8:12] via onehot()
  d @ input[12:16] via onehot()
  left @ layer[l].out[i]
  same @ logits
}}
test t on halves {{
  base, source ~ equality(n={n}, seed=0)
  do(left <- source)
  report iia
}}
"""


def written(n: int, cells: int, folder: Path) -> Path:
    """The spec of a test of so many pairs and cells, and its network beside it."""
    (folder / "net.py").write_text(_NET, encoding="utf-8")
    spec = folder / "many.causal"
    spec.write_text(_SPEC.format(n=n, units=cells // 2), encoding="utf-8")
    return spec


def measured(n: int, cells: int) -> dict[str, float]:
    """Processor seconds of planning in this process, of laying blocks out within that, their number, and the peak memory."""
    import causal_dsl as cd
    from causal_dsl.planning.cost import cost_of
    from causal_dsl.planning.rows import Layouts
    from causal_dsl.planning.unit_lines import summed

    made, plain = [0.0, 0.0], Layouts.make

    def timed(self: Layouts, *given: object, **more: object) -> object:
        started = time.process_time()
        try:
            return plain(self, *given, **more)  # type: ignore[arg-type]
        finally:
            made[0] += time.process_time() - started
            made[1] += 1

    Layouts.make = timed  # type: ignore[assignment, method-assign]
    with tempfile.TemporaryDirectory() as folder:
        spec = written(n, cells, Path(folder))
        started = time.process_time()
        plan = cd.plan(spec, cd.Options(load=True, trust=True))
        cost_of(plan)
        summed(plan)
        taken = time.process_time() - started
    return {"cpu": taken, "layouts": made[0], "blocks": made[1], "peak_mb": peak_mb()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=10**9, help="leave out sizes of more pairs times cells")
    parser.add_argument("--one", nargs=2, type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measured(*given.one)))
        return
    print(f"{'pairs':>10} {'cells':>6} {'CPU':>9} {'of it to lay out':>22} {'peak':>9}")
    for n, cells in SIZES:
        if n * cells <= given.most:
            command = [sys.executable, "-m", "benchmarks.planning", "--one", str(n), str(cells)]
            one = json.loads(subprocess.check_output(command, text=True))
            blocks = f"{one['layouts']:.1f} s, {one['blocks']:.0f} blocks"
            print(f"{n:>10,} {cells:>6,} {one['cpu']:>7.1f} s {blocks:>22} {one['peak_mb']:>6,.0f} MB", flush=True)


if __name__ == "__main__":
    main()
