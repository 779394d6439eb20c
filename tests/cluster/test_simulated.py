"""The simulator of ``benchmarks/``: the scheduler of real runs, held against what can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.card_hours import weights
from benchmarks.scheduling import Job, Machines, least, repeated, simulate
from causal_dsl.cluster.scheduler import DOUBLES, Limits

EXACT = Machines(1, start=5.0, load=2.0, handled=0.0, spread=0.0)


def test_one_worker_takes_the_sum():
    jobs = [Job(f"u{n}", 3.0) for n in range(10)]
    assert simulate(jobs, EXACT).seconds == pytest.approx(5.0 + 2.0 + 30.0)


def test_the_largest_is_first():
    jobs = [Job("small", 1.0), Job("large", 4.0), Job("middle", 3.0)]
    assert simulate(jobs, replace(EXACT, workers=2)).seconds == pytest.approx(5.0 + 2.0 + 4.0)


def test_a_store_that_all_share_is_a_bound_of_its_own():
    jobs = [Job(f"u{n}", 1.0, 10**9) for n in range(8)]
    found = simulate(jobs, replace(EXACT, workers=8, bandwidth=1e9))
    assert found.seconds == pytest.approx(5.0 + 2.0 + 1.0 + 8.0)


@settings(max_examples=25)
@given(st.lists(st.floats(0.5, 20), min_size=1, max_size=20), st.integers(1, 6), st.integers(0, 99))
def test_nothing_is_faster_than_can_be_and_deaths_lose_nothing(seconds, workers, seed):
    jobs = repeated([Job(f"u{n}", one, needs=("u0",) if n % 3 == 1 else ()) for n, one in enumerate(seconds)], 2)
    machines = replace(EXACT, workers=workers)
    assert simulate(jobs, machines).seconds >= least(jobs, workers)
    found = simulate(jobs, replace(machines, lives=60.0, slow=0.2), seed, Limits(tries=50, doubles=DOUBLES))
    assert sorted(found.stored) == sorted(job.key for job in jobs)
    assert not found.set_aside


def test_the_weights_of_the_model_of_the_page():
    layer, every = weights()
    assert (round(layer / 1e6), round(every / 1e9, 2)) == (856, 70.55)
