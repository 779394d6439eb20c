"""A million settings of a ten-variable causal model, against the same model as a plain Python loop.

Run with ``python -m benchmarks.causal_model``. The loop is timed on fewer rows, and both must agree on these.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from causal_dsl.causal.members import compile_model
from causal_dsl.causal.model import CausalModel, Scope
from causal_dsl.diagnostics import Diagnostics, Source
from causal_dsl.syntax import tree
from causal_dsl.syntax.parse import parse

ROWS = 1_000_000
LOOPED = 20_000

SPEC = """
causal ten {
  a, b, c, d ~ 0..9
  left  := a == b
  right := c == d
  total := a + 2 * b - c * d
  kind  := if total < 0 then "low" else if total mod 3 == 0 then "mid" else "high"
  rank  := if left and not right then total div 2 else total * total mod 97
  output answer := (left == right or kind == "mid") and rank > 5
}
"""


def loop(a: int, b: int, c: int, d: int) -> dict[str, Any]:
    """One row of the model by hand."""
    left, right = a == b, c == d
    total = a + 2 * b - c * d
    kind = "low" if total < 0 else "mid" if total % 3 == 0 else "high"
    rank = total // 2 if left and not right else total * total % 97
    answer = (left == right or kind == "mid") and rank > 5
    return {"left": left, "right": right, "total": total, "kind": kind, "rank": rank, "answer": answer}


def compiled() -> tuple[CausalModel, float]:
    """The model, and the seconds that compiling it took (after parsing)."""
    diagnostics = Diagnostics()
    parsed = parse(Source("ten.causal", SPEC), diagnostics)
    declaration = next(d for d in parsed.declarations if isinstance(d, tree.CausalDecl))
    start = time.perf_counter()
    model = compile_model(declaration, Scope(), diagnostics)
    seconds = time.perf_counter() - start
    diagnostics.raise_errors()
    assert model is not None
    return model, seconds


def timed(call: Callable[[], Any], repeats: int = 5) -> tuple[float, Any]:
    """The shortest of several runs in seconds, and what the last gave."""
    times, found = [], None
    for _ in range(repeats):
        start = time.perf_counter()
        found = call()
        times.append(time.perf_counter() - start)
    return min(times), found


def measure(rows: int = ROWS, looped: int = LOOPED) -> dict[str, float]:
    """Seconds: to compile, for the first call and for the best one on ``rows`` rows, and for the loop (scaled to them)."""
    model, compiling = compiled()
    random = np.random.default_rng(0)
    settings = {name: random.integers(0, 10, rows) for name in model.exogenous}
    first, _ = timed(lambda: model.evaluate(settings), repeats=1)
    best, found = timed(lambda: model.evaluate(settings))
    columns = [settings[name][:looped].tolist() for name in model.exogenous]
    slow, expected = timed(lambda: [loop(*row) for row in zip(*columns, strict=True)], repeats=3)
    for name in expected[0]:
        if model.decode(name, found[name][:looped]) != [row[name] for row in expected]:
            raise AssertionError(f"the loop and the compiled function differ on {name}")
    return {"compile": compiling, "first": first, "best": best, "loop": slow * rows / looped}


def main() -> None:
    found = measure()
    print(f"{ROWS:,} settings of a ten-variable model")
    print(
        f"  compiled function  {found['best']:.3f} s  (first call {found['first']:.3f} s, compiling {found['compile']:.3f} s)"
    )
    print(f"  plain Python loop  {found['loop']:.3f} s  (scaled from {LOOPED:,} rows)")
    print(f"  ratio              {found['loop'] / found['best']:.1f}")


if __name__ == "__main__":
    main()
