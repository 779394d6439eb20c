"""Workers and units that are only told of: what happens to them is drawn, and the scheduler's answers are held to its promises."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import strategies as st

from causal_dsl.cluster.events import Action, Died, Event, Failed, Finished, Joined, Kill, Run, Start, Tick
from causal_dsl.cluster.scheduler import Limits, Scheduler


@dataclass(frozen=True)
class Unit:
    key: str
    needs: tuple[str, ...] = ()
    network: str = "one"
    cost: float = 1.0


@st.composite
def units(draw, most=12):
    """Units, each of which may need some of those before it."""
    found: list[Unit] = []
    for number in range(draw(st.integers(1, most))):
        needs = draw(st.sets(st.sampled_from([unit.key for unit in found]), max_size=2)) if found else set()
        network, cost = draw(st.sampled_from("ab")), draw(st.sampled_from([0.0, 1.0, 2.0, 5.0, 9.0]))
        found.append(Unit(f"u{number}", tuple(sorted(needs)), network, cost))
    return found


@dataclass
class World:
    """What is true of the workers. ``poison``: units that end their worker; ``faulty``: units that fail by a fault of their own."""

    scheduler: Scheduler[Unit]
    poison: frozenset[str] = frozenset()
    faulty: frozenset[str] = frozenset()
    now: float = 0.0
    starting: list[str] = field(default_factory=list)
    idle: set[str] = field(default_factory=set)
    running: dict[str, str] = field(default_factory=dict)
    zombies: dict[str, str] = field(default_factory=dict)
    stored: set[str] = field(default_factory=set)
    runs: Counter[str] = field(default_factory=Counter)
    networks: dict[str, str] = field(default_factory=dict)

    def tell(self, event: Event) -> None:
        for action in self.scheduler.hear(event, self.now):
            self.act(action)
        self.hold()

    def act(self, action: Action) -> None:
        match action:
            case Start(worker):
                self.starting.append(worker)
            case Kill(worker):
                self.idle.discard(worker)
                if worker in self.starting:
                    self.starting.remove(worker)
                if worker in self.running:
                    self.zombies[worker] = self.running.pop(worker)
            case Run(worker, key):
                unit = self.scheduler.units[key]
                assert worker in self.idle, "only a free worker is given a unit"
                assert key not in self.stored, "nothing that is stored is run again"
                twice = key in self.running.values()
                assert not twice or self.scheduler.limits.doubles, "a unit runs once at a time"
                assert Counter(self.running.values())[key] < 2, "and never more than twice"
                if twice:
                    assert not self.ready(), "twice only while nothing else is to do"
                assert set(unit.needs) <= self.stored, "what a unit needs is stored before"
                mine = [one for one in self.ready() if one.network == unit.network and not one.needs]
                if not unit.needs and not self.scheduler.again[key] and not self._behind(key) and not twice:
                    plain = [one for one in mine if not self._behind(one.key) and not self.runs[one.key]]
                    assert all(one.cost <= unit.cost for one in plain), "the largest first"
                if any(one.network == self.networks.get(worker) for one in self.ready()):
                    assert unit.network == self.networks[worker], "a worker stays with the network that it has loaded"
                self.idle.remove(worker)
                self.running[worker], self.networks[worker] = key, unit.network
                self.runs[key] += 1

    def _behind(self, key: str) -> bool:
        return any(key in unit.needs for unit in self.scheduler.units.values())

    def ready(self) -> list[Unit]:
        """Units that could be run now; not those that failed often, which wait until all others are done."""
        return [
            unit
            for unit in self.scheduler.units.values()
            if unit.key not in {*self.stored, *self.running.values(), *self.scheduler.faults}
            and set(unit.needs) <= self.stored
            and self.runs[unit.key] < self.scheduler.limits.tries
        ]

    def hold(self) -> None:
        """What is true at all times."""
        assert len(self.starting) + len(self.idle) + len(self.running) <= self.scheduler.workers
        assert self.scheduler.running == self.running
        if self.idle and not self.scheduler.why_stopped:
            assert not self.ready(), "no worker is idle while a unit could be run"
        assert self.scheduler.done == self.stored

    def end(self, worker: str, luck: str) -> None:
        """The worker's unit ends: well, or as luck has it."""
        key = self.running.pop(worker)
        if key in self.poison or luck in ("dies", "killed"):
            self.tell(Died(worker, luck, wordless=key in self.poison or luck == "killed"))
        elif luck == "memory":
            self.tell(Died(worker, "no memory", memory=True))
        elif key in self.faulty or luck == "fails":
            self.idle.add(worker)
            self.tell(Failed(worker, key, "a fault", again=key not in self.faulty))
        else:
            self.idle.add(worker)
            self.stored.add(key)
            self.tell(Finished(worker, key, self.scheduler.units[key].cost * 2))

    def late(self) -> None:
        """A worker that was taken for dead has stored its unit after all."""
        worker, key = self.zombies.popitem()
        if key not in self.stored and key not in self.running.values():
            self.stored.add(key)
            self.tell(Finished(worker, key, 1.0))

    def remove(self, worker: str) -> None:
        """A worker that has no unit is gone."""
        self.idle.discard(worker)
        if worker in self.starting:
            self.starting.remove(worker)

    def join(self, worker: str) -> None:
        self.starting.remove(worker)
        self.idle.add(worker)
        self.tell(Joined(worker))

    def finish(self) -> None:
        """Let everything that is begun go well, until all is over."""
        for _ in range(1000):
            if self.scheduler.over:
                return
            if self.starting:
                self.join(self.starting[0])
            elif self.running:
                self.end(next(iter(self.running)), "well")
            else:
                self.tell(Tick())
        raise AssertionError("it does not end")


def begun(found: list[Unit], workers: int, **more) -> World:
    world = World(Scheduler(found, workers, lambda unit: unit.cost, limits=more.pop("limits", Limits())), **more)
    world.tell(Tick())
    return world
