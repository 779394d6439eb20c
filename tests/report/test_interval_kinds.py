"""What a bar around a point is, and what the numbers on an axis are: each figure says it of each of its rows."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

from causal_dsl.report.figures.charts import chart
from causal_dsl.report.figures.figure_files import as_csv
from causal_dsl.report.figures.pictures import pictures
from causal_dsl.score.controls import Control, Learned
from causal_dsl.score.estimates_and_findings import Estimate
from tests.report.shared_results import results


def test_the_draws_of_a_control_are_no_interval() -> None:
    drawn = Control("random subspace", Estimate(0.5, 0.4, 0.6, 64, "draws"), draws=(0.4, 0.5, 0.6))
    whole = Control("whole vector", Estimate(1.0, 0.95, 1.0, 64, "rule of three"))
    fails = results()["fails"]
    learned = Learned((), controls={"whole vector": whole, "random subspace": drawn})
    picture = pictures(replace(fails, cells=(replace(fails.cells[0], learned=learned),)))[-1]
    assert picture.key == "bars: 95% intervals; bars of random subspace: smallest and largest draw"
    told = {row["which"]: row["told"] for row in picture.rows}
    assert "smallest and largest draw [0.400, 0.600]" in told["random subspace"]
    assert "95% interval" not in told["random subspace"] and "95% interval" in told["whole vector"]
    methods = {row["control"]: row["method"] for row in csv.DictReader(io.StringIO(as_csv(picture)))}
    assert methods["random subspace"] == "draws" and methods["whole vector"] == "rule of three"


def test_a_mean_probability_is_no_share_of_pairs() -> None:
    fails = results()["fails"]
    cell, mean = fails.cells[0], Estimate(0.4, 0.3, 0.5, 64, "bootstrap")
    scores = {**cell.scores, 'prob("a)b")': mean, "disentangle": mean, "mine": mean}
    units = {**fails.units, **dict.fromkeys(scores, "share")}
    (picture,) = pictures(replace(fails, cells=(replace(cell, scores=scores),), units=units))
    axes = {row["y"]: row["part"] for row in picture.rows}
    assert axes["accuracy"] == axes["iia"] == "share of pairs"
    assert (axes['prob("a)b")'], axes["disentangle"], axes["mine"]) == ("mean probability", "disentangle", "mine")
    drawn = chart(picture).to_dict()["vconcat"]
    domains = [part["layer"][-1]["encoding"]["x"]["scale"]["domain"] for part in drawn]
    assert len(drawn) == len(set(axes.values())) and all(domain[-1] == 1.0 for domain in domains)
