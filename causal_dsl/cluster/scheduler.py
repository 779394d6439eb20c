"""Which worker runs which unit: decided from events alone, without clocks, processes or files.

The same object schedules runs (:mod:`~causal_dsl.cluster.driving`) and the simulator of ``benchmarks/``. The order is that of
list scheduling: what the longest chain waits for comes first, which is the largest first where nothing waits (R. L. Graham, Bounds
on multiprocessing timing anomalies, SIAM J. Appl. Math. 17, 1969; H. Topcuoglu et al., HEFT, IEEE TPDS 13, 2002).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable
from typing import Any, Generic, TypeVar

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.cluster.events import (
    Action,
    Alive,
    Died,
    Event,
    Failed,
    Fault,
    Finished,
    Joined,
    Kill,
    Loaded,
    Loading,
    Run,
    Scheduled,
    Start,
    Stopped,
    Tick,
)
from causal_dsl.cluster.waiting import Waiting, ranks

T = TypeVar("T", bound=Scheduled)

#: Starts of workers in a row that may fail with no unit stored between, beside one of each, before no other is tried; and loadings of a network that nobody has loaded.
_VAIN = 2
#: As many, where each ended without a word within :data:`_SHORT` seconds in all: somebody may be killing workers, and another start costs little.
_WORDLESS = 24
_SHORT = 120.0
#: The most tries of a unit beyond its limit, and loadings of a network.
_MORE = 20
#: Units that are finished before the time that is left is told.
_ENOUGH = 3
#: Seconds for which it is not worth to begin a unit a second time.
_WORTH = 10.0
#: On a cluster a unit that takes so many times as long as it should is begun by another worker as well.
DOUBLES = 2.0


@dataclass(frozen=True)
class Limits:
    """``tries`` of a unit before it waits until all others are done; then it has one more (alone, without ``doubles``), and one for each worker that
    ended in this run for no unit's sake. ``silence``: seconds without a
    sign after which a worker is ended. ``halvings``: how often memory is halved for a unit whose machine ran out of it. ``doubles``: a unit
    that takes so many times as long as it should is begun by a free worker as well, and who is first ends the other (0: never)."""

    tries: int = 2
    silence: float = 600.0
    halvings: int = 4
    doubles: float = 0.0


@dataclass
class _Worker:
    """A worker that was started: when it was heard of last, and its unit. ``up``: it has joined."""

    heard: float
    up: bool = False
    key: str = ""
    since: float = 0.0
    network: Hashable = None
    loading: bool = False


class Scheduler(Generic[T]):
    """Hands ``units`` to at most ``workers`` workers. ``stored``: keys that are in the store already. ``cost`` is in any unit that is
    the same for all; :attr:`rate` has seconds of it.

    Say what happened to :meth:`hear`, and do what it asks for, until :attr:`over`. Raises ValueError where units need each
    other in a circle, or one that is neither among them nor stored.
    """

    def __init__(
        self,
        units: Iterable[T],
        workers: int,
        cost: Callable[[T], float],
        stored: Collection[str] = (),
        limits: Limits = Limits(),
    ):
        self.units = {unit.key: unit for unit in units}
        self.workers, self.limits = max(1, workers), limits
        self.done: set[str] = {key for key in self.units if key in stored}
        self.faults: dict[str, Fault] = {}
        self.why_stopped = ""
        #: how often a unit was begun again
        self.again: Counter[str] = Counter()
        self.cost = {key: max(float(cost(unit)), 0.0) for key, unit in self.units.items()}
        self._seconds = self._measured = 0.0
        #: the units that were finished by the workers of this run, and when the first of them was begun
        self._here: set[str] = set()
        self._since: float | None = None
        self._after: dict[str, list[str]] = {}
        self._open: dict[str, int] = {}
        for key, unit in self.units.items():
            if key in self.done:
                continue
            waits = [need for need in dict.fromkeys(unit.needs) if need not in self.done and need not in stored]
            for need in waits:
                if need not in self.units:
                    raise ValueError(f"{key} needs {need}, which is no unit")
                self._after.setdefault(need, []).append(key)
            self._open[key] = len(waits)
        self._rank = ranks({key: self.cost[key] for key in self._open}, self._after)
        self._waiting = Waiting(self._rank, _Settled(self))
        self._last: list[str] = []
        self._doubled: set[str] = set()
        self._tries: dict[str, list[str]] = {}
        #: how often a worker ended without a word in a unit, or as it loaded a network; and how often with nothing to blame: it did neither, or the
        #: unit was stored and the network loaded later
        self._wordless: Counter[Hashable] = Counter()
        self._blameless = 0
        self._halved: Counter[str] = Counter()
        self._alive: dict[str, _Worker] = {}
        self._idle: dict[str, None] = {}
        self._busy = 0
        self._held: Counter[Hashable] = Counter()
        self._started = self._vain = 0
        self._why_vain = ""
        #: seconds of the workers that ended before they were up, and whether each of them ended without a word
        self._vain_seconds, self._vain_wordless = 0.0, True
        self._loaded: set[Hashable] = set()
        self._unloaded: dict[Hashable, list[str]] = {}
        for key, count in self._open.items():
            if not count:
                self._waiting.put(key, self.units[key].network)

    # ── what is known ───────────────────────────────────────────────────────────────────────────

    @property
    def over(self) -> bool:
        """Whether there is nothing left to wait for."""
        return not self._busy and (bool(self.why_stopped) or not self._left or self.stuck)

    @property
    def stuck(self) -> bool:
        """Whether units are left and no worker can be had for them; :attr:`why_stuck` says why."""
        return bool(self._left) and not self._alive and self._in_vain

    @property
    def why_stuck(self) -> str:
        return self._why_vain if self.stuck else ""

    @property
    def vain(self) -> int:
        """How many workers in a row ended before they were up, with no unit stored between."""
        return self._vain

    @property
    def progressed(self) -> bool:
        """Whether a worker of this run stored a unit."""
        return bool(self._here)

    @property
    def _left(self) -> int:
        return len(self.units) - len(self.done | self.faults.keys())

    @property
    def running(self) -> dict[str, str]:
        """The unit of each worker that has one."""
        return {name: worker.key for name, worker in self._alive.items() if worker.key}

    @property
    def up(self) -> int:
        """How many workers have joined."""
        return sum(worker.up for worker in self._alive.values())

    @property
    def rate(self) -> float | None:
        """Seconds that a unit of cost takes, by what was measured; None before."""
        return self._seconds / self._measured if self._measured else None

    def seconds_left(self, now: float) -> float | None:
        """How long the rest takes with the workers that there are, about; None until enough units were finished to tell."""
        if self.rate is None or self._since is None or len(self._here) < max(_ENOUGH, self.workers):
            return None
        left = {key for key in self.units if key not in self.done and key not in self.faults}
        begun = {worker.key: now - worker.since for worker in self._alive.values() if worker.key}
        each = {key: max(0.0, self.cost[key] * self.rate - begun.get(key, 0.0)) for key in left}
        longest = max((self._rank[key] * self.rate - begun.get(key, 0.0) for key in left), default=0.0)
        gone = (
            now - self._since
        )  # with all that units take beside their own seconds: networks loaded, workers that died
        by_time = gone * self._share(left) / self._share(self._here) if self._here else 0.0
        return max(0.0, longest, sum(each.values()) / max(1, self.up), by_time)

    def _share(self, keys: Collection[str]) -> float:
        """How much of the work some units are: half of a unit's share is by its cost, and half the same for each."""
        whole = sum(self.cost.values())
        return len(keys) / len(self.units) + (sum(self.cost[key] for key in keys) / whole if whole else 0.0)

    # ── what happens ────────────────────────────────────────────────────────────────────────────

    def hear(self, event: Event, now: float) -> list[Action]:
        """Take in an event, at a time in seconds that never goes back; what is to be done now."""
        worker = self._alive.get(getattr(event, "worker", ""))
        if worker is not None:
            worker.heard = now
        asked: list[Action] = []
        match event:
            case Joined(name) if worker is not None:
                worker.up = True
                self._live()
                self._idle[name] = None
            case Loading(_) if worker is not None and worker.key:
                worker.loading = True
            case Loaded(_) if worker is not None:
                worker.loading = False
                self._loaded.add(worker.network)
                self._unloaded.pop(worker.network, None)
                self._blameless += self._wordless.pop(("load", worker.network), 0)
            case Finished(name, key, seconds):
                asked += self._finished(name, key, seconds, now)
            case Failed(name, key, why, again) if worker is not None and worker.key == key:
                self._free(name, worker)
                self._failed(key, why, again)
            case Died(name, why, memory, wordless) if worker is not None:
                self._gone(name, why, now, memory, wordless)
            case Stopped(why):
                self.why_stopped = self.why_stopped or why
            case Tick():
                asked += self._silent(now)
            case (
                Alive() | Joined() | Loading() | Loaded() | Failed() | Died()
            ):  # of a worker that is gone, or that just lives
                pass
        return [*asked, *self._start(now), *self._hand_out(now)]

    def _free(self, name: str, worker: _Worker) -> None:
        worker.key, worker.loading = "", False
        self._busy -= 1
        self._idle[name] = None

    def _finished(self, name: str, key: str, seconds: float, now: float) -> list[Action]:
        worker = self._alive.get(name)
        if worker is not None and worker.key == key:
            self._free(name, worker)
        if key not in self.units or key in self.done:
            return []
        self._live()  # workers may die as often as they like while units get stored between
        self._blameless += self._wordless.pop(key, 0)
        self.done.add(key)  # also where its worker was taken for dead: it is in the store
        if self.faults.pop(key, None) is not None:
            self.faults = {one: fault for one, fault in self.faults.items() if not fault.behind}
            for one in list(self.faults):
                self._set_behind(one, one)
        self._here.add(key)
        self._since = now - seconds if self._since is None else self._since
        if self.cost[key] and seconds:
            self._seconds += seconds
            self._measured += self.cost[key]
        for after in self._after.get(key, ()):
            self._open[after] -= 1
            if not self._open[after] and after not in self.done:
                self._waiting.put(after, self.units[after].network)
        slower: list[Action] = [Kill(one, "another worker was faster") for one in self._with(key)]
        for action in slower:
            assert isinstance(action, Kill)
            self._gone(action.worker, action.why, now)
        return slower

    def _live(self) -> None:
        """Workers can be started: those that ended before say nothing any more."""
        self._vain, self._vain_seconds, self._vain_wordless = 0, 0.0, True

    @property
    def _in_vain(self) -> bool:
        """Whether so many workers in a row ended before they were up that no other is tried."""
        cheap = self._vain_wordless and self._vain_seconds < _SHORT
        return self._vain >= self.workers + (_WORDLESS if cheap else _VAIN)

    def _with(self, key: str) -> list[str]:
        """The workers that run a unit: two where it is run twice."""
        return [name for name, worker in self._alive.items() if worker.key == key] if key in self._doubled else []

    def _gone(self, name: str, why: str, now: float, memory: bool = False, wordless: bool = False) -> None:
        worker = self._alive.pop(name)
        self._idle.pop(name, None)
        self._busy -= bool(worker.key)
        if worker.network is not None:
            self._held[worker.network] -= 1
        if not worker.up:
            self._vain, self._why_vain = self._vain + 1, why
            self._vain_seconds += now - worker.since
            self._vain_wordless = self._vain_wordless and wordless
        if not worker.key:
            self._blameless += wordless
        if not worker.key or worker.key in self.done:
            return
        if worker.loading and not (memory and worker.network in self._loaded):
            self._wordless["load", worker.network] += wordless
            self._not_loaded(worker.key, worker.network, why)
        elif memory and not self._with(worker.key) and self._halved[worker.key] < self.limits.halvings:
            self._halved[worker.key] += 1
            self.again[worker.key] += 1
            self._waiting.put(worker.key, self.units[worker.key].network)
        else:
            self._wordless[worker.key] += wordless
            self._failed(worker.key, why, True)

    def _not_loaded(self, key: str, network: Hashable, why: str) -> None:
        """A worker died as it loaded a network: its unit is not to blame. After a few in a row all units of a network that nobody has loaded are set
        aside; of another one, the unit counts a try."""
        whys = self._unloaded.setdefault(network, [])
        whys.append(why)
        many = len(whys) >= _VAIN + self.workers + min(self._blameless, self._wordless["load", network], _MORE)
        if many and network in self._loaded:
            self._failed(key, why, True)
            return
        if key not in self.faults and not self._with(key):
            self.again[key] += 1
            self._waiting.put(key, network)
        if not many:
            return
        settled = self.done | self.faults.keys() | {worker.key for worker in self._alive.values()}
        for one in [one for one, unit in self.units.items() if unit.network == network and one not in settled]:
            self._set_aside(one, Fault(one, tuple(whys), loading=True))

    def _failed(self, key: str, why: str, again: bool) -> None:
        if key in self.done or self._with(key):
            return
        tries = self._tries.setdefault(key, [])
        tries.append(why)
        if not again or len(tries) > self.limits.tries + min(self._blameless, self._wordless[key], _MORE):
            self._set_aside(key, Fault(key, tuple(tries), known=not again))
        elif len(tries) < self.limits.tries:
            self.again[key] += 1
            self._waiting.put(key, self.units[key].network)
        else:
            self.again[key] += 1
            self._last.append(key)

    def _set_aside(self, key: str, fault: Fault) -> None:
        self.faults[key] = fault
        self._set_behind(key, key)

    def _set_behind(self, key: str, first: str) -> None:
        """Set aside all that waits for a unit that was."""
        stack = [key]
        while stack:
            for after in self._after.get(stack.pop(), ()):
                if after not in self.faults and after not in self.done:
                    self.faults[after] = Fault(after, (), behind=first)
                    stack.append(after)

    # ── what is asked for ───────────────────────────────────────────────────────────────────────

    def _silent(self, now: float) -> list[Action]:
        found: list[Action] = []
        for name, worker in list(self._alive.items()):
            if (worker.key or not worker.up) and now - worker.heard > self.limits.silence:
                doing = "" if worker.key else " as it started"
                why = f"it gave no sign for {self.limits.silence:g} seconds{doing}"
                found.append(Kill(name, why))
                self._gone(name, why, now)
        return found

    def _start(self, now: float) -> list[Action]:
        found: list[Action] = []
        wanted = 0 if self.why_stopped else min(self.workers, self._left)
        while len(self._alive) < wanted and not self._in_vain:
            name = f"worker {self._started + 1}"
            self._started += 1
            self._alive[name] = _Worker(now, since=now)
            found.append(Start(name))
        return found

    def _hand_out(self, now: float) -> list[Action]:
        found: list[Action] = []
        for name in [] if self.why_stopped else list(self._idle):
            worker = self._alive[name]
            key = self._waiting.take(worker.network, self._held) or self._alone() or self._late(now)
            if key is None:
                break
            network = self.units[key].network
            if network != worker.network:
                if worker.network is not None:
                    self._held[worker.network] -= 1
                self._held[network] += 1
            worker.key, worker.since, worker.heard, worker.network = key, now, now, network
            del self._idle[name]
            self._busy += 1
            found.append(Run(name, key, self._halved[key]))
        return found

    def _alone(self) -> str | None:
        """A unit that failed before, while no other waits; where all workers share one machine, while no other runs."""
        while self._last and (self.limits.doubles or not self._busy):
            key = self._last.pop(0)
            if key not in self.done:
                return key
        return None

    def _late(self, now: float) -> str | None:
        """The unit that takes longest of those that take far longer than they should."""
        if not self.limits.doubles or self.rate is None:
            return None
        late = [
            (self._rank[worker.key], worker.key)
            for worker in self._alive.values()
            if worker.key
            and worker.key not in self._doubled
            and len(self._tries.get(worker.key, ())) < self.limits.tries
            and now - worker.since > max(_WORTH, self.limits.doubles * self.cost[worker.key] * self.rate)
        ]
        key = max(late)[1] if late else None
        if key is not None:
            self._doubled.add(key)
        return key


class _Settled:
    """The units of a scheduler that are stored or set aside."""

    def __init__(self, scheduler: Scheduler[Any]):
        self._scheduler = scheduler

    def __contains__(self, key: object) -> bool:
        return key in self._scheduler.done or key in self._scheduler.faults


__all__ = ["DOUBLES", "Limits", "Scheduler"]
