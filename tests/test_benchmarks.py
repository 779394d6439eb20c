"""The project's own part of each benchmark runs, at its smallest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent.parent

#: The benchmarks that need no other environment and no pretrained model, each with the least that it can be given.
ALONE = {
    "circuits": ("--layers", "2", "--pairs", "2", "--circuits", "1", "--rounds", "1"),
    "coverage": ("--trials", "2"),
    "scoring": ("--most", "100000"),
    "card_hours": (),
}


def ran(*arguments: str) -> str:
    """What ``python -m`` prints; it must end with 0."""
    given = {**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=HERE, env=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.nightly] * (n == "card_hours")) for n in ALONE])
def test_a_benchmark_that_needs_nothing_else_runs(name: str) -> None:
    assert ran(f"benchmarks.{name}", *ALONE[name]).strip()


@pytest.mark.nightly
@pytest.mark.real
def test_our_part_of_the_comparison_with_peers_runs(tmp_path: Path) -> None:
    """Sweeps and fits of the real model beside hooks by hand, in this very environment: numbers are equal, times are there."""
    from benchmarks import environments

    interpreter = environments.python_of(tmp_path / "envs", "plain")
    interpreter.parent.mkdir(parents=True)
    interpreter.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    interpreter.chmod(0o755)
    made = json.dumps(environments.ENVIRONMENTS["plain"].to_json())
    (tmp_path / "envs" / "plain" / environments.MADE).write_text(made)
    ran(
        *("benchmarks", "run", "W1", "W4", "W3", "--smoke", "--contenders", "ours", "--rounds", "1"),
        *("--envs", str(tmp_path / "envs"), "--out", str(tmp_path / "out")),
    )
    table = (tmp_path / "out" / "table.txt").read_text()
    assert all(name in table for name in ("W1", "W4", "W3"))
