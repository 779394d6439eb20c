"""How long `check` takes on large specs, as CPU seconds and in units of a loop of Python on the same machine.

python -m benchmarks.check_speed [--before FOLDER] [WORD …]    only those whose line has one of the words

``--before``: another checkout of this repository, of which the same is timed in turn, and the ratio of the two is said.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
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
VECTORS = """
domain Shape = 0..3
causal m {
  a, b, c, d ~ Shape
  left := a == b
  right := c == d
  output same := left == right
}
network net = zoo("equality-mlp")
align al : m -> net {
  a @ input[0:4]   via embedding(dim=4, seed=0)
  b @ input[4:8]   via embedding(dim=4, seed=0)
  c @ input[8:12]  via embedding(dim=4, seed=0)
  d @ input[12:16] via embedding(dim=4, seed=0)
  left @ layer[1].out[0:8]
  same @ logits
}
"""


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
    asked = "seed={i}) where base.a != base.b and base.left != source.left"
    yield written("pairs under a condition: 1,000,000", HEAD + test.replace("seed={i})", asked).format(i=0, n=10**6))
    yield written("pairs of seven variables, balanced: 1,000,000", seven(10**6))
    yield written("tests of several kinds: 2,000", mixed(2000))
    yield written("tests with a condition each: 2,000", HEAD + "".join(conditions(test, 2000)))
    balanced = test.replace("seed={i})", "seed={i}, balance=[base.left, source.left])")
    yield written("balanced tests: 2,000", HEAD + "".join(balanced.format(i=i, n=64) for i in range(2000)))
    yield written("vector tests with a condition each: 2,000", VECTORS + "".join(vector_conditions(test, 2000)))
    learned = VECTORS.replace("out[0:8]", "out via rotation(dim=2, n=128)")
    yield written("tests of a feature: 200", learned + "".join(test.format(i=i, n=32) for i in range(200)))
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


def seven(n: int) -> str:
    """A test of n pairs of a model of seven variables, balanced by its answers."""
    model = "causal m {\n  a, b, c, d, e, f, g ~ 0..3\n  u := a + b > c + 1\n  v := d == e\n  output o := u == v\n}\n"
    align = 'align al : m -> net {\n  prompt "{a} {b} {c} {d} {e} {f} {g} ="\n  u @ layer[0].resid_post[b]\n  o @ next_token\n}\n'
    asked = f"base, source ~ m(n={n}, balance=[base.o, source.o])"
    test = f"test t on al {{\n  {asked}\n  do(u <- source)\n  report iia\n}}\n"
    return model + 'network net = zoo("equality-gpt2")\n' + align + test


def mixed(n: int) -> str:
    """Tests that differ in their sites, actions, measures, expectations and sizes."""
    names = [(layer, place) for layer in range(3) for place in ("a", "b", "c", "d", "last")]
    aligns = "".join(
        f'align al{k} : m -> net {{\n  prompt "{{a}} {{b}} {{c}} {{d}} ="\n  left @ layer[{layer}].resid_post[{place}]\n  same @ next_token\n}}\n'
        for k, (layer, place) in enumerate(names)
    )
    sites = ["resid_post", "attn_out", "mlp_out", "resid_mid"]
    actions = [
        "left <- source",
        "layer[{l}].{s}[b] <- source",
        "layer[{l}].{s}[b] = 0",
        "layer[{l}].{s}[b] = mean(source)",
    ]
    measures = [["iia", "moved"], ["kl", "accuracy"], ["accuracy"], ["entropy", "kl"]]
    tests = []
    for i in range(n):
        action = actions[i % 4].format(l=i % 3, s=sites[i // 4 % 4])
        tests.append(
            f"test t{i} on al{i % 15} {{\n  base, source ~ m(n={16 + i % 8}, seed={i // 4})\n  do({action})\n  report {measures[i % 4][i // 4 % len(measures[i % 4])]}\n}}\n"
        )
    return HEAD + aligns + "".join(tests)


def conditions(test: str, n: int) -> Iterator[str]:
    """Tests each with a condition of its own."""
    shapes = ["arrow", "circle", "cross", "diamond", "heart", "moon", "ring", "square", "star", "triangle"]
    for i in range(n):
        first, second, third = shapes[i % 10], shapes[i // 10 % 10], shapes[i // 100 % 10]
        asked = f'seed={{i}}) where base.a != "{first}" and source.b != "{second}" and base.c != "{third}" and base.left != source.left'
        yield test.replace("seed={i})", asked).format(i=i, n=16)


def vector_conditions(test: str, n: int) -> Iterator[str]:
    """The same on a network of vectors, of numbers."""
    for i in range(n):
        first, second, third = i % 4, i // 4 % 4, i // 16 % 4
        asked = f"seed={{i}}) where base.left != source.left and base.a != {first} and (base.b == source.c or base.d != {second}) and base.c != {third}"
        yield test.replace("seed={i})", asked).format(i=i, n=64)


def loop() -> float:
    """CPU seconds of ten million additions."""
    start, total = time.process_time(), 0
    for i in range(10**7):
        total += i
    return time.process_time() - start


def checked(path: Path, checkout: Path) -> tuple[float, subprocess.CompletedProcess[bytes]]:
    """CPU seconds of `check` by a checkout, and what came of it."""
    before = getrusage(RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "causal_dsl.tools.cli", "check", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(command, capture_output=True, env=environment, cwd=checkout)
    after = getrusage(RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done


def main(given: list[str]) -> int:
    parser = ArgumentParser(prog="python -m benchmarks.check_speed")
    parser.add_argument("--before", type=Path)
    parser.add_argument("words", nargs="*")
    asked = parser.parse_args(given)
    own = Path(__file__).parents[1]
    with tempfile.TemporaryDirectory() as name:
        unit = loop()
        for told, path in specs(Path(name)):
            if asked.words and not any(word in told for word in asked.words):
                continue
            ratio = ""
            if asked.before is not None:
                earlier, _ = checked(path, asked.before.resolve())
            seconds, done = checked(path, own)
            if asked.before is not None:
                ratio = f"  before {earlier:6.2f} s, {earlier / seconds:5.2f} times as long"
            print(
                f"{told:<44} exit {done.returncode}  {seconds:5.2f} s  {seconds / unit:5.1f} loops{ratio}", flush=True
            )
            if done.returncode:
                print(done.stderr.decode()[:2000] or done.stdout.decode()[:2000])
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
