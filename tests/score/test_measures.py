"""Every measure against a loop over pairs that follows its definition word for word."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from causal_dsl.causal.ceilings import Ceiling
from causal_dsl.measures.cell_data import CellData
from causal_dsl.measures.quantities import NO_ANSWER, Columns, Quantity
from causal_dsl.score.results import TestResult
from causal_dsl.score.score import score_test
from tests.score.scoring import ANSWER, METRICS, codes, compiled, logit, made_up

N = 101
CEILINGS = {"noop": Ceiling(0.25, True, 16), "source": Ceiling(0.25, True, 16), "output_only": Ceiling(0.4, True, 16)}


def rows(seed: int = 0, n: int = N) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "ids": {"base": rng.integers(0, 30, n), "source": rng.integers(0, 30, n)},
        "base_answers": rng.integers(0, 4, n),
        "labels": rng.integers(0, 4, n),
        "source_answers": {"source": rng.integers(0, 4, n)},
        "ceilings": CEILINGS,
    }


def one_cell(lines: str, metrics: str = METRICS, **changes: Any) -> tuple[TestResult, Columns, dict[str, Any]]:
    scores, found = compiled(lines, metrics, parameters={}, **changes)
    assert not codes(found), list(found)
    columns, given = made_up(scores, N, 1), rows()
    return score_test(scores, [({}, columns)], **given), columns, given


def test_shares_of_right_answers() -> None:
    result, columns, given = one_cell("")
    base, patched = columns.base[ANSWER], columns.patched[ANSWER]
    label, own = given["labels"], given["base_answers"]
    right = informative = informed = accurate = 0
    for i in range(N):
        accurate += base[i] == own[i]
        right += patched[i] == label[i]
        if label[i] != own[i]:
            informative += 1
            informed += patched[i] == label[i]
    scores = result.cells[0].scores
    assert scores["accuracy"].value == pytest.approx(accurate / N)
    assert scores["iia"].value == pytest.approx(right / N)
    assert scores["iia_informative"].value == pytest.approx(informed / informative)
    assert scores["iia_informative"].n == informative
    assert scores["iia_star"].value == pytest.approx((right / N - 0.4) / 0.6)
    assert (scores["iia"].method, scores["iia"].about) == ("clustered", "inputs")
    assert scores["iia"].low < scores["iia"].value < scores["iia"].high
    assert scores["iia_star"].low == pytest.approx((scores["iia"].low - 0.4) / 0.6)


BRUTE = {
    "logit(answer)": lambda run, i: run[logit("answer")][i],
    "logit_diff": lambda run, i: run[logit("answer")][i] - run[logit("subject")][i],
    "log_prob(answer)": lambda run, i: run[logit("answer")][i] - run[Quantity("log_normalizer")][i],
    "prob(answer)": lambda run, i: math.exp(run[logit("answer")][i] - run[Quantity("log_normalizer")][i]),
    "cross_entropy(answer)": lambda run, i: run[Quantity("log_normalizer")][i] - run[logit("answer")][i],
    "prob(answer) * 2 - 0.5": lambda run, i: (
        2 * math.exp(run[logit("answer")][i] - run[Quantity("log_normalizer")][i]) - 0.5
    ),
    "logit(answer) / logit(subject)": lambda run, i: run[logit("answer")][i] / run[logit("subject")][i],
    "-logit(source.answer)": lambda run, i: -run[logit("answer", "source")][i],
    "logit(label)": lambda run, i: run[logit("answer", "label")][i],
    "kl": lambda run, i: run[Quantity("kl")][i],
    "js": lambda run, i: run[Quantity("js")][i],
}


@pytest.mark.parametrize("metric", BRUTE)
def test_pair_metrics_and_their_aggregates(metric: str) -> None:
    lines = "\n".join(f"report {f}({metric})" for f in ("mean", "median", "min", "max")) + f"\nreport {metric}"
    result, columns, _ = one_cell(lines)
    values = [BRUTE[metric](columns.patched, i) for i in range(N)]
    scores = result.cells[0].scores
    assert scores[metric].value == pytest.approx(sum(values) / N)
    assert scores[f"mean({metric})"].value == pytest.approx(sum(values) / N)
    assert scores[f"median({metric})"].value == pytest.approx(sorted(values)[N // 2])
    assert scores[f"min({metric})"].value == pytest.approx(min(values))
    assert scores[f"max({metric})"].value == pytest.approx(max(values))
    assert scores[f"max({metric})"].method == "none"


def test_without_an_intervention_the_base_run_is_measured() -> None:
    scores, _ = compiled("report logit_diff", parameters={}, interchange=False, intervened=False, roles=("base",))
    columns, given = made_up(scores, N, 1), rows()
    given = {"ids": {"base": given["ids"]["base"]}, "base_answers": given["base_answers"]}
    result = score_test(scores, [({}, columns)], **given)
    expected = np.mean([BRUTE["logit_diff"](columns.base, i) for i in range(N)])
    assert result.cells[0].scores["logit_diff"].value == pytest.approx(expected)
    assert set(result.cells[0].scores) == {"accuracy", "logit_diff"}


def test_recovery_and_change() -> None:
    lines = "report recovered(logit_diff)\nreport recovered_per_pair(logit_diff)\nreport change(logit_diff)"
    result, columns, _ = one_cell(lines)
    corrupt = [BRUTE["logit_diff"](columns.base, i) for i in range(N)]
    patched = [BRUTE["logit_diff"](columns.patched, i) for i in range(N)]
    clean = [BRUTE["logit_diff"](columns.sources["source"], i) for i in range(N)]
    mean = [sum(values) / N for values in (corrupt, patched, clean)]
    ratios = [(p - c) / (s - c) for c, p, s in zip(corrupt, patched, clean, strict=True)]
    scores = result.cells[0].scores
    assert scores["recovered(logit_diff)"].value == pytest.approx((mean[1] - mean[0]) / (mean[2] - mean[0]))
    assert scores["recovered_per_pair(logit_diff)"].value == pytest.approx(sum(ratios) / N)
    assert scores["change(logit_diff)"].value == pytest.approx(mean[1] - mean[0])


def test_a_pair_that_does_not_differ_has_no_ratio() -> None:
    scores, _ = compiled("report recovered(logit(answer))", parameters={})
    columns = made_up(scores, N, 1)
    columns.sources["source"][logit("answer")][:40] = columns.base[logit("answer")][:40]
    found = score_test(scores, [({}, columns)], **rows()).cells[0].scores["recovered_per_pair(logit(answer))"]
    assert found.n == N - 40
    assert math.isfinite(found.value)


def test_recovered_is_never_clipped() -> None:
    scores, _ = compiled("report recovered(logit(answer))", parameters={})
    columns = made_up(scores, 3, 1)
    q = logit("answer")
    columns.base[q][:], columns.patched[q][:], columns.sources["source"][q][:] = 0.0, 5.0, 2.0
    given = rows(n=3)
    assert score_test(scores, [({}, columns)], **given).cells[0].scores["recovered(logit(answer))"].value == 2.5


def test_clean_names_the_source() -> None:
    scores, found = compiled("report recovered(logit_diff, clean=two)", roles=("base", "one", "two"), parameters={})
    assert not codes(found)
    assert "two" in scores.quantities
    assert "one" not in scores.quantities


def test_moved_and_comparisons_are_shares() -> None:
    result, columns, _ = one_cell(
        "report moved\nreport right_order", "metric right_order = logit(answer) > logit(subject)\n"
    )
    scores = result.cells[0].scores
    assert scores["moved"].value == np.mean(columns.patched[ANSWER] != columns.base[ANSWER])
    order = [columns.patched[logit("answer")][i] > columns.patched[logit("subject")][i] for i in range(N)]
    assert scores["right_order"].value == sum(order) / N


def test_an_empty_answer_is_never_right() -> None:
    scores, _ = compiled("", parameters={})
    columns, given = made_up(scores, N, 1), rows()
    columns.patched[ANSWER][:] = NO_ANSWER
    columns.base[ANSWER][:] = NO_ANSWER
    given["labels"] = np.full(N, NO_ANSWER)
    found = score_test(scores, [({}, columns)], **given).cells[0].scores
    assert found["iia"].value == 0
    assert found["accuracy"].value == 0


def test_nan_never_passes() -> None:
    lines = (
        "expect logit(answer) >= -1000\nexpect not logit(answer) >= 1000\nexpect logit(answer) >= 1000 or kl >= 9 nats"
    )
    scores, _ = compiled(lines, parameters={})
    columns = made_up(scores, N, 1)
    columns.patched[logit("answer")][5] = np.nan
    result = score_test(scores, [({}, columns)], **rows())
    assert [e.passed for e in result.expectations] == [False] * 3
    assert [d.code for d in result.diagnostics] == ["F702"] * 3
    assert result.cells[0].scores["logit(answer)"].value is None
    columns.patched[logit("answer")][5] = np.inf
    assert not score_test(scores, [({}, columns)], **rows()).expectations[0].passed


def test_what_holds_without_the_undefined_part_holds() -> None:
    scores, _ = compiled("expect iia_star >= 0 or iia >= 0", parameters={})
    given = rows()
    given["ceilings"] = {**CEILINGS, "output_only": Ceiling(1.0, True, 16)}
    result = score_test(scores, [({}, made_up(scores, N, 1))], **given)
    assert result.cells[0].scores["iia_star"].value is None
    assert result.expectations[0].passed


def test_no_pairs_are_null_and_pass_nothing() -> None:
    scores, _ = compiled("expect iia >= 0\nexpect max(iia) >= 0\nexpect best(iia) >= 0\nreport median(logit_diff)")
    cells = [({"l": i}, made_up(scores, 0, 1)) for i in range(2)]
    result = score_test(scores, cells, **rows(n=0))
    assert not result.passed
    assert all("undefined" in e.reason for e in result.expectations)
    assert all(estimate.value is None for estimate in result.cells[0].scores.values())
    assert [f.code for f in result.cells[0].findings] == ["empty"]
    kept = score_test(scores, [({"l": 0}, made_up(scores, N, 1))], kept=np.zeros(N, bool), **rows())
    assert not kept.passed
    assert kept.kept == 0


def test_a_sweep_without_cells_passes_nothing() -> None:
    scores, _ = compiled("expect iia >= 0")
    result = score_test(scores, [], **rows())
    assert not result.passed
    assert "no cells" in result.expectations[0].reason


def test_all_pairs_of_a_domain_are_exact() -> None:
    result, _, _ = one_cell("")
    assert result.cells[0].scores["iia"].method == "clustered"
    scores, _ = compiled("report logit_diff", parameters={})
    exact = score_test(scores, [({}, made_up(scores, N, 1))], exhaustive=True, **rows())
    for estimate in exact.cells[0].scores.values():
        assert (estimate.low, estimate.high, estimate.method) == (None, None, "exact")


def test_independent_pairs_have_the_binomial_interval() -> None:
    from scipy.stats import binomtest

    scores, _ = compiled("", parameters={})
    given = rows()
    given["ids"] = {"base": np.arange(N), "source": np.arange(N)[::-1]}
    columns = made_up(scores, N, 1)
    found = score_test(scores, [({}, columns)], **given).cells[0].scores["iia"]
    interval = binomtest(int((columns.patched[ANSWER] == given["labels"]).sum()), N).proportion_ci(
        0.95, method="wilson"
    )
    assert (found.low, found.high, found.method) == (
        pytest.approx(interval.low),
        pytest.approx(interval.high),
        "binomial",
    )


def test_no_failure_is_not_certainty() -> None:
    scores, _ = compiled("report max(iia)\nreport best(iia)\nreport iia_star")
    given = rows()
    cells = []
    for i in range(2):
        columns = made_up(scores, N, i)
        columns.patched[ANSWER][:] = given["labels"]
        cells.append(({"l": i, "p": "last"}, columns))
    result = score_test(scores, cells, **given)
    clusters = min(len(np.unique(column)) for column in given["ids"].values())
    iia, star = result.cells[0].scores["iia"], result.cells[0].scores["iia_star"]
    assert (iia.value, iia.low, iia.high) == (1, 1 - 3 / clusters, 1)
    assert star.low == pytest.approx((iia.low - 0.4) / 0.6)
    most, best = (report.estimate for report in result.reports)
    assert most.low == iia.low
    assert best.low < iia.low


def sweep(lines: str, rates: dict[tuple[int, str], float], n: int = 400) -> TestResult:
    scores, _ = compiled(lines)
    rng, given, cells = np.random.default_rng(3), rows(n=n), []
    for (layer, position), rate in rates.items():
        columns = made_up(scores, n, layer)
        columns.patched[ANSWER] = np.where(rng.random(n) < rate, given["labels"], NO_ANSWER)
        cells.append(({"l": layer, "p": position}, columns))
    return score_test(scores, cells, **given)


RATES = {(0, "last"): 0.2, (1, "last"): 0.9, (0, "subject"): 0.6, (1, "subject"): 0.3}


def test_over_cells() -> None:
    result = sweep("report max(iia)\nreport min(iia)\nreport mean(iia)\nreport median(iia)\nreport argmax(iia)", RATES)
    iia = [cell.scores["iia"].value for cell in result.cells]
    values = [report.estimate.value for report in result.reports[:4]]
    assert values == pytest.approx([max(iia), min(iia), sum(iia) / 4, sorted(iia)[1] / 2 + sorted(iia)[2] / 2])
    assert result.reports[4].cell == {"l": 1, "p": "last"}


def test_a_bare_score_must_hold_in_every_cell() -> None:
    result = sweep("expect iia >= 50%\nexpect iia >= 10%\nexpect iia < max(iia) or iia >= 80%", RATES)
    assert [e.passed for e in result.expectations] == [False, True, True]
    first = result.expectations[0]
    assert [c["p"] for c in first.failed_cells] == ["last", "subject"]
    assert first.value == min(cell.scores["iia"].value for cell in result.cells)


def test_the_chosen_cell_by_its_parameters() -> None:
    lines = (
        "expect argmax(iia).l == 1 and argmax(iia).p == last\nexpect argmin(iia).p != last\nexpect argmax(iia).l < 1"
    )
    result = sweep(lines, RATES)
    assert [e.passed for e in result.expectations] == [True, False, False]
    assert result.expectations[1].value == {"l": 0, "p": "last"}
    assert result.expectations[2].value == 1


@pytest.mark.slow
def test_best_chooses_and_scores_on_different_bases() -> None:
    """With 40 cells of coin flips, the maximum looks well above a half, and `best` does not."""
    lines, n = "report max(iia)\nreport best(iia)", 60
    scores, _ = compiled(lines)
    most, best = [], []
    for seed in range(20):
        rng, given = np.random.default_rng(seed), rows(seed, n)
        cells = []
        for i in range(40):
            columns = made_up(scores, n, i)
            columns.patched[ANSWER] = np.where(rng.random(n) < 0.5, given["labels"], NO_ANSWER)
            cells.append(({"l": i, "p": "last"}, columns))
        result = score_test(scores, cells, **given)
        most.append(result.reports[0].estimate.value)
        best.append(result.reports[1].estimate.value)
        assert result.reports[1].estimate.n < n
    assert np.mean(most) > 0.6
    assert abs(np.mean(best) - 0.5) < 0.05


def test_undefined_cells_are_not_passed_over() -> None:
    scores, _ = compiled(
        "report max(logit_diff + 0)\nexpect max(mean(logit_diff)) >= -100\nexpect argmax(logit_diff).l >= 0"
    )
    cells = [({"l": i, "p": "last"}, made_up(scores, N, i)) for i in range(2)]
    cells[1][1].patched[logit("answer")][0] = np.nan
    result = score_test(scores, cells, **rows())
    assert [e.passed for e in result.expectations] == [False, False]


def test_filtering_shows_both_scores_and_the_kept_share() -> None:
    scores, _ = compiled("report logit_diff", parameters={})
    columns, given = made_up(scores, N, 1), rows()
    kept = np.arange(N) % 3 != 0
    result = score_test(scores, [({}, columns)], kept=kept, **given)
    found = result.cells[0].scores
    right = columns.patched[ANSWER] == given["labels"]
    assert found["iia"].value == pytest.approx(right[kept].mean())
    assert found["iia_unfiltered"].value == pytest.approx(right.mean())
    assert found["logit_diff_unfiltered"].n == N
    assert (result.n, result.kept, found["iia"].n) == (N, int(kept.sum()), int(kept.sum()))
    assert result.ceilings == CEILINGS
    assert set(result.ceilings_kept) == {"noop", "source", "output_only", "base_only", "source_only"}
    assert result.ceilings_kept["noop"].value == pytest.approx((given["labels"] == given["base_answers"])[kept].mean())
    top = result.ceilings_kept["output_only"].value
    assert found["iia_star"].value == pytest.approx((found["iia"].value - top) / (1 - top))
    assert found["iia_star"].low < found["iia_star"].value < found["iia_star"].high
    assert any(f.code == "filtered" and "67 of 101" in f.text for f in result.findings)


def test_kept_ceilings() -> None:
    from causal_dsl.score.chance import kept_ceilings

    n = 4000
    rng = np.random.default_rng(8)

    def kept(labels: Any, base: Any, source: Any, exhaustive: bool = False, given: Any = (), drawn: int = 0) -> Any:
        ids = {"base": np.arange(len(labels)), "source": np.arange(len(labels))}
        answers = {"base": np.asarray(base), "source": np.asarray(source)}
        return kept_ceilings(np.asarray(labels), answers, ids, exhaustive, dict(given), drawn or len(labels))

    base, source = rng.integers(0, 4, n), rng.integers(0, 4, n)
    ceilings, right = kept((base + source) % 4, base, source)
    assert ceilings["output_only"].value == 1
    assert right.all()
    # Where every combination of answers is new, no rule can be learnt, however well one fits its own pairs.
    many, labels = rng.permutation(n), rng.integers(0, 100, n)
    ceilings, _ = kept(labels, many, many)
    assert ceilings["output_only"].low < 0.05 and ceilings["output_only"].value == ceilings["output_only"].high == 1
    # What is known of all pairs bounds what there is on nearly all of them.
    given = {name: Ceiling(0.02, True, n * n) for name in ("noop", "source", "output_only")}
    ceilings, right = kept(labels, many, many, given=given, drawn=n + 100)
    assert 0.02 < ceilings["output_only"].high < 0.0225
    assert right.mean() == pytest.approx(ceilings["output_only"].value)
    all_of_it = {"output_only": Ceiling(1.0, True, n * n)}
    ceilings, _ = kept(labels, many, many, given=all_of_it)
    assert (ceilings["output_only"].low, ceilings["output_only"].high) == (1, 1)
    exact, _ = kept([0, 1, 1], [0, 0, 0], [1, 1, 1], exhaustive=True)
    assert exact["output_only"].value == pytest.approx(2 / 3)
    assert exact["output_only"].exact


def test_ratios_are_resampled_as_ratios() -> None:
    """The interval of a ratio of means is that of a ratio of two resampled sums."""
    from causal_dsl.score.intervals import Resampling

    result, columns, given = one_cell("report mean(kl) / mean(js)")
    weights = np.concatenate(list(Resampling(given["ids"]).weights(1000)))
    kl, js = columns.patched[Quantity("kl")], columns.patched[Quantity("js")]
    low, high = np.quantile((weights @ kl) / (weights @ js), [0.025, 0.975])
    found = result.cells[0].scores["mean(kl) / mean(js)"]
    assert (found.low, found.high, found.method) == (pytest.approx(low), pytest.approx(high), "bootstrap")


def test_numbers_of_each_pair() -> None:
    scores, _ = compiled(
        "report mean(logit_diff)\nexpect recovered(prob(answer)) >= 1%\nexpect kl <= 1 nats", parameters={}
    )
    columns, given = made_up(scores, N, 1), rows()
    found = scores.per_pair(CellData(columns, given["base_answers"], given["labels"], given["source_answers"]))
    assert set(found) == {"accuracy", "iia", "logit_diff", "prob(answer)", "kl"}
    assert found["prob(answer)"] == pytest.approx([BRUTE["prob(answer)"](columns.patched, i) for i in range(N)])
    assert found["iia"] == pytest.approx((columns.patched[ANSWER] == given["labels"]).astype(float))


def test_a_ceiling_that_is_a_bound_makes_no_exact_score() -> None:
    scores, _ = compiled("report iia", parameters={})
    given = rows() | {"exhaustive": True}
    for exact in (True, False):
        given["ceilings"] = {"output_only": Ceiling(0.75, exact, N, *(() if exact else (0.5, 0.75)))}
        found = score_test(scores, [({}, made_up(scores, N, 1))], **given).cells[0].scores
        assert found["iia"].method == "exact" and found["iia_star"].value == pytest.approx(4 * found["iia"].value - 3)
        assert found["iia_star"].method == ("exact" if exact else "none")
