"""Sweeps: intervals that hold for all cells at once, marks against the cell below, and luck that is said to be luck."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from causal_dsl.causal.ceilings import Ceiling
from causal_dsl.report.text import text
from causal_dsl.score.intervals import together
from causal_dsl.score.results import TestResult
from causal_dsl.score.score import score_test
from causal_dsl.score.spec_results import Results, SpecResult
from causal_dsl.score.sweeps import below
from tests.score.scoring import ANSWER, compiled, made_up

HALF = {"noop": Ceiling(0.5, True, 4), "source": Ceiling(0.5, True, 4), "output_only": Ceiling(0.5, True, 4)}
COPIED = {"noop": Ceiling(0.1, True, 4), "source": Ceiling(1.0, True, 4), "output_only": Ceiling(1.0, True, 4)}


def sweep(
    rates: list[float],
    n: int = 200,
    seed: int = 0,
    ceilings: dict[str, Ceiling] = HALF,
    cells: list[dict] | None = None,
    right: float = 1.0,
) -> TestResult:
    """A sweep whose cells are right in given shares of independent pairs, drawn anew in each cell."""
    parameters = tuple({c: () for c in (cells or [{"l": 0}])[0]})
    scores, _ = compiled("report iia", parameters={name: tuple(range(len(rates))) for name in parameters})
    rng = np.random.default_rng(seed)
    labels, own = rng.integers(0, 2, n), rng.integers(0, 2, n)
    made = []
    for i, rate in enumerate(rates):
        columns = made_up(scores, n, i)
        columns.base[ANSWER] = np.where(rng.random(n) < right, own, 1 - own)
        columns.patched[ANSWER] = np.where(rng.random(n) < rate, labels, 1 - labels)
        made.append(((cells or [{"l": k} for k in range(len(rates))])[i], columns))
    ids: dict[str, Any] = {"base": np.arange(n), "source": np.arange(n)}
    return score_test(
        scores, made, ids=ids, base_answers=own, labels=labels, source_answers={"source": own}, ceilings=ceilings
    )


@pytest.mark.slow
def test_joint_intervals_hold_in_all_cells_of_noise() -> None:
    """Of 40 sweeps over 50 cells of pure chance, one in twenty may have a cell above."""
    own = joint = 0
    for seed in range(40):
        found = sweep([0.5] * 50, 120, seed)
        own += any(cell.scores["iia"].low > 0.5 for cell in found.cells)  # type: ignore[operator]
        joint += any(cell.verdict.code == "supported" for cell in found.cells)  # type: ignore[union-attr]
    assert own > 20
    assert joint <= 6


def test_together_is_the_quantile_of_the_largest_deviation() -> None:
    """Of independent normal cells the known quantile: P(all of 10 within z) = .95 at z = 2.80."""
    replicates = np.random.default_rng(0).normal(size=(20_000, 10)) * np.arange(1, 11)
    assert together(np.zeros(10), replicates) == pytest.approx(2.80, abs=0.04)
    alike = np.repeat(np.random.default_rng(1).normal(size=(20_000, 1)), 10, axis=1)
    assert together(np.zeros(10), alike) == pytest.approx(1.96, abs=0.04)
    assert together(np.ones(3), np.ones((100, 3))) is None


def test_luck_is_said_to_be_luck() -> None:
    found = next(
        f
        for seed in range(20)
        if (f := sweep([0.5] * 60, 100, seed)) and [x for x in f.findings if x.code == "multiple"]
    )
    (finding,) = [finding for finding in found.findings if finding.code == "multiple"]
    assert "of 60 cells lie above" in finding.text and "1.5 would by luck" in finding.text
    assert found.verdict is not None and found.verdict.code in ("inconclusive", "mixed")
    sure = sweep([0.5] * 20 + [1.0], 200)
    assert sure.cell(l=20).verdict.code == "supported"  # type: ignore[union-attr]
    assert sure.verdict is not None and sure.verdict.code == "mixed" and "supported in 1" in sure.verdict.text


def test_joint_intervals_are_wider() -> None:
    found = sweep([0.8] * 10)
    for cell in found.cells:
        assert cell.together is not None
        assert cell.together[0] < cell.scores["iia"].low  # type: ignore[operator]
        assert cell.to_json()["together"] == {"low": cell.together[0], "high": cell.together[1]}
    assert sweep([0.8]).cells[0].together is None


def test_which_cell_lies_below() -> None:
    assert below([{"l": 2, "p": "a"}, {"l": 0, "p": "a"}, {"l": 2, "p": "b"}, {"l": 1, "p": "a"}]) == [3, None, None, 1]
    assert below([{"l": 0, "h": 0}, {"l": 1, "h": 0}, {"l": 0, "h": 1}, {"l": 1, "h": 1}]) == [None] * 4


def test_a_ceiling_of_one_is_said_once_and_the_map_shows_rises() -> None:
    found = sweep([0.3, 0.3, 0.9, 0.9, 0.4], 400, ceilings=COPIED)
    assert found.verdict is not None and found.verdict.code == "vacuous"
    assert [f.code for f in found.findings].count("vacuous") == 1
    assert all(f.code != "vacuous" for cell in found.cells for f in cell.findings)
    rises = [cell.rise for cell in found.cells]
    assert [rise.below for rise in rises if rise] == [None, {"l": 0}, {"l": 1}, {"l": 2}, {"l": 3}]
    values = [cell.scores["iia"].value for cell in found.cells]
    for i, rise in enumerate(rises[1:], 1):
        assert rise is not None and rise.difference.value == pytest.approx(values[i] - values[i - 1])  # type: ignore[operator]
    shown = text(Results((SpecResult("s.causal", "", (found,)),)))
    marks = [line.split()[2][-1] for line in shown.splitlines() if line.strip()[:1].isdigit() and "[" in line]
    assert marks[2:] == ["^", shown_value(found, 3), "v"]
    assert "^ scores more than the cell below it" in shown


def shown_value(found: TestResult, layer: int) -> str:
    """What stands last in the column of numbers where there is no mark: the last digit of the score."""
    value = found.cell(l=layer).scores["iia"].value
    return f"{value:.3f}"[-1]


def test_heads_are_held_against_the_unpatched_runs() -> None:
    cells = [{"l": layer, "h": head} for layer in range(2) for head in range(3)]
    found = sweep([0.5, 0.5, 0.5, 0.5, 0.95, 0.5], 400, ceilings=COPIED, cells=cells)
    assert all(cell.rise is not None and cell.rise.below is None for cell in found.cells)
    shown = text(Results((SpecResult("s.causal", "", (found,)),)))
    assert shown.count("^") == 3  # the cell, what the mark means, and the finding
    assert "than the unpatched runs" in shown
