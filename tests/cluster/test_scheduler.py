"""The scheduler against drawn misfortunes: workers that die, hang and run out of memory at any moment."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causal_dsl.cluster.events import Died, Loaded, Loading, Stopped, Tick
from causal_dsl.cluster.scheduler import Limits, Scheduler
from tests.cluster.worlds import Unit, begun, units

LUCK = st.sampled_from(["well", "well", "dies", "memory", "fails", "join", "hangs", "late"])


@pytest.mark.slow
@settings(max_examples=60)
@given(
    units(), st.integers(1, 4), st.lists(st.tuples(LUCK, st.integers(0, 7)), max_size=30), st.sampled_from([0.0, 0.5])
)
def test_every_unit_is_stored_or_told_of_whatever_happens(found, workers, luck, doubles):
    world = begun(found, workers, limits=Limits(doubles=doubles))
    for what, number in luck:
        world.now += 1.0
        going = sorted(world.running)
        if what == "join" and world.starting:
            world.join(world.starting[number % len(world.starting)])
        elif what == "hangs" and going:
            world.now += world.scheduler.limits.silence + 1
            world.tell(Tick())
        elif what == "late" and world.zombies:
            world.late()
        elif what in ("well", "dies", "memory", "fails") and going:
            world.end(going[number % len(going)], what)
    world.finish()
    every = {unit.key for unit in found}
    assert world.stored | world.scheduler.faults.keys() == every or world.scheduler.stuck
    assert not world.stored & world.scheduler.faults.keys()
    for key, fault in world.scheduler.faults.items():
        assert len(fault.tries) > world.scheduler.limits.tries or fault.behind in world.scheduler.faults, key


@settings(max_examples=40)
@given(units(), st.integers(1, 4), st.data())
def test_a_unit_that_ends_its_worker_is_set_aside_and_the_rest_goes_on(found, workers, data):
    keys = [unit.key for unit in found]
    poison = frozenset(data.draw(st.sets(st.sampled_from(keys), max_size=2)))
    faulty = frozenset(data.draw(st.sets(st.sampled_from(keys), max_size=2))) - poison
    world = begun(found, workers, poison=poison, faulty=faulty)
    world.finish()
    lost: set[str] = set()
    for unit in found:
        if unit.key in poison | faulty or lost & set(unit.needs):
            lost.add(unit.key)
    assert world.scheduler.faults.keys() == lost
    for key, fault in world.scheduler.faults.items():
        assert len(fault.tries) == (0 if fault.behind else 1 if key in faulty else world.scheduler.limits.tries + 1)
        assert world.runs[key] == len(fault.tries)
    assert all(world.runs[key] == 1 for key in world.stored), "what went well ran once"


@settings(max_examples=30)
@given(units(), st.integers(1, 4))
def test_nothing_is_begun_after_a_stop(found, workers):
    world = begun(found, workers)
    world.join(world.starting[0])
    world.tell(Stopped("Ctrl-C"))
    before = dict(world.runs)
    world.finish()
    assert dict(world.runs) == before


def test_what_is_stored_is_not_run():
    found = [Unit("a"), Unit("b", ("a",))]
    scheduler = Scheduler(found, 2, lambda unit: unit.cost, stored={"a"})
    assert scheduler.done == {"a"} and not scheduler.over


def test_a_failed_try_is_last_and_alone():
    world = begun([Unit("bad", cost=9), *(Unit(f"u{n}") for n in range(6))], 2, poison=frozenset({"bad"}))
    world.finish()
    assert world.runs["bad"] == 3 and len(world.stored) == 6


@pytest.mark.parametrize("seed", range(20))
def test_workers_that_are_killed_at_random_cost_no_unit_and_a_unit_that_ends_them_is_still_found(seed):
    draw = Random(seed)
    found = [Unit("poison"), *(Unit(f"u{n}") for n in range(8))]
    world = begun(found, 3, poison=frozenset({"poison"}))
    for _ in range(20):
        while world.starting and draw.random() < 0.8:
            world.join(world.starting[0])
        victims = [*world.starting, *sorted(world.idle), *sorted(world.running)]
        victim = draw.choice(victims)
        if victim in world.running:
            world.end(victim, "killed")
        else:
            world.remove(victim)
            world.tell(Died(victim, "killed", wordless=True))
        if world.running and draw.random() < 0.3:
            world.end(draw.choice(sorted(world.running)), "well")
    world.finish()
    assert world.stored == {unit.key for unit in found[1:]}
    assert world.scheduler.faults.keys() == {"poison"} and 3 <= world.runs["poison"] <= 23


def test_what_died_as_it_loaded_costs_no_unit_a_try_where_others_load_the_same():
    world = begun([Unit(f"u{n}") for n in range(4)], 2)
    for worker in list(world.starting):
        world.join(worker)
    first, _ = sorted(world.running)
    world.tell(Loading(first))
    world.tell(Loaded(first))
    for _ in range(3):
        other = next(worker for worker in sorted(world.running) if worker != first)
        world.tell(Loading(other))
        world.running.pop(other)
        world.tell(Died(other, "killed", wordless=True))
        world.join(world.starting[0])
    world.finish()
    assert len(world.stored) == 4 and not world.scheduler.faults


@pytest.mark.parametrize(("wordless", "seconds", "starts"), [(True, 1.0, 25), (True, 60.0, 3), (False, 1.0, 3)])
def test_workers_that_end_as_they_start_are_tried_longer_where_nothing_says_why_and_it_costs_little(
    wordless, seconds, starts
):
    world = begun([Unit("a")], 1)
    told = 0
    while not world.scheduler.stuck:
        world.now += seconds
        world.tell(Died(world.starting.pop(), "gone", wordless=wordless))
        told += 1
    assert told == starts and world.scheduler.why_stuck == "gone"


def test_memory_is_halved_for_a_unit_whose_machine_had_none_left():
    world = begun([Unit("large")], 1, limits=Limits(tries=2, halvings=3))
    asked = []
    for _ in range(3):
        world.join(world.starting[0])
        world.end(next(iter(world.running)), "memory")
        asked.append(world.scheduler.again["large"])
    world.finish()
    assert asked == [1, 2, 3] and world.stored == {"large"}


def test_no_worker_is_started_forever():
    world = begun([Unit("a")], 1)
    for _ in range(3):
        world.now += world.scheduler.limits.silence + 1
        world.tell(Tick())
    assert world.scheduler.stuck and world.scheduler.over
    assert "as it started" in world.scheduler.why_stuck


@pytest.mark.parametrize(("needs", "words"), [(("a",), "circle"), (("z",), "no unit")])
def test_needs_that_cannot_be_met_are_refused(needs, words):
    with pytest.raises(ValueError, match=words):
        Scheduler([Unit("a", needs)], 1, lambda unit: unit.cost)


def test_the_time_left_is_that_of_the_measured_rate_once_enough_units_tell():
    world = begun([Unit(f"u{n}", cost=3) for n in range(7)], 2)
    for worker in list(world.starting):
        world.join(worker)
    for _ in range(3):
        assert world.scheduler.seconds_left(world.now) is None, "a unit or two tell nothing"
        world.end(next(iter(world.running)), "well")  # 6 seconds for a cost of 3
    began = world.now - 6.0
    assert world.scheduler.seconds_left(world.now) == pytest.approx(12.0)  # four units of 6 seconds on two workers
    world.now = began + 300  # three units took as long, whatever they say that they worked
    assert world.scheduler.seconds_left(world.now) == pytest.approx(400.0)


def test_workers_may_die_as_often_as_they_like_while_units_are_stored_between():
    world = begun([Unit(f"u{n}") for n in range(30)], 2)
    world.join(world.starting[0])
    while len(world.stored) < 29:
        for _ in range(3):  # one fewer than may die in a row
            world.tell(Died(world.starting.pop(), "killed"))
        world.end(next(iter(world.running)), "well")
    world.finish()
    assert world.stored == set(world.scheduler.units) and not world.scheduler.stuck


def test_a_unit_that_takes_far_too_long_is_begun_by_another_worker_and_who_is_first_ends_the_other():
    world = begun([Unit("a", cost=5), Unit("b", cost=5)], 2, limits=Limits(doubles=3.0))
    for worker in list(world.starting):
        world.join(worker)
    first, second = sorted(world.running)
    world.end(first, "well")  # in ten seconds
    world.now += 25
    world.tell(Tick())
    assert world.running == {second: "b"}
    world.now += 25
    world.tell(Tick())
    assert world.running == {first: "b", second: "b"}
    world.end(first, "well")
    assert world.scheduler.over and not world.running and world.runs["b"] == 2
