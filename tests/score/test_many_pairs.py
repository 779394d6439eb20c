"""Very many pairs: weights by counter, sums tile by tile, columns in files; the same however they are cut, and in little memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import scoring
from causal_dsl.engine import column_store
from causal_dsl.engine.block_results import BlockResult
from causal_dsl.engine.column_store import ColumnStore, DonePairs
from causal_dsl.measures import weighted_sums
from causal_dsl.measures.quantities import Columns
from causal_dsl.measures.weighted_sums import Matrix, weighted_order
from causal_dsl.score import intervals, streamed_sums
from causal_dsl.score.intervals import Resampling, clustered_interval, mean_variance, wilson
from causal_dsl.score.ordered import Ranked, replicated_order
from causal_dsl.score.poisson import PoissonWeights
from causal_dsl.score.results import TestResult
from causal_dsl.score.score import score_test
from tests.score.scoring import compiled, made_up

ROOT = Path(__file__).parents[2]
LINES = """report iia, logit_diff, median(logit_diff), change(logit_diff), recovered(logit_diff), best(iia)
expect argmax(iia).l >= 1 and max(iia) - min(iia) <= 90%"""


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "MANY", 500)
    monkeypatch.setattr(streamed_sums, "TILE", 256)


def pairs(n: int, own: bool = False) -> dict[str, Any]:
    rng = np.random.default_rng(n)
    inputs = np.arange(n) if own else rng.integers(0, 3 * int(n**0.5), n)
    source = np.arange(n) if own else rng.integers(0, 3 * int(n**0.5), n)
    answers = rng.integers(0, 4, n)
    labels = np.where(rng.random(n) < 0.5, rng.integers(0, 4, n), answers)
    return {"ids": {"base": inputs, "source": source}, "base_answers": answers, "labels": labels}


def cells(n: int, count: int) -> tuple[Any, list[tuple[dict[str, int], Columns]]]:
    scores, found = compiled(LINES, parameters={"l": tuple(range(count))})
    assert not found.errors, list(found)
    base = made_up(scores, n, 0)
    every = [({"l": c}, Columns(base.base, made_up(scores, n, c + 1).patched, base.sources)) for c in range(count)]
    return scores, every


def put_down(every: list[tuple[dict[str, int], Columns]], n: int, cut: list[int], folder: Path) -> list[Any]:
    """The same columns in files, cut into blocks of pairs."""
    kept = ColumnStore(folder)
    first = every[0][1]
    runs: dict[str, Any] = {"base": first.base, **first.sources}
    stored = []
    for cell, (name, columns) in enumerate(every):
        own = {run: kept.numbers("t", run, cell, n, tuple(numbers), ()) for run, numbers in runs.items()}
        patched = kept.numbers("t", "patched", cell, n, tuple(columns.patched), ())
        stored.append((name, Columns(own.pop("base"), patched, own)))
    ends = sorted({0, n, *(end % n for end in cut)})
    for start, stop in pairwise(ends):
        found = BlockResult(np.arange(start, stop), cells=list(range(len(every))))
        found.unpatched = {run: {q: v[start:stop] for q, v in numbers.items()} for run, numbers in runs.items()}
        found.patched = {q: np.stack([c.patched[q][start:stop] for _, c in every]) for q in every[0][1].patched}
        kept.add("t", found)
    kept.flush()
    return stored


def told(result: TestResult) -> str:
    return json.dumps(result.to_json(), sort_keys=True)


@cache
def in_memory(n: int, count: int) -> tuple[Any, list[tuple[dict[str, int], Columns]], str]:
    """Columns, and what is told of them where they are held."""
    scores, every = cells(n, count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "MANY", 500)
        patch.setattr(streamed_sums, "TILE", 256)
        return scores, every, told(score_test(scores, every, **pairs(n)))


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(cut=st.lists(st.integers(1, 10**6), max_size=6), size=st.sampled_from([1, 20_000, 10**9]))
def test_scores_of_columns_in_files_are_those_of_columns_in_memory(
    cut: list[int], size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """To the last bit, for any cut of the pairs into blocks, and of the blocks into files."""
    n = 1500
    scores, every, held = in_memory(n, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "MANY", 500)
        patch.setattr(streamed_sums, "TILE", 256)
        patch.setattr(column_store, "FILE_BYTES", size)
        patch.setattr(streamed_sums, "HELD", 10_000)
        stored = put_down(every, n, cut, tmp_path_factory.mktemp("columns"))
        assert told(score_test(scores, stored, **pairs(n))) == held


@pytest.mark.slow
@pytest.mark.usefixtures("streamed")
def test_a_filter_and_what_stands_beside_it_are_streamed_too() -> None:
    n = 1500
    scores, every = cells(n, 2)
    kept = np.random.default_rng(1).random(n) < 0.7
    some = {
        k: v[kept] if isinstance(v, np.ndarray) else {r: i[kept] for r, i in v.items()} for k, v in pairs(n).items()
    }
    fewer = [(name, _rows(columns, kept)) for name, columns in every]
    whole = score_test(scores, every, kept=kept, **pairs(n)).cells[1].scores
    alone = score_test(scores, fewer, **some).cells[1].scores
    for name in ("iia", "logit_diff", "median(logit_diff)", "recovered(logit_diff)"):
        assert whole[name] == alone[name], name


def _rows(columns: Columns, kept: np.ndarray) -> Columns:
    base, patched, *others = (
        {q: v[kept] for q, v in own.items()} for own in (columns.base, columns.patched, *columns.sources.values())
    )
    return Columns(base, patched, dict(zip(columns.sources, others, strict=True)))


@pytest.mark.slow
@pytest.mark.thinned(always=1, values=True)
@pytest.mark.parametrize("own", [False, True], ids=["shared inputs", "inputs of their own"])
def test_its_intervals_are_those_of_the_other_bootstrap(own: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both bootstraps run on the same pairs: shares have the same closed form, and the rest agrees within what resampling leaves open."""
    n = 4000
    scores, every = cells(n, 3)
    drawn = score_test(scores, every, **pairs(n, own))
    monkeypatch.setattr(intervals, "MANY", 100)
    poisson = score_test(scores, every, **pairs(n, own))
    for before, after in zip(drawn.cells, poisson.cells, strict=True):
        for name, one in before.scores.items():
            other = after.scores[name]
            assert (one.method, one.n) == (other.method, other.n)
            if one.value is None or one.low is None or one.high is None:
                assert one == other
                continue
            assert other.value == pytest.approx(one.value, rel=1e-9)
            if one.method != "bootstrap":
                assert (other.low, other.high) == pytest.approx((one.low, one.high), rel=1e-9)
            elif not name.startswith("recovered"):  # a ratio with a contrast near 0 has no stable interval
                wide = one.high - one.low
                assert (other.low, other.high) == pytest.approx((one.low, one.high), abs=0.15 * wide), name
        assert before.together is not None and after.together is not None
        wide = before.together[1] - before.together[0]
        assert after.together == pytest.approx(before.together, abs=0.1 * wide)


def test_weights_do_not_depend_on_which_others_are_made() -> None:
    rng = np.random.default_rng(0)
    inverses = [np.unique(rng.integers(0, k, 3000), return_inverse=True)[1] for k in (40, 2900)]
    every = PoissonWeights(inverses, 203)
    whole = every.of(slice(0, 3000))
    rows = rng.permutation(3000)[:700]
    assert (PoissonWeights(inverses, 203).of(rows) == whole[rows]).all()
    for first, last in ((0, 5), (3, 8), (101, 203), (202, 203)):
        assert (every.of(rows, first, last) == whole[rows, first:last]).all()


def test_weights_have_the_moments_of_poisson_numbers() -> None:
    """Of one role mean and variance are 1; of two roles the variance is that of a product, 3, and pairs with one base vary together."""
    alone = PoissonWeights([np.arange(20_000)], 400).of(slice(None)).astype(float)
    assert alone.mean() == pytest.approx(1, abs=0.002)
    assert alone.var() == pytest.approx(1, abs=0.005)
    assert np.corrcoef(alone[:2000].T)[0, 1:].std() == pytest.approx(2000**-0.5, rel=0.2)
    base, source = np.divmod(np.arange(10_000), 100)
    grid = PoissonWeights([base, source], 400).of(slice(None)).astype(float)
    assert grid.var() == pytest.approx(3, rel=0.05)
    assert (grid[base == 0].sum(axis=0) == 0).mean() == pytest.approx(np.exp(-1), abs=0.1)


@pytest.mark.slow
def test_the_spread_of_its_replicates_is_the_closed_form() -> None:
    """The standard deviation of resampled shares of independent pairs is that of a binomial share; of pairs that share bases alone, that of
    sums over these."""
    rng = np.random.default_rng(3)
    hits = (rng.random(20_000) < 0.3).astype(float)
    weights = PoissonWeights([np.arange(20_000)], 1000).of(slice(None)).astype(float)
    shares = hits @ weights / weights.sum(axis=0)
    assert shares.std() == pytest.approx((hits.mean() * (1 - hits.mean()) / 20_000) ** 0.5, rel=0.08)
    base = np.arange(20_000) // 50
    hits = (rng.random(20_000) < np.repeat(rng.random(400), 50)).astype(float)
    weights = PoissonWeights([base], 1000).of(slice(None)).astype(float)
    shares = hits @ weights / weights.sum(axis=0)
    variance, inputs = mean_variance(hits, np.ones(20_000, bool), [base])
    assert inputs == 400
    assert shares.std() == pytest.approx(variance**0.5, rel=0.08)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(2, 3000),
    inputs=st.integers(2, 3000),
    which=st.sampled_from(["median", "min", "max"]),
    some=st.booleans(),
    ties=st.booleans(),
)
def test_medians_of_resamples_are_those_of_all_their_weights(
    seed: int, n: int, inputs: int, which: str, some: bool, ties: bool
) -> None:
    """Looking at a band of the numbers gives what sorting all of them under the weights gives, whichever inputs are shared."""
    rng = np.random.default_rng(seed)
    inverse = np.unique(rng.integers(0, inputs, n), return_inverse=True)[1]
    numbers = rng.normal(size=n) + inverse % 5
    numbers = np.round(numbers) if ties else numbers
    counted = rng.random(n) < 0.6 if some else None
    weights = PoissonWeights([inverse], 40)
    ranked = Ranked(numbers, counted, which)
    before, counts = ranked.standing()
    every = weights.of(slice(0, n)).astype(float)
    found = replicated_order(ranked, None, weights, before @ every, counts @ every)
    picked = slice(None) if counted is None else counted
    np.testing.assert_array_equal(found, weighted_order(numbers[picked], every.T[:, picked], which))
    own = Matrix(np.ones((1, n))).ordered([0], lambda _: (numbers, counted), which)[0, 0]  # type: ignore[list-item]
    np.testing.assert_array_equal(own, weighted_order(numbers[picked], np.ones((1, n))[:, picked], which)[0])


def test_a_clustered_share_has_wilsons_interval_of_fewer_pairs() -> None:
    low, high = clustered_interval(0.3, 1000, 0.3 * 0.7 / 100, 10**6, True) or (0, 0)
    assert (low, high) == pytest.approx(wilson(0.3, 100, 1.959964), abs=1e-4)


def test_which_pairs_were_run_is_known_in_any_order() -> None:
    done, plain = DonePairs(100), np.zeros(100, bool)
    for rows in (np.arange(20, 40), np.arange(0, 20), np.arange(60, 100), np.array([41, 43]), np.arange(38, 61)):
        done.mark(rows)
        plain[rows] = True
        assert (np.asarray(done) == plain).all()
        assert done.all() == plain.all()


@pytest.mark.slow
def test_few_pairs_are_resampled_as_before() -> None:
    assert not Resampling({"base": np.arange(50_000)}).many
    assert Resampling({"base": np.arange(50_001)}).many
    assert [Resampling({"base": np.arange(n)}).replicates for n in (10, 10**5, 2 * 10**5, 10**7)] == [
        1000,
        1000,
        500,
        200,
    ]


@pytest.mark.slow
def test_two_hundred_thousand_pairs_in_twenty_cells_are_scored_in_little_memory(tmp_path: Path) -> None:
    """As matrices the columns alone are 230 MB, and the weights of the resamples 800 MB more."""
    found = _scored_alone(tmp_path, "200000", "20")
    assert found["peak_mb"] < 600, found


@pytest.mark.slow
def test_scoring_needs_no_more_memory_for_more_pairs_and_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what may be held set low, three times the pairs in four times the cells are scored in the memory of few. Their columns alone
    are 104 MB, and the weights of their resamples 95 times 8 MB."""
    monkeypatch.setattr(column_store, "RECENT", 2**20)
    monkeypatch.setattr(column_store, "FILE_BYTES", 2**22)
    monkeypatch.setattr(streamed_sums, "HELD", 2**20)
    monkeypatch.setattr(weighted_sums, "BLOCK", 2**22)
    few = _most_allocated(60_000, 6, tmp_path)
    many = _most_allocated(180_000, 24, tmp_path)
    assert many < 1.1 * few < 50e6, (few, many)


def _most_allocated(n: int, count: int, folder: Path) -> int:
    """Bytes at most that scoring allocates; its columns are in files."""
    scores, columns, given = scoring.made(n, count, folder=folder / f"{n} pairs")
    tracemalloc.start()
    try:
        result = score_test(scores, columns, **given)
        assert len(result.cells) == count and all(cell.together is not None for cell in result.cells)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_without_room_for_the_numbers_a_run_says_so(tmp_path: Path) -> None:
    """The size of files is limited, as on a full disk."""
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (10**5, 10**5))"
    code = f"""{limit}
from causal_dsl.diagnostics import SpecError
from causal_dsl.score import streamed_sums
import numpy as np
streamed_sums.HELD = 0
try:
    from contextlib import ExitStack
    with ExitStack() as held:
        put = streamed_sums.PutDown(10**6, held)
        put.add(np.linspace(0, 1, 10**6))
except SpecError as error:
    print(error.code, error.diagnostics[0].notes[0])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=_env(tmp_path), cwd=ROOT)
    assert done.stdout.startswith("E930"), done.stderr
    assert str(tmp_path) in done.stdout


def _env(tmp: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp)}


def _scored_alone(tmp: Path, *arguments: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.scoring", "--one", *arguments]
    found: dict[str, float] = json.loads(subprocess.check_output(command, text=True, env=_env(tmp), cwd=ROOT))
    return found
