"""Workers for tests of the pool: what their units do is written in their names."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from dataclasses import dataclass

from causal_dsl.cluster.answer import Answer


@dataclass(frozen=True)
class Job:
    """A unit that takes so many seconds, or does what ``how`` says."""

    key: str
    seconds: float = 0.0
    how: str = ""
    needs: tuple[str, ...] = ()
    network: str = ""


class Acting:
    """A worker that computes nothing. ``folder``: where it notes what it ran."""

    def __init__(self, folder: str):
        self.folder, self.steps = folder, 0

    def join(self):
        return os.getpid(), "here", []

    def look(self):
        return self.steps

    def finish(self):
        return []

    def load(self, job: Job) -> Answer:
        if job.network == "deadly":
            os.kill(os.getpid(), signal.SIGKILL)
        return Answer(True)

    def run(self, job: Job, halved: int) -> Answer:
        with open(os.path.join(self.folder, job.key), "a") as file:
            file.write(f"{os.getpid()} {halved}\n")
        match job.how:
            case "crashes":
                ctypes.string_at(0)
            case "is killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "hangs":
                time.sleep(1000)
            case "fails":
                return Answer(False, why="it is faulty")
        until = time.monotonic() + job.seconds
        while time.monotonic() < until:
            time.sleep(0.05)
            self.steps += 1
        return Answer(True, job.seconds)
