"""Which picture a sweep asks for, and that its numbers are those of the results."""

from __future__ import annotations

from dataclasses import replace

import pytest

from causal_dsl.program.ablations import AblationChoices
from causal_dsl.program.nodes import Size
from causal_dsl.report.figures.family_pictures import family_pictures
from causal_dsl.report.figures.pictures import picture_of, pictures
from causal_dsl.report.text import text
from causal_dsl.score.circuit_results import CircuitResult
from causal_dsl.score.spec_results import Results, SpecResult
from tests.report.shared_results import results


@pytest.mark.parametrize(("test", "kind"), [("mapped", "map"), ("along", "curve"), ("fails", "points")])
@pytest.mark.thinned(always=1)
def test_the_shape_of_a_sweep_chooses_the_picture(test: str, kind: str) -> None:
    (picture, *_) = pictures(results()[test])
    assert picture.kind == kind


@pytest.mark.parametrize("test", ["mapped", "along"])
def test_a_picture_has_the_numbers_of_each_cell(test: str) -> None:
    result = results()[test]
    (picture,) = pictures(result)
    ceiling = result.ceilings["output_only"].value
    assert len(picture.records) == len(result.cells)
    for record, cell in zip(picture.records, result.cells, strict=True):
        iia = cell.scores["iia"]
        assert {name: record[name] for name in cell.cell if name in record}.items() <= cell.cell.items()
        assert (record["value"], record["low"], record["high"], record["n"]) == (iia.value, iia.low, iia.high, iia.n)
        assert record["ceiling"] == ceiling
    told = picture.rows[0]["told"]
    assert all(part in told for part in ("iia", "[", "32 pairs", f"ceiling {ceiling:.3f}"))


def test_circuits_of_unlike_choices_are_in_pictures_of_their_own() -> None:
    """Two numbers whose ablations make unlike choices do not compare (Miller et al. 2024)."""
    along = results()["along"]
    choices = [AblationChoices("one", "heads", value, "all", "base", "outside") for value in ("mean", "mean", "zero")]
    cells = [
        replace(cell, circuit=CircuitResult("c", Size(1, 1, 1.0, 2, 2), own, (), {}))
        for cell, own in zip(along.cells, choices, strict=True)
    ]
    found = pictures(replace(along, cells=tuple(cells)))
    assert [len(picture.rows) for picture in found] == [2, 1]
    assert "zero" in found[1].title and len({picture.name for picture in found}) == 2


def test_a_score_that_is_not_there_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="nothing_like_it"):
        picture_of(results()["mapped"], "nothing_like_it")
    assert [one.kind for one in picture_of(results()["mapped"], "accuracy")] == ["map"]


def test_a_score_over_fewer_pairs_says_over_how_many() -> None:
    """Only pairs whose answer should change count for iia_informative; tables, figures and the terminal say so."""
    along = replace(results()["along"], asked=("iia", "iia_informative"))
    counts = {cell.scores["iia_informative"].n for cell in along.cells}
    assert max(counts) < along.kept
    told = f"over {min(counts)} of the {along.kept} pairs"
    whole, part = pictures(along)
    assert not whole.note and part.note == told and part.score == "iia_informative"
    assert text(Results((SpecResult("", "", (along,)),))).count(told) == 1


def test_a_training_curve_has_a_line_for_each_seed() -> None:
    """A family over a number and seeds: the number is the axis, and each seed a line, in the order of the axis."""
    spec, one = results().specs[0], results()["fails"]
    runs = [
        replace(one, name=f"t({steps}, {seed})", family="t", variant=(("steps", steps), ("seed", seed)))
        for steps in (400, 25, 100)
        for seed in (0, 1)
    ]
    picture = family_pictures(replace(spec, tests=tuple(runs)).families[0])[0]
    assert (picture.kind, picture.x, picture.line) == ("curve", "steps", "seed")
    assert [(row["x"], row["line"]) for row in picture.rows] == [
        (steps, f"seed={seed}") for steps in (25, 100, 400) for seed in (0, 1)
    ]
    assert {(record["steps"], record["seed"]) for record in picture.records} == {
        (steps, f"seed={seed}") for steps in (25, 100, 400) for seed in (0, 1)
    }
