"""The driver's loop: what workers tell goes to the scheduler, and what it asks for to the workers, until all units are stored or set aside."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from causal_dsl.cluster.events import Action, Event, Finished, Start, Stopped, Tick
from causal_dsl.cluster.scheduler import Scheduler
from causal_dsl.cluster.worker_pool import WorkerPool
from causal_dsl.report.progress import Progress

#: Seconds after which the scheduler hears that time went by, and progress is told anew.
TICK = 0.5
#: Seconds after which progress is told again although nothing changed.
AGAIN = 60.0
#: Seconds that workers may be waited for before it is said.
_PATIENCE = 15.0


def drive(
    scheduler: Scheduler[Any],
    pool: WorkerPool,
    bar: Progress,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Let the workers of a pool run the units of a scheduler. Ends when it is over; raises KeyboardInterrupt on Ctrl-C, with all
    workers ended and what was finished stored."""
    shown = _Shown(scheduler, pool, bar, clock())
    try:
        _tell(scheduler, pool, Tick(), clock())
        while not scheduler.over:
            for event in pool.events(TICK):
                _tell(scheduler, pool, event, clock())
                if isinstance(event, Finished):
                    bar.advance()
            _tell(scheduler, pool, Tick(), clock())
            shown.show(clock())
        pool.finish()
    except KeyboardInterrupt:
        scheduler.hear(Stopped("Ctrl-C"), clock())
        raise
    finally:
        pool.close()


def _tell(scheduler: Scheduler[Any], pool: WorkerPool, event: Event, now: float) -> None:
    asked: list[Action] = scheduler.hear(event, now)
    for action in sorted(
        asked, key=lambda one: isinstance(one, Start)
    ):  # a start takes long, and others wait for units
        pool.act(action)


class _Shown:
    """The progress of the workers, in words."""

    def __init__(self, scheduler: Scheduler[Any], pool: WorkerPool, bar: Progress, now: float):
        self.scheduler, self.pool, self.bar, self.began = scheduler, pool, bar, now
        self.said, self.last = "", now
        bar.begin(self._text(now), len(scheduler.units) - len(scheduler.done))

    def show(self, now: float) -> None:
        text = self._text(now)
        if text != self.said or now - self.last >= AGAIN:
            self.said, self.last = text, now
            self.bar.say(text)

    def _text(self, now: float) -> str:
        up, waiting = self.scheduler.up, self.pool.waiting
        told = [f"units on {up} worker{'' if up == 1 else 's'}"]
        if waiting:
            why = " for a free GPU" if self.pool.gpu and now - self.began > _PATIENCE else ""
            told.append(f"{waiting} starting" if not why else f"{waiting} waiting{why}")
        if self.scheduler.again:
            told.append(f"{self.scheduler.again.total()} begun again")
        left = self.scheduler.seconds_left(now)
        if left is not None:
            told.append(f"about {duration(left)} left")
        return ", ".join(told)


def duration(seconds: float) -> str:
    """Seconds as they are told: in steps of 5 seconds, of a minute, of a tenth of an hour."""
    if seconds < 60:
        return f"{5 * max(1, round(seconds / 5))} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
