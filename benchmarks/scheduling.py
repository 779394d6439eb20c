"""What the scheduler would do with many workers, simulated: the object of real runs, with unit costs that were measured.

``python -m benchmarks.scheduling`` prints the tables of the page on scale from ``unit_costs.json``; ``python -m benchmarks.two_workers``
measures the costs on this machine and holds the prediction for two workers against a real run.

A worker takes ``start`` seconds to be up and ``load`` for each network that it turns to. What it computes goes into a store that all
share, of ``bandwidth`` bytes a second, one file after another. The driver takes ``handled`` seconds for each event, one after another. Workers
die as a Poisson process; some are slow.
"""

from __future__ import annotations

import argparse
import heapq
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from causal_dsl.cluster.events import Action, Alive, Died, Event, Finished, Joined, Kill, Run, Start, Tick
from causal_dsl.cluster.scheduler import DOUBLES, Limits, Scheduler


@dataclass(frozen=True)
class Job:
    """A unit: ``seconds`` on a worker of usual speed, the ``bytes`` that it stores, what it needs, its network."""

    key: str
    seconds: float
    bytes: int = 0
    needs: tuple[str, ...] = ()
    network: str = ""


@dataclass(frozen=True)
class Machines:
    """Where it runs. ``lives``: mean seconds until a worker dies (0: never); ``slow``: the share of workers that take ``slowness`` times as long."""

    workers: int
    start: float = 5.0
    load: float = 2.0
    bandwidth: float = 1e9
    handled: float = 0.002
    lives: float = 0.0
    slow: float = 0.0
    slowness: float = 4.0
    #: how far a unit's time is from what was measured, as the standard deviation of its logarithm
    spread: float = 0.05


@dataclass
class Simulated:
    """What came of it: ``seconds`` in all, ``busy`` seconds of work that was kept, ``lost`` that was not, ``stored`` in the order of ends."""

    seconds: float = 0.0
    busy: float = 0.0
    lost: float = 0.0
    deaths: int = 0
    stored: list[str] = field(default_factory=list)
    set_aside: int = 0


def simulate(jobs: Sequence[Job], machines: Machines, seed: int = 0, limits: Limits | None = None) -> Simulated:
    """Run jobs on simulated machines, by the scheduler of real runs."""
    return _World(jobs, machines, seed, limits or Limits()).run()


@dataclass(frozen=True)
class _Computed:
    """A unit is computed and now goes into the store."""

    worker: str
    key: str
    seconds: float


class _World:
    def __init__(self, jobs: Sequence[Job], machines: Machines, seed: int, limits: Limits):
        self.jobs, self.machines = {job.key: job for job in jobs}, machines
        self.random = np.random.default_rng(seed)
        self.scheduler = Scheduler(jobs, machines.workers, lambda job: job.seconds, limits=limits)
        self.found = Simulated()
        self.now = self.store_free = self.driver_free = 0.0
        self.queue: list[tuple[float, int, Event | _Computed]] = []
        self.number = 0
        self.alive: set[str] = set()
        self.speed: dict[str, float] = {}
        self.network: dict[str, str] = {}
        self.began: dict[str, tuple[str, float]] = {}

    def run(self) -> Simulated:
        self.tell(Tick())
        next_tick = 0.0
        while not self.scheduler.over:
            at, _, event = heapq.heappop(self.queue)
            self.now = max(self.now, at)
            worker = getattr(event, "worker", "")
            if worker and worker not in self.alive:
                continue  # it died before
            ticked = self.now >= next_tick
            next_tick = self.now + 1.0 if ticked else next_tick
            if ticked:
                self.tell(Tick())
            if isinstance(event, _Computed):
                self.store_free = max(self.store_free, self.now) + self.jobs[event.key].bytes / self.machines.bandwidth
                self.put(self.store_free, Finished(worker, event.key, event.seconds))
                continue
            if isinstance(event, Finished):
                self.found.busy += event.seconds
                self.found.stored.append(event.key)
                self.began.pop(worker, None)
            elif isinstance(event, Died):
                self.alive.discard(worker)
                self.found.deaths += 1
                _, since = self.began.pop(worker, ("", self.now))
                self.found.lost += self.now - since
            self.driver_free = max(self.driver_free, self.now) + self.machines.handled
            self.tell(event)
        self.found.seconds, self.found.set_aside = self.now, len(self.scheduler.faults)
        return self.found

    def tell(self, event: Event) -> None:
        for action in self.scheduler.hear(event, self.now):
            self.act(action)

    def put(self, after: float, event: Event | _Computed) -> None:
        self.number += 1
        heapq.heappush(self.queue, (after, self.number, event))

    def act(self, action: Action) -> None:
        machines = self.machines
        at = max(self.now, self.driver_free)
        match action:
            case Start(worker):
                self.alive.add(worker)
                self.speed[worker] = machines.slowness if self.random.random() < machines.slow else 1.0
                self.put(at + machines.start, Joined(worker))
                if machines.lives:
                    self.put(at + self.random.exponential(machines.lives), Died(worker, "killed", wordless=True))
            case Kill(worker):
                self.alive.discard(worker)
                _, since = self.began.pop(worker, ("", self.now))
                self.found.lost += self.now - since
            case Run(worker, key):
                job = self.jobs[key]
                took = job.seconds * self.speed[worker] * float(np.exp(self.random.normal(0, machines.spread)))
                if self.network.get(worker) != job.network:
                    took += machines.load
                    self.network[worker] = job.network
                self.began[worker] = (key, at)
                for sign in np.arange(at, at + took, self.scheduler.limits.silence / 2)[1:]:
                    self.put(float(sign), Alive(worker))
                self.put(at + took, _Computed(worker, key, took))


# ── tables ──────────────────────────────────────────────────────────────────────────────────────


def least(jobs: Sequence[Job], workers: int) -> float:
    """Seconds that no schedule on so many workers goes below: their work shared out evenly, and the longest chain of needs."""
    chains: dict[str, float] = {}
    known = {job.key: job for job in jobs}

    def chain(key: str) -> float:
        if key not in chains:
            chains[key] = known[key].seconds + max((chain(need) for need in known[key].needs), default=0.0)
        return chains[key]

    return max(sum(job.seconds for job in jobs) / workers, max(chain(job.key) for job in jobs))


def table(jobs: Sequence[Job], workers: Sequence[int], machines: Machines) -> list[dict[str, Any]]:
    """A row for each number of workers: the time, over the least that is possible, and with failures, stragglers and a slow store."""
    hour = 3600.0
    cases = {
        "plain": machines,
        "deaths": replace(machines, lives=hour),
        "stragglers": replace(machines, slow=0.05),
        "doubled": replace(machines, slow=0.05),
        "slow store": replace(machines, bandwidth=1e8),
    }
    rows = []
    for count in workers:
        row: dict[str, Any] = {"workers": count, "least": least(jobs, count)}
        for name, case in cases.items():
            limits = Limits(doubles=DOUBLES if name in ("doubled", "deaths") else 0.0)
            found = simulate(jobs, replace(case, workers=count), limits=limits)
            row[name] = found.seconds
            row[f"{name}: lost"] = found.lost
            row[f"{name}: set aside"] = found.set_aside
        rows.append(row)
    return rows


def repeated(jobs: Sequence[Job], times: int) -> list[Job]:
    """So many studies like one, each with a network of its own."""
    return [
        replace(
            job, key=f"{n}/{job.key}", needs=tuple(f"{n}/{need}" for need in job.needs), network=f"{n}/{job.network}"
        )
        for n in range(times)
        for job in jobs
    ]


def read(path: Path) -> tuple[list[Job], Machines]:
    """What was measured: units and the machine's own costs."""
    kept = json.loads(path.read_text(encoding="utf-8"))
    jobs = [Job(one["key"], one["seconds"], one["bytes"], tuple(one["needs"]), one["network"]) for one in kept["units"]]
    return jobs, Machines(1, **kept["machine"])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scheduling", description=__doc__)
    parser.add_argument(
        "--costs", type=Path, default=Path(__file__).with_name("unit_costs.json"), help="measured costs"
    )
    parser.add_argument("--studies", type=int, default=100, help="so many studies like the measured one (100)")
    parser.add_argument("--scale", type=float, default=100.0, help="each unit takes so many times as long (100)")
    given = parser.parse_args(arguments)
    jobs, machines = read(given.costs)
    jobs = [replace(job, seconds=job.seconds * given.scale) for job in repeated(jobs, given.studies)]
    total = sum(job.seconds for job in jobs)
    print(f"{len(jobs):,} units, {total / 3600:,.1f} worker-hours; minutes by the number of workers")
    print(
        f"{'workers':>8}{'least':>9}{'plain':>9}{'efficiency':>12}{'deaths':>9}{'stragglers':>12}{'doubled':>9}{'slow store':>12}"
    )
    for row in table(jobs, (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000), machines):
        plain = row["plain"]
        print(
            f"{row['workers']:>8}{row['least'] / 60:>9.1f}{plain / 60:>9.1f}{total / plain / row['workers']:>12.0%}"
            f"{row['deaths'] / 60:>9.1f}{row['stragglers'] / 60:>12.1f}{row['doubled'] / 60:>9.1f}{row['slow store'] / 60:>12.1f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
