"""Mutated specs through ``check`` and ``run``: no traceback, no exception of ours, and whatever was asked for is in the results.

``MUTATED=20000 pytest -m slow tests/tools/test_mutated_specs.py`` tries as many through ``check``, and a twentieth of them through
``run``, half on token and half on vector networks; ``MUTATED_SEED=7`` tries others. A failure names the seed that made its spec.
"""

from __future__ import annotations

import json
import math
import os
import random
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from causal_dsl.tools.cli import main
from tests.tools.mutation import corpus, kept, mutants, mutated, on_tokens, prepare

MANY = int(os.environ.get("MUTATED", "120"))
FIRST = 1_000_000 * int(os.environ.get("MUTATED_SEED", "0"))
#: Seconds of CPU that one small spec may take.
PATIENCE = {"check": 20, "run": 60}


@contextmanager
def patience(seconds: int, what: str) -> Iterator[None]:
    def out(*_: object) -> None:
        pytest.fail(f"longer than {seconds} s of CPU: {what}")  # no Exception: nothing on the way takes it for its own

    before = signal.signal(signal.SIGPROF, out)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def no_numbers(value: Any, path: str = "") -> Iterator[str]:
    """Where a document holds a NaN or an infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        yield path
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from no_numbers(item, f"{path}.{key}")


def tried(command: str, trust: bool, spec: Path, made: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The document that a command prints of a spec, ``made`` by a seed."""
    with patience(PATIENCE[command], made):
        code = main([command, *(["--trust"] if trust else []), str(spec), "--json"])
    said = capsys.readouterr()
    assert code in (0, 1, 2), made
    document = json.loads(said.out)
    codes = [d["code"] for one in document["specs"] for d in one["diagnostics"]]
    assert "E799" not in codes and "Traceback" not in said.err, f"{said.out}\n{said.err}\n{made}"
    assert code != 2 or any(code.startswith("E") for code in codes), f"{codes}\n{made}"
    assert not list(no_numbers(document)), made
    found: dict[str, Any] = document["specs"][0]
    found["exit"] = code
    return found


def is_small(text: str) -> bool:
    """Whether nothing in the spec asks for much work."""
    return all(int(n) <= 2000 for n in re.findall(r"(?:n|steps|epochs|restarts|layers|width)=(\d+)", text))


@pytest.mark.slow
def test_mutated_specs_through_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(tmp_path)
    specs, spec = corpus(), tmp_path / "spec.causal"
    for seed in range(FIRST, FIRST + MANY):
        text = mutated(random.Random(seed), specs)
        spec.write_text(text, encoding="utf-8")
        tried("check", bool(seed % 2), spec, f"seed {seed}\n{text}", capsys)


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [True, False], ids=["tokens", "vectors"])
def test_mutated_specs_through_run(tokens: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(tmp_path)
    specs = [text for text in mutants() if on_tokens(text) == tokens]
    spec = tmp_path / "spec.causal"
    for seed in range(FIRST, FIRST + max(1, MANY // 40)):
        checked: dict[str, Any] = {}

        def passes(text: str, seed: int = seed, checked: dict[str, Any] = checked) -> bool:
            if not is_small(text):
                return False
            spec.write_text(text, encoding="utf-8")
            found = tried("check", True, spec, f"seed {seed}\n{text}", capsys)
            if found["exit"] == 0 and found["tests"]:
                checked[text] = {test["name"] for test in found["tests"]}
            return text in checked

        text = kept(random.Random(seed), specs, passes)
        if text not in checked:
            continue  # nothing could be changed
        spec.write_text(text, encoding="utf-8")
        made = f"seed {seed}\n{text}"
        done = tried("run", True, spec, made, capsys)
        if done["exit"] != 2:
            assert checked[text] == {test["name"] for test in done["tests"]}, made


@pytest.mark.slow
def test_what_is_mutated_is_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Else hardly any mutation of it would run."""
    prepare(tmp_path)
    for text in mutants():
        (tmp_path / "spec.causal").write_text(text, encoding="utf-8")
        assert tried("check", True, tmp_path / "spec.causal", text, capsys)["exit"] == 0, text
