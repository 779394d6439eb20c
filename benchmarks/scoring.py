"""How long the scores of very many pairs take, and how much memory: ``python -m benchmarks.scoring``, some minutes.

Columns of made-up runs are put down in Arrow files, as a run does, block after block; a process of its own then scores them: iia and
what stands beside it, with intervals, intervals that hold for all cells together, findings and verdicts, and with ``--median`` the median of a metric,
too. Beside it stands a pass of the smallest network of the zoo for as many pairs and cells, measured on few of them: what scoring takes is shown as
a share of that.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

SIZES = ((10_000, 10), (100_000, 12), (200_000, 20), (1_000_000, 20), (1_000_000, 100))
#: Pairs of a block as it is put down.
_BLOCK = 16_384


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=10**9, help="leave out sizes of more pairs times cells")
    parser.add_argument("--median", action="store_true")
    parser.add_argument("--one", nargs=2, type=int, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one:
        print(json.dumps(measured(*given.one, given.median)))
        return 0
    rate = pass_rate()
    print(f"a pass takes {rate * 1e6:.2f} s for a million pairs and cells")
    print(f"{'pairs':>10} {'cells':>6} {'drawing':>9} {'scoring':>9} {'CPU':>9} {'of a pass':>10} {'peak':>9}")
    for n, cells in SIZES:
        if n * cells > given.most:
            continue
        command = [sys.executable, "-m", "benchmarks.scoring", "--one", str(n), str(cells)]
        found = json.loads(subprocess.check_output(command + ["--median"] * given.median, text=True))
        share = found["seconds"] / (rate * n * cells)
        print(
            f"{n:>10,} {cells:>6,} {found['resampled']:>7.1f} s {found['seconds']:>7.1f} s {found['cpu']:>7.1f} s {share:>10.2f} {found['peak_mb']:>6,.0f} MB",
            flush=True,
        )
    return 0


def pass_rate(n: int = 4096) -> float:
    """Seconds that a pass takes for one pair in one cell, on a perceptron of three layers."""
    import causal_dsl as cd

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pass.causal"
        path.write_text(_spec(n), encoding="utf-8")
        result = cd.run(path)
    (test,) = result.tests
    return test.seconds / (n * len(test.cells))


def _spec(n: int) -> str:
    return f"""
domain Shape = 0..3
causal equality {{
  a, b, c, d ~ Shape
  left := a == b
  right := c == d
  output same := left == right
}}
network mlp = zoo("equality-relu")
align halves(i in 0:4) : equality -> mlp {{
  a @ input[0:4] via onehot()
  b @ input[4:8] via onehot()
  c @ input[8:12] via onehot()
  d @ input[12:16] via onehot()
  left @ layer[1].out[i]
  same @ logits
}}
test t on halves {{
  base, source ~ equality(n={n}, seed=0)
  do(left <- source)
  report iia
}}
"""


def measured(n: int, cells: int, median: bool = False) -> dict[str, Any]:
    """Seconds and peak memory of scoring so many pairs in so many cells, in this process."""

    scores, columns, given = made(n, cells, median)
    from causal_dsl.causal.ceilings import Ceiling
    from causal_dsl.score.intervals import Resampling
    from causal_dsl.score.score import score_test

    ceilings = {name: Ceiling(0.5, True, n) for name in ("noop", "source", "output_only")}
    started, used = time.perf_counter(), time.process_time()
    result = score_test(scores, columns, ceilings=ceilings, **given)
    seconds, used = time.perf_counter() - started, time.process_time() - used
    assert all(cell.scores["iia"].low is not None and cell.together for cell in result.cells)
    started = time.perf_counter()
    resampling = Resampling(given["ids"])
    if resampling.many:
        for first in range(0, n, 4096):
            resampling.poisson.of(slice(first, min(n, first + 4096)))
    drawing = time.perf_counter() - started
    return {"seconds": seconds, "cpu": used, "resampled": drawing, "peak_mb": peak_mb()}


def peak_mb() -> float:
    """The largest resident memory of this process. What getrusage says includes that of the process which started it, as
    large as it was then; Linux tells both apart."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def made(n: int, cells: int, median: bool = False, folder: Path | None = None) -> tuple[Any, list[Any], dict[str, Any]]:
    """Scores of a test, its cells with the columns of made-up runs in files, and the pairs: those of cells further up are more often right."""
    from causal_dsl.engine.block_results import BlockResult
    from causal_dsl.engine.column_store import ColumnStore
    from causal_dsl.measures.per_pair import ANSWER
    from causal_dsl.measures.quantities import SAID, TRACE, Columns, Quantity, ValueRef

    scores = _scores(cells, median)
    plain: tuple[Quantity, ...] = (ANSWER, SAID, TRACE)
    if median:
        plain += tuple(Quantity("logit", ValueRef("base", name)) for name in ("answer", "other"))
    rng = np.random.default_rng(0)
    inputs = max(2, int(3 * n**0.5))
    ids = {"base": rng.integers(0, inputs, n), "source": rng.integers(0, inputs, n)}
    answers = rng.integers(0, 2, n)
    labels = np.where(rng.random(n) < 0.5, 1 - answers, answers)
    kept = ColumnStore(folder)
    numbers = [
        (kept.numbers("t", "base", c, n, plain, ()), kept.numbers("t", "patched", c, n, plain, ()))
        for c in range(cells)
    ]
    for start in range(0, n, _BLOCK):
        pairs = np.arange(start, min(n, start + _BLOCK))
        found = BlockResult(pairs, cells=list(range(cells)))
        wrong = rng.random(len(pairs)) < 0.02
        found.unpatched["base"] = _run(plain, np.where(wrong, 1 - answers[pairs], answers[pairs])[None], rng, 0)
        right = rng.random((cells, len(pairs))) < (0.5 + 0.4 * np.arange(cells) / cells)[:, None]
        found.patched = _run(plain, np.where(right, labels[pairs], 1 - labels[pairs]), rng, None)
        kept.add("t", found)
    kept.flush()
    columns = [({"l": c}, Columns(base, patched)) for c, (base, patched) in enumerate(numbers)]
    return scores, columns, {"ids": ids, "base_answers": answers, "labels": labels}


def _run(plain: Any, answers: np.ndarray, rng: np.random.Generator, one: int | None) -> dict[Any, np.ndarray]:
    found: dict[Any, np.ndarray] = {}
    for quantity in plain:
        if quantity.kind == "answer":
            found[quantity] = answers
        elif quantity.kind == "said":
            found[quantity] = answers.astype(np.float64)
        else:
            found[quantity] = rng.standard_normal(answers.shape).astype(np.float32).astype(np.float64)
    return found if one is None else {quantity: values[one] for quantity, values in found.items()}


def _scores(cells: int, median: bool) -> Any:
    from causal_dsl.diagnostics import Diagnostics, Source
    from causal_dsl.measures.compile import compile_metrics
    from causal_dsl.measures.context import TestContext
    from causal_dsl.syntax import tree
    from causal_dsl.syntax.parse import parse

    found = Diagnostics()
    lines = "report median(logit(answer) - logit(other))" if median else "report iia"
    spec = parse(Source("t.causal", f"test t on tau {{\n{lines}\n}}\n"), found)
    test = next(one for one in spec.declarations if isinstance(one, tree.TestDecl))
    context = TestContext(
        "t",
        ("base", "source"),
        {"answer": (0, 1), "other": (0, 1)},
        "answer",
        test.members,
        interchange=True,
        intervened=True,
        parameters={"l": tuple(range(cells))},
        span=test.span,
    )
    scores = compile_metrics(context, found)
    assert not found.errors, list(found)
    return scores


if __name__ == "__main__":
    sys.exit(main())
