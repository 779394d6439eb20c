"""Intervals against closed forms, against scipy, and against the truth of simulated data."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from benchmarks import coverage as benchmark
from causal_dsl.measures.cell_data import CellData
from causal_dsl.measures.quantities import Columns, Quantity
from causal_dsl.score.estimate import Estimator
from causal_dsl.score.intervals import (
    MeanOf,
    Resampling,
    halves,
    mean_variance,
    percentiles,
    share_interval,
    wilson,
)
from tests.score.scoring import compiled


def all_weights(ids: dict[str, np.ndarray], replicates: int = 4000) -> np.ndarray:
    return np.concatenate(list(Resampling(ids).weights(replicates)))


def replicate_means(ids: dict[str, np.ndarray], values: np.ndarray, replicates: int = 4000) -> np.ndarray:
    weights = all_weights(ids, replicates)
    with np.errstate(invalid="ignore"):
        return weights @ values / weights.sum(axis=1)


def test_one_way_variance_is_that_of_cluster_means() -> None:
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(60), 5)
    values = rng.normal(size=60)[clusters] + 0.1 * rng.normal(size=300)
    got = replicate_means({"base": clusters}, values).var()
    residual = values - values.mean()
    closed = sum(residual[clusters == k].sum() ** 2 for k in range(60)) / 300**2
    assert got == pytest.approx(closed, rel=0.08)


def test_two_way_variance_is_the_pigeonhole_formula() -> None:
    """Owen (2007): for a self-normalised mean, sum over pairs of pairs of (what their weights share) e e'."""
    rng = np.random.default_rng(1)
    grid = np.array([(i, j) for i in range(30) for j in range(30) if rng.random() < 0.4])
    base, source = grid.T
    values = rng.normal(size=30)[base] + rng.normal(size=30)[source] + rng.normal(size=len(base))
    residual = values - values.mean()
    same_base, same_source = base[:, None] == base, source[:, None] == source
    # Multinomial counts of K inputs: E[w w'] = (2 - 1/K) for the same input, (1 - 1/K) for two.
    shared = np.where(same_base, 2 - 1 / 30, 1 - 1 / 30) * np.where(same_source, 2 - 1 / 30, 1 - 1 / 30)
    closed = residual @ shared @ residual / len(values) ** 2
    got = replicate_means({"base": base, "source": source}, values).var()
    assert got == pytest.approx(closed, rel=0.1)


def coverage(shared: float, clusters: int, n: int, trials: int, seed: int) -> tuple[float, float]:
    """How often 95% intervals hold the true mean 0: the bootstrap's, and those that take pairs for independent."""
    rng = np.random.default_rng(seed)
    hits = naive = 0
    for _ in range(trials):
        base, source = rng.integers(0, clusters, n), rng.integers(0, clusters, n)
        values = shared * (rng.normal(size=clusters)[base] + rng.normal(size=clusters)[source]) + rng.normal(size=n)
        low, high = percentiles(replicate_means({"base": base, "source": source}, values, 400)) or (0, 0)
        hits += low <= 0 <= high
        naive += abs(values.mean()) <= 1.96 * values.std() / np.sqrt(n)
    return hits / trials, naive / trials


@pytest.mark.slow
def test_coverage_where_pairs_share_inputs() -> None:
    clustered, naive = coverage(shared=1.0, clusters=40, n=300, trials=300, seed=2)
    assert 0.91 <= clustered <= 0.99
    assert naive < 0.75


@pytest.mark.slow
def test_coverage_is_never_short_where_nothing_is_shared() -> None:
    clustered, _ = coverage(shared=0.0, clusters=40, n=300, trials=200, seed=3)
    assert clustered >= 0.95


def test_almost_all_inputs_distinct_is_almost_independent() -> None:
    rng = np.random.default_rng(4)
    n = 400
    base, source = rng.integers(0, 100_000, n), rng.integers(0, 100_000, n)
    base[:2], source[2:4] = 7, 9
    values = rng.normal(size=n)
    got = replicate_means({"base": base, "source": source}, values).std()
    assert got == pytest.approx(values.std() / np.sqrt(n), rel=0.06)


def test_inputs_that_lie_within_others_add_nothing() -> None:
    base = np.repeat(np.arange(20), 10)
    only = Resampling({"base": base})
    nested = Resampling({"base": base, "source": np.arange(200)})
    assert len(nested.inverses) == 1
    assert np.array_equal(next(only.weights(50)), next(nested.weights(50)))
    constant = Resampling({"base": np.zeros(200, int), "source": np.arange(200)})
    assert constant.clusters() == 200
    assert constant.independent


def test_three_roles_multiply() -> None:
    rng = np.random.default_rng(5)
    ids = {role: rng.integers(0, 12, 500) for role in ("base", "one", "two")}
    weights = all_weights(ids, 2000)
    assert weights.mean() == pytest.approx(1, rel=0.05)
    assert weights.var() == pytest.approx((2 - 1 / 12) ** 3 - 1, rel=0.15)


def test_weights_are_shared_by_the_same_inputs_alone() -> None:
    base, source = np.arange(40) // 2, np.arange(40) % 20
    first, second = (next(Resampling({"base": base.copy(), "source": source + k}).weights()) for k in (0, 7))
    assert first is second and not first.flags.writeable  # ids are names: which rows are alike is all that counts
    other = next(Resampling({"base": base, "source": np.arange(40) % 19}).weights())
    assert other.shape == first.shape and not np.array_equal(other, first)
    alone = next(Resampling({"base": np.arange(40)}).weights())
    assert not alone.flags.writeable and (alone.sum(axis=1) == 40).all()


def test_weights_do_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = {"base": np.array([0, 0, 1, 2, 2, 3]), "source": np.array([5, 6, 5, 6, 7, 8])}
    whole = all_weights(ids, 100)
    monkeypatch.setattr("causal_dsl.score.intervals.BLOCK", 8 * 6 * 7)
    assert np.array_equal(all_weights(ids, 100), whole)
    assert np.array_equal(whole, np.round(whole))


@pytest.mark.parametrize(("successes", "n"), [(0, 7), (1, 7), (7, 7), (50, 100), (999, 1000), (3, 4)])
def test_the_score_interval_is_scipys(successes: int, n: int) -> None:
    interval = binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert wilson(successes / n, n, 1.959963984540054) == pytest.approx((interval.low, interval.high), abs=1e-9)


def test_shares_by_counting() -> None:
    assert share_interval(0, 0, True, 0) is None
    assert share_interval(512, 512, False, 100) == (0.97, 1.0)
    assert share_interval(0, 300, True, 300) == (0.0, 0.01)
    assert share_interval(1, 1, True, 1) == (0.0, 1.0)
    score = binomtest(40, 100).proportion_ci(0.95, method="wilson")
    assert share_interval(40, 100, True, 100) == pytest.approx((score.low, score.high), abs=1e-9)
    assert share_interval(40, 100, False, 10) is None


def test_the_rule_of_three_holds() -> None:
    """With a true rate of 1 - 3/n, all of n succeed in no more than 5% of samples."""
    for n in (20, 100, 1000):
        assert (1 - 3 / n) ** n <= 0.05


def test_halves_split_bases_not_pairs() -> None:
    base = np.random.default_rng(6).integers(0, 50, 1000)
    choosing = halves(base)
    assert not set(base[choosing]) & set(base[~choosing])
    assert len(set(base[choosing])) == 25
    assert np.array_equal(halves(base), choosing)
    assert not halves(np.zeros(5, int)).any()


def test_undefined_replicates() -> None:
    some = np.r_[np.full(95, 0.5), np.full(5, np.nan)]
    assert percentiles(some) == (0.5, 0.5)
    assert percentiles(np.r_[np.full(80, 0.5), np.full(20, np.nan)]) is None
    assert percentiles(np.full(10, np.nan)) is None


# ── pairs that share inputs, by their variance ──────────────────────────────────────────────────


def test_the_variance_of_two_roles_is_that_of_pairs_of_pairs() -> None:
    """With large clusters: the sum of e e' over pairs of pairs that share a base or a source (counted once)."""
    rng = np.random.default_rng(1)
    base, source = np.indices((40, 40)).reshape(2, -1)
    values = rng.normal(size=40)[base] + rng.normal(size=40)[source] + rng.normal(size=1600)
    residual = (values - values.mean()) / 1600
    share = (base[:, None] == base) | (source[:, None] == source)
    variance, fewest = mean_variance(values, np.ones(1600, bool), [base, source])
    assert fewest == 40
    assert variance == pytest.approx(residual @ share @ residual, rel=0.06)


def test_the_variance_of_independent_pairs_is_the_usual_one() -> None:
    values = np.random.default_rng(2).normal(size=300)
    variance, fewest = mean_variance(values, np.ones(300, bool), [np.arange(300)])
    assert (variance, fewest) == (pytest.approx(values.var(ddof=1) / 300), 300)


SETTINGS = [s for s in benchmark.settings() if s.inputs in (4, 16, 64) and not s.few and s.share in (0.5, 0.9)]


@pytest.mark.thinned(always=4)
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_intervals_hold_the_truth_as_often_as_they_say(setting: benchmark.Setting) -> None:
    """300 trials: a share of .95 is told to within .04, of which the discreteness of small counts takes a part."""
    held, _ = benchmark.coverage(setting, 300, seed=1)
    assert 0.9 <= held <= 1.0


def test_more_draws_of_the_same_inputs_are_independent_pairs() -> None:
    """Four inputs, met again and again: about more draws, each pair counts; about other inputs, four count."""
    rng = np.random.default_rng(3)
    base, source = rng.integers(0, 4, (2, 256))
    hits = np.r_[np.zeros(64), np.ones(192)]
    every = np.ones(256, bool)
    draws = MeanOf(hits, every, True, Resampling({"base": base, "source": source}, draws=True)).interval()
    assert draws is not None and draws[1] == "binomial"
    score = binomtest(192, 256).proportion_ci(0.95, method="wilson")
    assert draws[0] == pytest.approx((score.low, score.high), abs=1e-9)
    inputs = MeanOf(hits, every, True, Resampling({"base": base, "source": source})).interval()
    assert inputs is not None and inputs[1] == "clustered"
    none = MeanOf(np.ones(256), every, True, Resampling({"base": base, "source": source}, draws=True)).interval()
    assert none == ((1 - 3 / 256, 1.0), "rule of three")


def test_the_level_of_an_interval() -> None:
    wide, usual = share_interval(40, 100, True, 100, 0.999), share_interval(40, 100, True, 100)
    assert wide is not None and usual is not None
    assert wide[0] < usual[0] < usual[1] < wide[1]
    assert share_interval(100, 100, True, 100, 0.99) == (pytest.approx(1 - np.log(100) / 100), 1.0)


def test_an_interval_stays_within_what_its_measure_can_be() -> None:
    """Of a few large numbers among many small ones, beside the formula of the mean that is cut off."""
    numbers, inputs = np.array([0.05] + [0.0] * 11), np.arange(12) // 2
    made = MeanOf(numbers, np.ones(12, bool), False, Resampling({"base": inputs})).interval()
    assert made is not None
    low, high = made[0]
    assert low < 0 < high
    scores, _ = compiled("report kl")
    estimator = Estimator(
        [CellData(Columns({}, {Quantity("kl"): numbers}), np.zeros(12, np.int64))], [{}], {"base": inputs}
    )
    (report,) = scores.reports
    found = estimator.estimate(report.value)
    assert (found.low, found.high) == (0.0, pytest.approx(high)) and found.method == "clustered"
