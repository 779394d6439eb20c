"""Workers by the real Ray: they are started, killed, crash and hang; nothing of Ray stays, and nothing is printed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest

from causal_dsl.cluster import ray_session
from causal_dsl.cluster import worker_pool as pools
from causal_dsl.cluster.driving import drive
from causal_dsl.cluster.ray_session import session
from causal_dsl.cluster.scheduler import Limits, Scheduler
from causal_dsl.cluster.worker_pool import WorkerPool
from causal_dsl.diagnostics import SpecError
from causal_dsl.report.progress import Progress
from tests.cluster.hosts import Acting, Job

pytestmark = [pytest.mark.tools]


@pytest.fixture(scope="module")
def machines():
    with session(None, 2) as found:
        yield found


def driven(machines, folder: Path, jobs: list[Job], workers: int = 2, **limits) -> tuple[Scheduler[Job], WorkerPool]:
    scheduler = Scheduler(jobs, workers, lambda job: job.seconds, limits=Limits(**limits))
    return scheduler, WorkerPool(machines, Acting, str(folder), {job.key: job for job in jobs})


def test_units_that_crash_kill_hang_or_fail_are_set_aside_and_the_rest_is_run(machines, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(pools, "LOOK", 0.2)
    bad = [Job("c", how="crashes"), Job("k", how="is killed"), Job("h", how="hangs"), Job("f", how="fails")]
    unloaded = [Job(f"l{n}", network="deadly") for n in range(20)]
    jobs = [*unloaded, *bad, Job("after", needs=("f",)), *(Job(f"u{n}", 0.1) for n in range(8))]
    scheduler, pool = driven(machines, tmp_path, jobs, silence=3.0)
    drive(scheduler, pool, Progress())
    assert scheduler.done == {f"u{n}" for n in range(8)}
    loading = {key: fault for key, fault in scheduler.faults.items() if fault.loading}
    assert loading.keys() == {job.key for job in unloaded}
    assert all(len(fault.tries) in (4, 5) for fault in loading.values()), (
        "few workers die of a network that none can load"
    )
    why = {key: fault.tries[-1] for key, fault in scheduler.faults.items() if fault.tries}
    assert "Segmentation fault" in why["c"] and "ended without a word" in why["k"]
    assert "no sign for 3 seconds" in why["h"] and why["f"] == "it is faulty"
    assert scheduler.faults["after"].behind == "f" and not (tmp_path / "after").exists()
    assert all(len((tmp_path / job.key).read_text().splitlines()) == 3 for job in bad)
    assert all(len((tmp_path / key).read_text().splitlines()) == 1 for key in scheduler.done)
    assert capfd.readouterr() == ("", "")


def test_a_unit_costs_its_driver_less_than_twenty_milliseconds(machines, tmp_path):
    jobs = [Job(f"u{n}") for n in range(200)]
    scheduler, pool = driven(machines, tmp_path, jobs, workers=1)
    times: list[float] = []

    class Watch(Progress):
        def advance(self, steps: int = 1) -> None:
            times.append(time.thread_time())

    drive(scheduler, pool, Watch())
    assert len(times) == 200
    assert (times[-1] - times[0]) / 199 < 0.02  # of the driver's own time: the machine may be busy


def test_no_worker_dies_of_ctrl_c_before_its_driver_ends_it(machines, tmp_path):
    scheduler, pool = driven(machines, tmp_path, [Job("long", 60), Job("short", 0.1)])
    threading.Timer(6.0, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    seen: list[int] = []

    class Watch(Progress):
        def say(self, text: str) -> None:
            seen.extend(pool.processes().values())

    with pytest.raises(KeyboardInterrupt):
        drive(scheduler, pool, Watch())
    assert "short" in scheduler.done and scheduler.over is False
    until = time.monotonic() + 20
    while any(psutil.pid_exists(one) and psutil.Process(one).status() != "zombie" for one in seen):
        assert time.monotonic() < until, "a worker outlived its driver's Ctrl-C"
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("most", "units"),
    [pytest.param(5, 16, marks=pytest.mark.slow), pytest.param(20, 50, marks=pytest.mark.nightly)],
    ids=["five", "twenty"],
)
def test_kills_lose_nothing(most, units, machines, tmp_path):
    jobs = [Job(f"u{n}", 0.3) for n in range(units)]
    scheduler, pool = driven(machines, tmp_path, jobs)
    kills, stop = [], threading.Event()
    random.seed(0)

    def kill() -> None:
        while len(kills) < most and not stop.wait(random.uniform(0.2, 0.9)):
            there = list(pool.processes().values())
            if there and psutil.pid_exists(victim := random.choice(there)):
                os.kill(victim, signal.SIGKILL)
                kills.append(victim)

    killer = threading.Thread(target=kill)
    killer.start()
    drive(scheduler, pool, Progress())
    stop.set()
    killer.join()
    assert scheduler.done == {job.key for job in jobs} and not scheduler.faults
    ran = sum(len((tmp_path / job.key).read_text().splitlines()) for job in jobs)
    assert kills and ran <= len(jobs) + len(kills), "what was done ran again"


def test_an_address_where_nobody_is_and_one_that_is_none_are_told(monkeypatch):
    monkeypatch.setattr(ray_session.installed(), "is_initialized", lambda: False)  # a session of another test
    for address in ("ray://127.0.0.1:1", "127.0.0.1:1"):
        with pytest.raises(SpecError, match="E918") as found, session(address, None):
            pass
        assert address in str(found.value)
    monkeypatch.setenv("RAY_ADDRESS", "ray://127.0.0.1:1")
    assert ray_session.address_used("auto") == ("ray://127.0.0.1:1", "RAY_ADDRESS")


def test_nothing_of_ray_stays_when_a_driver_is_killed(tmp_path):
    code = (
        "import os, signal, sys\n"
        "from causal_dsl.cluster.ray_session import session\n"
        "with session(None, 1) as machines:\n"
        "    print(machines.logs, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    folder = Path(ran.stdout.strip())
    assert ran.returncode == -signal.SIGKILL and folder.parent == Path(tempfile.gettempdir())
    ray_session.clear_left()
    assert not folder.exists()
