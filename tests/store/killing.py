"""Runs in processes of their own that are killed at a step: forked from one that has imported everything."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections import Counter
from pathlib import Path


def go(words: list[str], home: str, log: str, kind: str, count: int, checkpoints: float) -> None:
    """In the child: run a command line; SIGKILL right after the ``count``-th step of a kind (0: none)."""
    import torch

    from causal_dsl.fitting import loop as fits
    from causal_dsl.store import faults
    from causal_dsl.tools.cli import main
    from causal_dsl.training import loop as trainings

    torch.set_num_threads(1)
    os.chdir(home)
    os.environ["CAUSAL_DSL_CACHE"] = str(Path(home) / "cache")
    fits.KEEP_EVERY = trainings.EVERY = checkpoints  # a checkpoint after every step
    heard: Counter[str] = Counter()
    out = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    def reached(step: str) -> None:
        heard[step] += 1
        os.write(out, f"{step}\n".encode())
        if step == kind and heard[step] == count:
            os.kill(os.getpid(), signal.SIGKILL)

    faults.reached = reached
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    code = main(words)
    os._exit(code)


def run(words: list[str], home: Path, kind: str = "", count: int = 0) -> tuple[int, Counter[str]]:
    """A command in a process of its own: its exit code (-9: killed), and how often each step was reached."""
    log = home / "steps.log"
    log.unlink(missing_ok=True)
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(
        ["causal_dsl.running", "causal_dsl.tools.cli", "pandas", "pyarrow.parquet", "transformers"]
    )
    child = server.Process(target=go, args=(words, str(home), str(log), kind, count, 0.0))
    child.start()
    child.join(120)
    assert child.exitcode is not None, "it hangs"
    return child.exitcode, Counter(log.read_text().split("\n")[:-1]) if log.exists() else Counter()


def results(home: Path, name: str) -> dict[str, object]:
    """What a run stored, without how long it took and where its folder was."""
    found = json.loads((home / "out" / name / "results.json").read_text())
    for network in found["networks"].values():
        network.pop("identity", None)  # who it is hangs on the folder that its paths start from

    def plain(value: object) -> object:
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items() if k not in ("seconds", "path", "file", "diagnostics")}
        return [plain(v) for v in value] if isinstance(value, list) else value

    said = plain(found)
    assert isinstance(said, dict)
    return said
