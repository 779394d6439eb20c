"""Runs in processes of their own that are killed at a step.

They are forked from a server that has imported everything. It has one thread, so that no lock is held where it forks. Every
wait has a limit: a run that has not ended by then says where it stands, and is a failure.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

#: Seconds that a run may take: it takes about one where nothing else runs.
LIMIT = 60.0
#: Seconds that the server may take to import everything.
STARTS_WITHIN = 120.0
#: What the server imports before it forks; what a run imports beside them it learns from each run.
FIRST = ("causal_dsl.running.running", "causal_dsl.tools.cli", "pandas", "pyarrow.parquet", "transformers")
STEPS, SAID, HANGS, MODULES = "steps.log", "said.log", "hangs.log", "modules.json"


# ── in the server ───────────────────────────────────────────────────────────────────────────────


def go(words: list[str], home: str, kind: str, count: int, limit: float, environment: dict[str, str]) -> None:
    """In a forked process: run a command line; SIGKILL right after the ``count``-th step of a kind (0: none)."""
    import torch

    from causal_dsl.store import stepwise, stopping_points
    from causal_dsl.tools.cli import main

    os.chdir(home)
    for number, name, how in ((0, os.devnull, os.O_RDONLY), (1, os.devnull, os.O_WRONLY), (2, SAID, os.O_WRONLY)):
        os.dup2(os.open(name, how | os.O_CREAT), number)
    hangs = open(HANGS, "w")  # noqa: SIM115 (it is written when this process hangs)
    faulthandler.dump_traceback_later(limit, exit=True, file=hangs)
    torch.set_num_threads(1)
    os.environ.update({"CAUSAL_DSL_CACHE": str(Path(home) / "cache"), **environment})
    stepwise.EVERY = 0.0  # a checkpoint after every step
    heard: Counter[str] = Counter()
    out = os.open(STEPS, os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    def reached(step: str) -> None:
        heard[step] += 1
        os.write(out, f"{step}\n".encode())
        if step == kind and heard[step] == count:
            os.kill(os.getpid(), signal.SIGKILL)

    stopping_points.reached = reached
    code = main(words)
    Path(MODULES).write_text(json.dumps(sorted(sys.modules)))
    sys.stderr.flush()
    os._exit(code)


def serve() -> None:
    """Fork a process for every line that is read, and write what became of it."""
    for name in FIRST:
        importlib.import_module(name)
    from causal_dsl.syntax.grammar import load_grammar

    load_grammar()
    answer({"threads": threads()})
    known: set[str] = set()
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                go(**asked)
            finally:
                os._exit(99)  # whatever happens: there is one server
        code = ended(child, asked["limit"] + 5)
        modules = Path(asked["home"]) / MODULES  # of a run that was not killed
        names = set(json.loads(modules.read_text())) - known if modules.exists() else set()
        answer({"code": code, "threads": threads()})  # what asks for the next run removes that file
        learn(sorted(names))
        known |= names
    sys.stdout.flush()
    os._exit(0)  # to take down all that was imported takes seconds


def ended(child: int, limit: float) -> int | None:
    """The exit code of a process (negative: the signal that ended it); None where it had to be ended."""
    until = time.monotonic() + limit
    while time.monotonic() < until:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def learn(names: list[str]) -> None:
    """Import what a run imported of the packages that are installed: not the code of its spec."""
    for name in names:
        top = name.partition(".")[0]
        if name not in sys.modules and (top in sys.modules or top in sys.stdlib_module_names or top in installed()):
            try:
                importlib.import_module(name)
            except Exception:  # made by other means than a file: a run makes it again
                continue


@cache
def installed() -> frozenset[str]:
    """The names under which installed packages are imported."""
    return frozenset(packages_distributions())


def threads() -> int | None:
    """How many threads this process has; None where the system does not say."""
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.is_dir() else None


def answer(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


# ── in the tests ────────────────────────────────────────────────────────────────────────────────


class Server:
    """The server, as the tests see it; it ends with the block that it is made in."""

    def __init__(self, module: str = __file__):
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            [sys.executable, "-P", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={
                **os.environ,
                **one_thread,
                "JE_ARROW_MALLOC_CONF": "background_thread:false",
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            },
        )
        self._unread = b""

    def __enter__(self) -> Server:
        self._hear(STARTS_WITHIN)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._process.stdout.close()

    def run(
        self,
        words: list[str],
        home: Path,
        kind: str = "",
        count: int = 0,
        limit: float = LIMIT,
        environment: Mapping[str, str] | None = None,
    ) -> tuple[int, Counter[str]]:
        """A command in a process of its own: its exit code (-9: killed), and how often each step was reached."""
        assert self._process.stdin is not None
        for name in (STEPS, SAID, HANGS, MODULES):
            (home / name).unlink(missing_ok=True)
        asked = {"words": words, "home": str(home), "kind": kind, "count": count, "limit": limit}
        asked["environment"] = dict(environment or {})
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        code = self._hear(limit + 15)["code"]
        hangs = (home / HANGS).read_text() if (home / HANGS).exists() else ""
        if hangs or code is None:
            raise AssertionError(f"it has not ended after {limit:g} s\n{hangs}")
        if code not in (0, -signal.SIGKILL):
            print((home / SAID).read_text())  # pytest shows it beside the failure
        steps = (home / STEPS).read_text() if (home / STEPS).exists() else ""
        return code, Counter(steps.split("\n")[:-1])

    def _hear(self, limit: float) -> Mapping[str, Any]:
        """The next answer of the server."""
        assert self._process.stdout is not None
        until = time.monotonic() + limit
        while b"\n" not in self._unread:
            left = until - time.monotonic()
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, left))
            if not ready:
                self._process.kill()
                raise AssertionError(f"the server has not answered within {limit:g} s")
            read = os.read(self._process.stdout.fileno(), 1 << 16)
            if not read:
                raise AssertionError(f"the server has ended, with exit code {self._process.wait(10)}")
            self._unread += read
        line, _, self._unread = self._unread.partition(b"\n")
        said: dict[str, Any] = json.loads(line)
        assert said["threads"] in (1, None), "the server has other threads: a process that it forks may wait for ever"
        return said


def results(home: Path, name: str) -> dict[str, object]:
    """What a run stored, without how long it took, how much of it a run before had done, and where its folder was."""
    found = json.loads((home / "out" / name / "results.json").read_text())
    for network in found["networks"].values():
        network.pop("identity", None)  # who it is hangs on the folder that its paths start from

    def plain(value: object) -> object:
        if isinstance(value, dict):
            others = ("seconds", "stored_blocks", "finished", "path", "file", "diagnostics", "seal")
            return {k: plain(v) for k, v in value.items() if k not in others}
        return [plain(v) for v in value] if isinstance(value, list) else value

    said = plain(found)
    assert isinstance(said, dict)
    return said


if __name__ == "__main__":
    serve()
