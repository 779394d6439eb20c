"""Shares over pairs and their differences: against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from causal_dsl.score.paired import difference, share


def alone(n: int) -> dict[str, np.ndarray]:
    """Ids of pairs that share no input."""
    return {"base": np.arange(n), "source": np.arange(n) + n}


def test_the_difference_of_independent_pairs_is_that_of_the_normal_law() -> None:
    random = np.random.default_rng(0)
    one, other = random.random(800) < 0.7, random.random(800) < 0.4
    found = difference(one, other, alone(800))
    gap = one.astype(float) - other
    half = 1.96 * gap.std() / 800**0.5
    assert found.value == pytest.approx(gap.mean())
    assert found.low == pytest.approx(gap.mean() - half, abs=0.01)
    assert found.high == pytest.approx(gap.mean() + half, abs=0.01)


def test_it_is_narrower_than_the_shares_where_they_rise_and_fall_together() -> None:
    random = np.random.default_rng(1)
    one = random.random(400) < 0.5
    other = one & (random.random(400) < 0.9)
    found, mine = difference(one, other, alone(400)), share(one, alone(400))
    theirs = share(other, alone(400))
    assert mine.low is not None and theirs.high is not None and found.low is not None
    assert mine.low < theirs.high  # the two intervals overlap
    assert found.low > 0


def test_pairs_that_share_inputs_are_no_new_evidence() -> None:
    one, other = np.array([True] * 6 + [False] * 2), np.array([False] * 4 + [True] * 2 + [False] * 2)
    few = difference(np.tile(one, 50), np.tile(other, 50), {"base": np.tile(np.arange(8), 50)})
    many = difference(np.tile(one, 50), np.tile(other, 50), {"base": np.arange(400)})
    assert few.value == many.value == 0.5
    assert few.low is not None and many.low is not None
    assert few.low < many.low


@pytest.mark.parametrize(
    ("one", "other", "value", "low", "high"),
    [
        ([1, 1, 0, 1], [1, 1, 0, 1], 0.0, -0.75, 0.75),
        ([1, 1, 1, 1], [0, 0, 0, 0], 1.0, 0.25, 1.0),
        ([0, 0, 0, 0], [1, 1, 1, 1], -1.0, -1.0, -0.25),
    ],
)
def test_where_all_pairs_agree_it_is_the_rule_of_three(
    one: list[int], other: list[int], value: float, low: float, high: float
) -> None:
    found = difference(np.array(one, bool), np.array(other, bool), alone(4))
    assert (found.value, found.low, found.high, found.method) == (value, low, high, "rule of three")


def test_all_pairs_there_are_have_no_interval() -> None:
    found = difference(np.array([True, False]), np.array([False, False]), alone(2), exhaustive=True)
    assert (found.value, found.low, found.high, found.method) == (0.5, None, None, "exact")


def test_no_pairs_have_no_share() -> None:
    nothing = np.zeros(0, bool)
    assert share(nothing, alone(0)).value is None
    assert difference(nothing, nothing, alone(0)).value is None
