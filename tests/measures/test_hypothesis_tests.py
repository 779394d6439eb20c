"""P-values of circuits: as small as they should be where the null hypothesis holds, small where it does not, and those of the formulas
written out."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest

from causal_dsl.measures.hypothesis_tests import equivalence, independence, minimality

TRIALS = 400


def as_small(values: list[float], level: float) -> float:
    return float(np.mean(np.asarray(values) <= level))


@pytest.mark.parametrize("seed", range(5))
def test_formulas_written_out(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gaps = rng.normal(0.3, 1, 21)
    gaps[:3] = 0
    n, k = 18, int((gaps > 0).sum())
    far = [j for j in range(n + 1) if abs(2 * j - n) >= abs(2 * k - n)]
    p = sum(math.comb(n, j) * 0.6**j * 0.4 ** (n - j) for j in far)
    assert equivalence(gaps, 0.1).p == pytest.approx(min(1, p))
    effects, others = rng.random(4), rng.random(30).tolist()
    for effect, found in zip(effects, minimality(effects.tolist(), others, 0.8), strict=True):
        larger = sum(effect > other for other in others)
        p = sum(math.comb(30, j) * 0.8**j * 0.2 ** (30 - j) for j in range(larger + 1))
        assert (found.p, found.statistic) == (pytest.approx(p), larger / 30)


@pytest.mark.slow
def test_hsic_is_that_of_matrices_and_all_orders() -> None:
    """Of five pairs all 120 orders can be tried: the permutation p is near their share."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=5), rng.normal(size=5)

    def kernel(v: np.ndarray) -> np.ndarray:
        apart = [abs(a - b) for a in v for b in v if a != b]
        return np.array([[math.exp(-((a - b) ** 2) / (2 * float(np.median(apart)) ** 2)) for b in v] for a in v])

    def hsic(v: np.ndarray, w: np.ndarray) -> float:
        h = np.eye(5) - np.ones((5, 5)) / 5
        return float(np.trace(kernel(v) @ h @ kernel(w) @ h)) / 16

    found = independence(x, y, 4000)
    assert found.statistic == pytest.approx(hsic(x, y))
    share = np.mean([hsic(x, y[list(order)]) >= hsic(x, y) - 1e-12 for order in permutations(range(5))])
    assert found.p == pytest.approx(share, abs=0.03)


@pytest.mark.slow
def test_p_is_not_too_small_where_the_null_hypothesis_holds() -> None:
    rng = np.random.default_rng(0)
    at_the_bound = [equivalence(np.where(rng.random(60) < 0.6, 1.0, -1.0), 0.1).p for _ in range(TRIALS)]
    apart = [independence(rng.normal(size=24), rng.normal(size=24), 99).p for _ in range(TRIALS)]
    quantile = [minimality([0.9], rng.random(100).tolist(), 0.9)[0].p for _ in range(TRIALS)]
    for level in (0.05, 0.2, 0.5):
        slack = 3 * math.sqrt(level * (1 - level) / TRIALS)
        for values in (at_the_bound, apart, quantile):
            assert as_small(values, level) <= level + slack
    # and about as small as it may be where numbers are continuous: uniform
    assert abs(as_small(apart, 0.5) - 0.5) < 0.08 and abs(float(np.mean(apart)) - 0.5) < 0.05


def test_p_is_small_where_the_null_hypothesis_does_not_hold() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=64)
    assert equivalence(rng.normal(1.5, 1, 64), 0.1).p < 1e-3
    assert independence(x, x**2 + 0.1 * rng.normal(size=64), 999).p <= 0.002  # no correlation sees it
    assert minimality([0.5], rng.random(100).tolist(), 0.9)[0].p < 1e-6


def test_numbers_that_are_all_alike_refute_nothing() -> None:
    assert equivalence(np.zeros(8), 0.1).p == 1
    assert independence(np.ones(8), np.arange(8.0), 99).p == 1
