"""Processes that share a network's weights out: what one finds with others is what it finds alone."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.engine.test_matrix import matrix_of, vectors
from tests.engine.tiny import spec_of
from tests.network.test_stream import FITTED

ROOT = Path(__file__).parents[2]
FAMILIES = ["llama", "gpt2", "gemma2", "qwen3_moe"]
SWEEP = "\ntest t on a { base, source ~ m(n=24, seed=1)\n do(same <- source)\n report iia, mean(kl) }\n"


def sharded(text: str) -> str:
    return text.replace(", padding=", ", shard=auto, padding=", 1)


def together(size: int, words: list[str], cache: Path, timeout: float = 300) -> list[subprocess.CompletedProcess[str]]:
    """The same command in some processes, as ``torchrun`` starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    about = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "CAUSAL_DSL_CACHE": str(cache),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    started = [
        subprocess.Popen(
            [sys.executable, *words],
            env={**about, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for rank in range(size)
    ]
    done = []
    try:
        for process in started:
            out, err = process.communicate(timeout=timeout)
            done.append(subprocess.CompletedProcess(words, process.returncode, out, err))
    finally:
        for process in started:
            process.kill()
    return done


def found_by(size: int, what: str, text: str, folder: Path, *more: str) -> Any:
    folder.mkdir(exist_ok=True)
    spec, out = folder / "s.causal", folder / f"{what}-{size}.pickle"
    spec.write_text(text, encoding="utf-8")
    done = together(
        size, ["-m", "tests.network.sharded_worker", what, str(spec), str(out), *more], folder / f"cache{size}"
    )
    assert [one.returncode for one in done] == [0] * size, [one.stderr[-1500:] for one in done]
    return pickle.loads(out.read_bytes())


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_site_is_as_in_one_process(family: str, tmp_path: Path) -> None:
    """Every site of every layer, written from itself: no logit differs at all, and each process holds half of each layer."""
    path, _ = vectors()
    chosen = [case for case in matrix_of(family) if case.text == "<- source"]
    tests = "\n".join(
        f"test t{number} on a(l=0, p=x) {{ {case.draw}\n do({case.action.replace('VECTORS', path)})\n report mean(kl) }}"
        for number, case in enumerate(chosen)
    )
    text = sharded(spec_of(family, tests, layers="[0]", positions="[x]"))
    one, two = (found_by(size, "logits", text, tmp_path) for size in (1, 2))
    assert one[:2] == two[:2] and len(one[3]) == len(two[3]) == len(chosen)
    assert one[2] / 2 <= two[2] < 0.6 * one[2]
    for case, a, b in zip(chosen, one[3], two[3], strict=True):
        assert np.array_equal(a, b), case.action


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_sweeps_and_fits_are_as_in_one_process(family: str, tmp_path: Path) -> None:
    text = sharded(spec_of(family, SWEEP + FITTED, layers="0:3"))
    one, two = (found_by(size, "run", text, tmp_path) for size in (1, 2))
    assert [test["name"] for test in one] == ["t", "learned"]
    for told in (*one, *two):  # each of the two has a cache of its own
        for cell in told["cells"]:
            for feature in (cell["learned"] or {}).get("features", []):
                feature["file"] = Path(feature["file"]).name
    for mine, theirs in zip(one, two, strict=True):
        assert mine["cells"] == theirs["cells"]


@pytest.mark.slow
def test_blocks_are_run_by_all(tmp_path: Path) -> None:
    """Little memory gives several blocks, an odd number among them; processes take one each and tell each other."""
    text = sharded(spec_of("llama", SWEEP, layers="0:3"))
    one, two, three = (found_by(size, "run", text, tmp_path, "600000") for size in (1, 2, 3))
    assert one[0]["cells"] == two[0]["cells"] == three[0]["cells"]


@pytest.mark.slow
def test_the_first_process_tells_and_writes_and_goes_on(tmp_path: Path) -> None:
    """The command line: one report, one folder; a second run takes its blocks from there."""
    spec, out = tmp_path / "s.causal", tmp_path / "out"
    spec.write_text(sharded(spec_of("llama", SWEEP, layers="0:3")), encoding="utf-8")
    words = ["-m", "causal_dsl.tools.cli", "run", str(spec), "--out", str(out), "--memory", "600KB"]
    found = []
    for _ in range(2):
        first, second = together(2, words, tmp_path / "cache")
        assert first.returncode == second.returncode == 0, first.stderr + second.stderr
        assert "iia" in first.stdout and not second.stdout
        found.append(first.stdout)
    assert (out / "results.json").exists()


@pytest.mark.slow
def test_where_one_fails_none_waits(tmp_path: Path) -> None:
    """A fault of the spec is each one's own; a file that is gone for one ends all."""
    spec = tmp_path / "s.causal"
    spec.write_text(
        sharded(spec_of("llama", SWEEP.replace("report iia", "report nothing"), layers="0:3")), encoding="utf-8"
    )
    for done in together(2, ["-m", "causal_dsl.tools.cli", "run", str(spec)], tmp_path / "cache", timeout=100):
        assert done.returncode == 2 and "error[" in done.stderr
