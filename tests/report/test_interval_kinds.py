"""What a bar around a point is, and what the numbers on an axis are: each figure says it of each of its rows."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import Any

import pytest

from causal_dsl.report.figures.charts import chart
from causal_dsl.report.figures.figure_files import as_csv, figures
from causal_dsl.report.figures.pictures import picture_of, pictures
from causal_dsl.report.html.drawn import svg_of
from causal_dsl.score.controls import Control, Learned
from causal_dsl.score.estimates_and_findings import Estimate
from causal_dsl.score.spec_results import Results
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


@pytest.mark.tools
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


@pytest.mark.tools
def test_colours_do_not_spread_what_lies_within_an_interval() -> None:
    """Logits between -0.727 and -0.720, each within 0.01: one colour. Further apart they have several, and the legend says which."""
    mapped = results()["mapped"]

    def condition(step: float) -> Any:
        cells = tuple(
            replace(cell, scores={"logit(x)": Estimate(-0.727 + step * n, -0.737 + step * n, -0.717 + step * n, 32)})
            for n, cell in enumerate(mapped.cells)
        )
        (picture,) = picture_of(replace(mapped, cells=cells, units={"logit(x)": "logits"}), "logit(x)")
        return chart(picture).to_dict()["layer"][0]["encoding"]["color"]["condition"]

    assert condition(0.0008)["legend"] is None
    told = condition(0.08)["legend"]
    assert "'-0.727'" in told["labelExpr"] and "'-0.087 nearest to 0'" in told["labelExpr"]


@pytest.mark.tools
def test_a_legend_names_the_ceiling_also_near_an_end() -> None:
    """The number at the end makes room for it."""
    picture = replace(picture_of(results()["mapped"], "iia")[0], ceiling=(0.91, 0.91))
    legend = chart(picture).to_dict()["layer"][0]["encoding"]["color"]["condition"]["legend"]
    assert legend["values"] == [0.0, 0.91] and "0.910 ceiling" in legend["labelExpr"]
    assert "0.910 ceiling" in svg_of(picture)


def test_figures_of_two_specs_say_of_which_they_are() -> None:
    own = results().specs[0]
    made = figures(Results(tuple(replace(own, path=path) for path in ("a/s.causal", "b/s.causal"))))
    names = [f"{of}_s-{name}" for of in "ab" for name in ("mapped-iia", "fails-scores", "along-iia")]
    assert sorted(made) == sorted(names)
    for name, picture in made.items():
        rows = list(csv.DictReader(io.StringIO(as_csv(picture))))
        assert rows and {row["spec"] for row in rows} == {f"{name[0]}/s.causal"}
    assert "mapped-iia" in figures(results()), "names that differ stay as they are"
