"""Runs contenders side by side: each in its own process and environment, in shuffled order, in several rounds.

First all of them run small workloads, and must give the same patched logits as plain hooks; then they are timed. The
logits of the timed runs are compared as well.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import environments
from benchmarks.contenders import CONTENDERS, FORWARD, Entry
from benchmarks.ours import arrays_of
from benchmarks.workloads import CHECKS, NETWORK, TOUCH, Workload

REFERENCE = "hooks"
#: Largest difference of a logit that is put down to rounding.
TOLERANCE = 1e-3
ROOT = Path(__file__).resolve().parent.parent


class Disagreement(Exception):
    """Contenders gave different logits: nothing that they are timed at can be compared."""


class Failure(Exception):
    """A contender's process ended with an error."""


@dataclass
class Session:
    """One run of the benchmarks. ``work`` holds specs, arrays and logits; ``times[workload][contender]`` a result a round."""

    envs: Path
    out: Path
    threads: int
    contenders: list[Entry]
    workloads: list[Workload]
    smoke: bool = False
    times: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)
    differences: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def work(self) -> Path:
        return self.out / "work"

    def prepare(self) -> None:
        """Write the specs and their arrays; fetch the network, where it is not here yet."""
        from causal_dsl.network.zoo.open import open_zoo

        self.model = open_zoo(NETWORK)
        self.work.mkdir(parents=True, exist_ok=True)
        if not self.workloads:
            return
        for workload in (*CHECKS, TOUCH, *self.workloads, *(w.warmup for w in self.workloads)):
            (self.work / f"{workload.name}.causal").write_text(workload.spec, encoding="utf-8")
            arrays_of(workload.spec).save(self.arrays(workload))

    def arrays(self, workload: Workload) -> Path:
        return self.work / f"{workload.name}.npz"

    # ── agreement ───────────────────────────────────────────────────────────────────────────────

    def check(self) -> None:
        """Raise :class:`Disagreement` where a contender's logits are not those of plain hooks."""
        entries = {entry.name: entry for entry in (CONTENDERS[REFERENCE], *self.contenders)}
        for entry in entries.values():
            works = [{"arrays": str(self.arrays(w)), "logits": str(self._logits(w.name, entry, "npy"))} for w in CHECKS]
            self.job(entry, {"kind": "check", "works": works})
            found = {}
            for workload in CHECKS:
                mine, reference = (
                    np.load(self._logits(workload.name, one, "npy")) for one in (entry, entries[REFERENCE])
                )
                found[workload.name] = _difference(mine, reference)
            self.differences[entry.name] = found
            told = ", ".join(f"{name} {value:.1e}" for name, value in found.items())
            print(f"  {entry.name:15} differs from {REFERENCE} by at most: {told}", flush=True)
        self.judge()

    def judge(self) -> None:
        """Raise :class:`Disagreement` where logits differ."""
        wrong = {
            f"{contender} on {workload} by {value:.2e}"
            for contender, found in self.differences.items()
            for workload, value in found.items()
            if not value <= TOLERANCE
        }
        if wrong:
            raise Disagreement(f"patched logits differ from those of {REFERENCE}: " + "; ".join(sorted(wrong)))

    # ── times ───────────────────────────────────────────────────────────────────────────────────

    def time(self, rounds: int, seed: int) -> None:
        """Time everything ``rounds`` times; the contenders of a workload run one after the other, in another order each time."""
        order = random.Random(seed)
        for number in range(rounds):
            workloads = list(self.workloads)
            order.shuffle(workloads)
            for workload in workloads:
                runners = [*self._of(workload), *([] if self.smoke else [FORWARD])]
                order.shuffle(runners)
                for entry in runners:
                    self._time(entry, workload, number, rounds)
                self._compare(workload)
        self.judge()

    def _of(self, workload: Workload) -> list[Entry]:
        return [entry for entry in self.contenders if entry.runs(workload.name)]

    def _time(self, entry: Entry, workload: Workload, number: int, rounds: int) -> None:
        alone = entry.name in ("ours", FORWARD.name)
        result = self.job(
            entry,
            {
                "kind": "time",
                "touch": str(self.arrays(TOUCH)),
                "warmup": str(self.arrays(workload.warmup)),
                "arrays": str(self.arrays(workload)),
                "every": 1 if alone else workload.every,
                "logits": str(self._logits(workload.name, entry, "npz")),
            },
        )
        self.times.setdefault(workload.name, {}).setdefault(entry.name, []).append(result)
        scaled = f" (scaled from 1/{result['scale']:.0f})" if result["scale"] > 1 else ""
        print(
            f"  round {number + 1}/{rounds}  {workload.name:15} {entry.name:15}"
            f" {result['cpu']:8.1f} s CPU {result['wall']:8.1f} s wall{scaled}",
            flush=True,
        )

    def _compare(self, workload: Workload) -> None:
        """The logits of this workload's timed runs, on the cells that both ran."""
        entries = self._of(workload)
        reference = next((entry for entry in entries if entry.name == REFERENCE), entries[0])
        with np.load(self._logits(workload.name, reference, "npz")) as file:
            wanted = dict(zip(file["cells"].tolist(), file["logits"], strict=True))
        for entry in entries:
            with np.load(self._logits(workload.name, entry, "npz")) as file:
                both = [i for i, cell in enumerate(file["cells"].tolist()) if cell in wanted]
                theirs = np.stack([wanted[file["cells"][i]] for i in both])
                difference = _difference(file["logits"][both], theirs)
            found = self.differences.setdefault(entry.name, {})
            found[workload.name] = max(found.get(workload.name, 0.0), difference)

    # ── processes ───────────────────────────────────────────────────────────────────────────────

    def _logits(self, workload: str, entry: Entry, suffix: str) -> Path:
        return self.work / f"{workload}-{entry.name}.{suffix}"

    def job(self, entry: Entry, job: dict[str, Any]) -> Any:
        """One job in a fresh process; what it wrote as its result."""
        path, result, log = (self.work / f"job{suffix}" for suffix in (".json", "-result.json", ".log"))
        job |= {"contender": entry.name, "model": str(self.model), "threads": self.threads, "result": str(result)}
        path.write_text(json.dumps(job), encoding="utf-8")
        result.unlink(missing_ok=True)
        python = sys.executable if entry.environment == "ours" else environments.python_of(self.envs, entry.environment)
        with log.open("w", encoding="utf-8") as file:
            done = subprocess.run(
                [python, "-m", "benchmarks.worker", path],
                env=pinned(self.threads),
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=self.work,
            )
        if done.returncode or not result.exists():
            tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
            raise Failure(f"{entry.name} ended with exit code {done.returncode}:\n{tail}")
        return json.loads(result.read_text(encoding="utf-8"))


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference of a logit; infinite where a number or a shape is missing."""
    if one.shape != other.shape or not np.isfinite(one).all():
        return float("inf")
    return float(np.abs(one - other).max(initial=0.0))


def pinned(threads: int) -> dict[str, str]:
    """The environment variables of every contender's process.

    By default the C library may map each large activation anew at every call and give it back, by accident of
    start-up, which costs a quarter of the time; idle threads of OpenMP may spin and count as CPU time.
    """
    return os.environ | {
        "PYTHONPATH": str(ROOT),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(2**40),
    }


def missing(envs: Path, contenders: Sequence[Entry]) -> list[str]:
    """Environments that these contenders need and that are not whole."""
    needed = dict.fromkeys([*(entry.environment for entry in contenders), "plain"])
    return [name for name in needed if name != "ours" and not environments.is_whole(envs, name)]
