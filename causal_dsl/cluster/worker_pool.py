"""The workers of a run as the driver sees them: Ray actors that are started, given units, looked at, and ended."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import field
from textwrap import shorten
from typing import Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.cluster.answer import Answer
from causal_dsl.cluster.events import (
    Action,
    Alive,
    Died,
    Event,
    Failed,
    Finished,
    Joined,
    Kill,
    Loaded,
    Loading,
    Run,
    Start,
    Stopped,
)
from causal_dsl.cluster.ray_session import Machines, died_of, installed
from causal_dsl.diagnostics import Diagnostic

#: What a worker is asked for when it loads the network of its next unit.
_LOAD = "+"
#: Seconds between two looks at each worker.
LOOK = 2.0
#: Seconds that a worker may take for its last look.
_LAST = 60.0


@dataclass
class _Actor:
    handle: Any
    process: int = 0
    node: str = ""
    seen: Any = None
    looked: float = 0.0
    looking: bool = False
    #: the network that it has loaded, and the unit that waits for one
    network: Any = None
    next: Run | None = None


@dataclass
class WorkerPool:
    """Workers on the machines of ``place``: actors of the class ``host``, which is given ``load``; ``tasks`` are the units by their keys.
    ``gpu``: each worker has one of its own.

    ``diagnostics`` has those of units that failed by a fault of the spec or of its environment.
    """

    place: Machines
    host: type
    load: Any
    tasks: Mapping[str, Any]
    gpu: bool = False
    diagnostics: dict[str, tuple[Diagnostic, ...]] = field(default_factory=dict)
    #: why no worker can be used, whichever machine it is on: the driver stops for it
    refused: list[Diagnostic] = field(default_factory=list)
    _actors: dict[str, _Actor] = field(default_factory=dict)
    _waits: dict[Any, tuple[str, str]] = field(default_factory=dict)
    _news: list[Event] = field(default_factory=list)

    def act(self, action: Action) -> None:
        """Do what the scheduler asks for."""
        ray = installed()
        match action:
            case Start(name):
                made = ray.remote(self.host).options(
                    num_cpus=0, num_gpus=1 if self.gpu else 0, max_restarts=0, max_task_retries=0, max_concurrency=2
                )
                handle = made.remote(self.load)
                self._actors[name] = _Actor(handle, looked=time.monotonic())
                self._waits[handle.join.remote()] = (name, "")
            case Run(name, key, _):
                actor = self._actors[name]
                if actor.network == self.tasks[key].network:
                    self._run(actor, action)
                    return
                actor.network, actor.next = None, action
                self._news.append(Loading(name))
                self._waits[actor.handle.load.remote(self.tasks[key])] = (name, _LOAD)
            case Kill(name, _):
                self.end(name)

    def _run(self, actor: _Actor, asked: Run) -> None:
        self._waits[actor.handle.run.remote(self.tasks[asked.key], asked.halved)] = (asked.worker, asked.key)

    def end(self, name: str) -> None:
        """End a worker, at once."""
        actor = self._actors.pop(name, None)
        if actor is not None:
            installed().kill(actor.handle)

    def finish(self) -> None:
        """Let each worker look whether its networks are what they were; what is wrong goes to :attr:`refused`."""
        ray = installed()
        for name, actor in list(self._actors.items()):
            if not actor.process:
                continue
            try:
                found = ray.get(actor.handle.finish.remote(), timeout=_LAST)
            except Exception:  # it died after its last unit: what it stored is whole
                self.end(name)
                continue
            self.refused += [one for one in found if one not in self.refused]

    def close(self) -> None:
        """End all workers."""
        for name in list(self._actors):
            self.end(name)
        self._waits.clear()

    @property
    def waiting(self) -> int:
        """How many workers were asked for and have not said that they are up."""
        return sum(not actor.process for actor in self._actors.values())

    def processes(self) -> dict[str, int]:
        """The process of each worker that is up."""
        return {name: actor.process for name, actor in self._actors.items() if actor.process}

    def events(self, seconds: float) -> list[Event]:
        """The events since the last call, waited for at most so long."""
        ray = installed()
        self._look()
        if self._news:
            news, self._news = self._news, []
            return news
        if not self._waits:
            time.sleep(seconds)
            return []
        ready, _ = ray.wait(list(self._waits), num_returns=1, timeout=seconds)
        if ready and len(self._waits) > 1:  # with what else there is by now
            ready, _ = ray.wait(list(self._waits), num_returns=len(self._waits), timeout=0)
        return [event for one in ready for event in self._heard(one)]

    def _look(self) -> None:
        """Ask workers how far they are, each now and then."""
        for name, actor in self._actors.items():
            if actor.process and not actor.looking and time.monotonic() - actor.looked >= LOOK:
                actor.looking, actor.looked = True, time.monotonic()
                self._waits[actor.handle.look.remote()] = (name, "?")

    def _heard(self, reference: Any) -> list[Event]:
        ray = installed()
        name, about = self._waits.pop(reference)
        actor = self._actors.get(name)
        try:
            found = ray.get(reference)
        except Exception as error:  # it died; or what it raised cannot be told
            if about == "?" or actor is None:
                return []
            return self._lost(name, error)
        if about == "?":
            if actor is None:
                return []
            actor.looking = False
            moved, actor.seen = found != actor.seen, found
            return [Alive(name)] if moved else []
        if not about:
            return self._up(name, found) if actor is not None else []
        if about == _LOAD:
            return self._has_loaded(name, actor, found) if actor is not None else []
        return self._answered(name, about, found)

    def _up(self, name: str, found: Any) -> list[Event]:
        process, node, faults = found
        if faults:
            self.refused += [one for one in faults if one not in self.refused]
            return [Stopped("no worker can be used")]
        self._actors[name].process, self._actors[name].node = process, node
        return [Joined(name)]

    def _has_loaded(self, name: str, actor: _Actor, answer: Answer) -> list[Event]:
        asked, actor.next = actor.next, None
        assert asked is not None
        if not answer.stored:
            return self._answered(name, asked.key, answer)
        actor.network = self.tasks[asked.key].network
        self._run(actor, asked)
        return [Loaded(name)]

    def _answered(self, name: str, key: str, answer: Answer) -> list[Event]:
        if answer.stored:
            return [Finished(name, key, answer.seconds)]
        if answer.diagnostics:
            self.diagnostics[key] = answer.diagnostics
        events: list[Event] = [Failed(name, key, answer.why, answer.again)]
        if answer.full:
            self.refused += [one for one in answer.diagnostics if one not in self.refused]
            events.append(Stopped(answer.why))
        return events

    def _lost(self, name: str, error: BaseException) -> list[Event]:
        actor = self._actors.pop(name)
        said = " ".join(str(error).split())
        memory = type(error).__name__ == "OutOfMemoryError" or "running low on memory" in said
        crash = died_of(self.place.logs, actor.process) if actor.process else ""
        wordless = False
        if memory:
            why = "its machine ran out of memory, and Ray ended it"
        elif crash:
            why = f"its process crashed: {crash}"
        elif actor.process:
            wordless = True
            why = "its process ended without a word: it was killed, it crashed, or the system had no memory left for it"
        else:
            why, wordless = _not_started(error, said)
        return [Died(name, why, memory, wordless)]


def _not_started(error: BaseException, said: str) -> tuple[str, bool]:
    """Why an actor did not start, by what Ray says of it, without its identifiers; and whether it ended without a word."""
    for mark in ("ModuleNotFoundError: ", "ImportError: ", "Error: "):
        if mark in said:
            return f"it could not start: {shorten(mark + said.rpartition(mark)[2], 200, placeholder=' …')}", False
    if type(error).__name__ in ("ActorDiedError", "RayActorError", "WorkerCrashedError"):
        return (
            "its process ended as it started: it was killed, it crashed, or the system had no memory left for it",
            True,
        )
    return f"it could not start: {shorten(said, 200, placeholder=' …')}", False
