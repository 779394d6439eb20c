"""How long `check` takes on four large specs, as CPU seconds and in units of a loop of Python on the same machine.

python benchmarks/check_speed.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

HEAD = (
    """
domain Shape = {"arrow", "circle", "cross", "diamond", "heart", "moon", "ring", "square", "star", "triangle"}
causal m { a, b, c, d ~ Shape  left := a == b  right := c == d  output same := left == right }
network net = zoo("equality-gpt2")
align al : m -> net {
  prompt "{a} {b} {c} {d} ="
  left @ layer[0].resid_post[b]
  same @ next_token
}
""".replace("  left :=", "\n  left :=")
    .replace("  right :=", "\n  right :=")
    .replace("  output same", "\n  output same")
)


def specs(folder: Path) -> Iterator[tuple[str, Path]]:
    """The four specs, written to a folder."""

    def written(name: str, text: str) -> tuple[str, Path]:
        path = folder / f"{name.split()[0]}-{len(text)}.causal"
        path.write_text(text)
        return name, path

    test = "test t{i} on al {{\n  base, source ~ m(n={n}, seed={i})\n  do(left <- source)\n  report iia\n}}\n"
    yield written("tests: 2,000", HEAD + "".join(test.format(i=i, n=16) for i in range(2000)))
    chain = "".join(f"  v{i} := (v{i - 1} + 1) mod 10\n" for i in range(1, 5000))
    yield written("variables in a chain: 5,000", f"causal m {{\n  v0 ~ 0..9\n{chain}  output o := v4999 > 4\n}}\n")
    rows = "".join(f"c{i},k{i % 200},{i * 7 % 1000}\n" for i in range(10**6))
    (folder / "big.csv").write_text("city,country,people\n" + rows)
    table = 'table T = csv("big.csv", key=city)\ncausal m {\n  x ~ T\n  output o := T[x].country\n}\n'
    yield written("rows of a table: 1,000,000", table)
    yield written("pairs of a test: 1,000,000", HEAD + test.format(i=0, n=10**6))


def loop() -> float:
    """CPU seconds of ten million additions."""
    start, total = time.process_time(), 0
    for i in range(10**7):
        total += i
    return time.process_time() - start


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        unit = loop()
        for told, path in specs(Path(name)):
            before = getrusage(RUSAGE_CHILDREN)
            done = subprocess.run(
                [sys.executable, "-m", "causal_dsl.tools.cli", "check", str(path)], capture_output=True
            )
            after = getrusage(RUSAGE_CHILDREN)
            seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            print(f"{told:<28} exit {done.returncode}  {seconds:5.2f} s  {seconds / unit:5.1f} loops")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
