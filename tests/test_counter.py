"""Random numbers: known ones, their distribution, and that they hang on nothing but their key and their place."""

from __future__ import annotations

import math
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import causal_dsl as cd
from causal_dsl.base.counter import Stream, below, bits, key, normals, normals_at, permutation, step, unit

PACKAGE = Path(cd.__file__).parent
#: Worked out by the formula with whole numbers of Python and `math`, to 12 digits.
KNOWN = [0.095442650311, 0.613324647689, 0.628799498901]


def test_the_stream_is_that_of_splitmix64() -> None:
    """The first outputs for the seed 1234567 that the reference implementation gives (Vigna, splitmix64.c)."""
    golden, state, found = 0x9E3779B97F4A7C15, 1234567, []
    for _ in range(3):
        found.append(int(step(np.array([state], np.uint64))[0]))
        state = (state + golden) % 2**64
    assert found == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_normal_numbers_are_those_of_the_formula() -> None:
    first, second = (unit(bits(key(5, "x", side), np.arange(20_000))) for side in ("radius", "angle"))
    by_hand = [math.sqrt(-2 * math.log(1 - a)) * math.cos(2 * math.pi * b) for a, b in zip(first, second, strict=True)]
    assert np.abs(normals(5, (20_000,), "x") - by_hand).max() < 2e-12
    assert normals(0, (3,)).tolist() == KNOWN


@pytest.mark.parametrize("n", [2, 6, 10, 1000])
def test_whole_numbers_are_even(n: int) -> None:
    counts = np.bincount(below(bits(key("even", n), np.arange(200 * n)), n), minlength=n)
    assert stats.chisquare(counts).pvalue > 1e-3


def test_steps_of_a_row_are_as_even_as_rows() -> None:
    table = unit(bits(key("both"), np.arange(300)[:, None], np.arange(300)))
    for told in (table.ravel(), table[0], table[:, 0]):
        assert stats.kstest(told, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(table[:, 0], table[:, 1])[0, 1]) < 0.2


def test_every_order_is_as_likely() -> None:
    orders = {order: 0 for order in permutations(range(4))}
    for number in range(24 * 200):
        orders[tuple(permutation(key("orders", number), 4).tolist())] += 1
    assert stats.chisquare(list(orders.values())).pvalue > 1e-3
    assert permutation(key("none"), 0).tolist() == []
    assert sorted(permutation(key("long"), 10_000).tolist()) == list(range(10_000))


@pytest.mark.parametrize(("n", "m"), [(50, 7), (50, 50), (7, 9), (3 * 10**5, 2000), (3 * 10**5, 10**5)])
def test_some_numbers_are_different_and_as_likely(n: int, m: int) -> None:
    found = Stream("some", n).some(n, m)
    assert len(found) == min(n, m) and (np.diff(found) > 0).all() and found[0] >= 0 and found[-1] < n
    if n <= 2**17:  # the first of a random order
        assert found.tolist() == sorted(Stream("some", n).shuffled(np.arange(n))[:m].tolist())
    else:
        assert stats.kstest((found + 0.5) / n, "uniform").pvalue > 1e-3


@pytest.mark.slow
def test_normal_numbers_are_normal() -> None:
    assert stats.kstest(normals(7, (400, 500)).ravel(), "norm").pvalue > 1e-3
    pairs = normals_at(7, "noise", np.arange(500)[:, None], np.arange(400))
    assert stats.kstest(pairs.ravel(), "norm").pvalue > 1e-3
    assert np.isfinite(normals(1, (10**6,))).all()


def test_a_number_hangs_on_its_place_alone() -> None:
    whole = normals_at(3, "noise", np.arange(50)[:, None], np.arange(9))
    for rows in ([7], [3, 1, 4], [49, 0]):
        assert (normals_at(3, "noise", np.array(rows)[:, None], np.arange(4)) == whole[rows, :4]).all()
    assert (normals(3, (6, 2)).ravel() == normals(3, (12,))).all()


def test_no_other_generator_is_used() -> None:
    """Those that must use torch's own: a model's own initialisation, and what watches what others draw."""
    own = {"network/adapted.py", "network/factory_audit.py", "network/steadiness.py", "network/untrained.py"}
    own |= {"network/zoo/perceptrons.py", "network/zoo/equality_gpt2.py"}
    words = (
        "Generator(",
        "manual_seed",
        "default_rng",
        "randperm",
        "torch.randn",
        "torch.rand(",
        "torch.randint",
        "np.random.",
    )
    found = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if any(word in path.read_text(encoding="utf-8") for word in words)
    }
    assert found <= own
