"""How long `check` takes on large specs, as CPU seconds and in units of a loop of Python on the same machine.

python -m benchmarks.check_speed [WORD …]    only those whose line has one of the words
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
    """Large specs, each of one kind of size, written to a folder."""

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
    where = test.replace("seed={i})", 'seed={i}) where base.a != "w{i}" and base.b != source.b')
    words = ", ".join(f'"w{i}"' for i in range(2000))
    own = "".join(where.format(i=i, n=16) for i in range(500))
    yield written(
        "conditions: 500", HEAD.replace('{"arrow"', f'{{{words}, "arrow"', 1).replace("~ Shape", "~ Shape") + own
    )
    cells = HEAD.replace("align al :", "align al(l in 0:3, p in [a, b, c, d, last]) :").replace(
        "[0].resid_post[b]", "[l].resid_post[p]"
    )
    few = "test t{i} on al {{\n  base, source ~ m(n=16, seed={i})\n  do(left <- source)\n  report iia\n}}\n"
    yield written("cells: 50 tests x 15", cells + "".join(few.format(i=i) for i in range(50)))
    many = "".join(
        f'align a{i} : m -> net {{\n  prompt "{{a}} {{b}} {{c}} {{d}} ="\n  left @ layer[0].resid_post[b]\n'
        f"  same @ next_token\n}}\n" + test.format(i=i, n=16).replace(" al ", f" a{i} ")
        for i in range(2000)
    )
    yield written("alignments: 2,000", HEAD + many)
    rotation = HEAD.replace(
        "left @ layer[0].resid_post[b]", "left @ layer[0].resid_post[b] via rotation(dim=1, n=1000000)"
    )
    yield written("pairs of a fit: 1,000,000", rotation + test.format(i=0, n=64))
    (folder / "some.csv").write_text("city,country,people\n" + "".join(f"c{i},k{i % 200},{i}\n" for i in range(10**5)))
    table = 'table T = csv("some.csv", key=city)\ncausal m {\n  x ~ T\n  k := T[x].country\n  output o := T[x].people mod 7\n}\n'
    yield written("rows of a table in a model: 100,000", table)
    (folder / "words.txt").write_text("".join(f"w{i}\n" for i in range(10**5)))
    lines = 'domain W = lines("words.txt")\ncausal m {\n  a, b ~ W\n  output o := a == b\n}\n'
    yield written("values of a domain: 100,000", lines)
    (folder / "many.txt").write_text("".join(f"w{i}\n" for i in range(10**6)))
    yield written("lines of a file: 1,000,000", lines.replace("words.txt", "many.txt"))
    for i in range(50):
        (folder / f"part{i}.causal").write_text(
            HEAD.replace("causal m", f"causal m{i}").replace(": m ->", f": m{i} ->").replace("align al", f"align al{i}")
        )
    parts = "".join(f'from "part{i}.causal" import al{i}, m{i}\n' for i in range(50))
    run = "".join(test.format(i=i, n=16).replace(" al ", f" al{i} ").replace(" m(", f" m{i}(") for i in range(50))
    yield written("imported files: 50", parts + run)


def loop() -> float:
    """CPU seconds of ten million additions."""
    start, total = time.process_time(), 0
    for i in range(10**7):
        total += i
    return time.process_time() - start


def main(given: list[str]) -> int:
    with tempfile.TemporaryDirectory() as name:
        unit = loop()
        for told, path in specs(Path(name)):
            if given and not any(word in told for word in given):
                continue
            before = getrusage(RUSAGE_CHILDREN)
            done = subprocess.run(
                [sys.executable, "-m", "causal_dsl.tools.cli", "check", str(path)], capture_output=True
            )
            after = getrusage(RUSAGE_CHILDREN)
            seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            print(f"{told:<36} exit {done.returncode}  {seconds:5.2f} s  {seconds / unit:5.1f} loops", flush=True)
            if done.returncode:
                print(done.stderr.decode()[:2000] or done.stdout.decode()[:2000])
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
