"""`--figures` and `plot()`: files that can be read, in one style, with their numbers beside them."""

from __future__ import annotations

import csv
import json
import re
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import causal_dsl as cd
from causal_dsl.report.figures.charts import chart
from causal_dsl.report.figures.family_pictures import family_pictures
from causal_dsl.report.figures.figure_files import as_csv
from causal_dsl.report.figures.pictures import Picture, pictures
from causal_dsl.report.html.drawn import svg_of as svg_of_picture
from causal_dsl.score.estimates_and_findings import Estimate
from causal_dsl.score.results import TestResult
from causal_dsl.tools.cli import main
from tests.report.shared_results import results

pytestmark = pytest.mark.tools
ENDINGS = {"svg", "pdf", "png", "csv"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The figures of kept results, as the command writes them."""
    home = tmp_path_factory.mktemp("figures")
    (home / "results.json").write_text(json.dumps(results().to_json()), encoding="utf-8")
    assert (
        main(["report", str(home / "results.json"), "--figures", str(home / "figures"), "--html", str(home / "a.html")])
        == 0
    )
    assert (home / "a.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    return home / "figures"


def test_each_figure_has_four_files(folder: Path) -> None:
    names = {path.stem for path in folder.iterdir()}
    assert {"mapped-iia", "along-iia", "fails-scores", "one-scores"} == names
    for name in names:
        assert {path.suffix[1:] for path in folder.glob(f"{name}.*")} == ENDINGS
        assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        svg = ElementTree.fromstring((folder / f"{name}.svg").read_text(encoding="utf-8"))
        wide, high = struct.unpack(">II", (folder / f"{name}.png").read_bytes()[16:24])
        assert wide / float(svg.get("width", "0")) == pytest.approx(300 / 72, rel=0.02)
        assert high > 0
        sizes = {text.get("font-size") for text in svg.iter("{http://www.w3.org/2000/svg}text")}
        assert sizes <= {"9px", "10px", "11px"} and "9px" in sizes


@pytest.mark.parametrize("test", ["mapped", "along"])
def test_the_numbers_beside_a_figure_are_those_of_the_results(folder: Path, test: str) -> None:
    with (folder / f"{test}-iia.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row, cell in zip(rows, results()[test].cells, strict=True):
        assert float(row["value"]) == cell.scores["iia"].value and int(row["n"]) == cell.scores["iia"].n
        assert {name: row[name] for name in cell.cell if name in row} == {
            n: str(v) for n, v in cell.cell.items() if n in row
        }


def test_the_middle_of_the_colours_is_the_ceiling() -> None:
    chart = results()["mapped"].plot().to_dict()
    scale = chart["layer"][0]["encoding"]["color"]["condition"]["scale"]
    assert scale["domain"] == [0.0, results()["mapped"].ceilings["output_only"].value, 1.0]
    assert scale["range"][1] == "#ececec"


def test_where_nothing_can_exceed_the_ceiling_nothing_is_blue() -> None:
    picture = replace(pictures(results()["mapped"])[0], ceiling=(1.0, 1.0))
    scale = chart(picture).to_dict()["layer"][0]["encoding"]["color"]["condition"]["scale"]
    assert scale["domain"] == [0.0, 1.0] and scale["range"] == ["#ba8c5c", "#ececec"]


def marks(chart: Any) -> list[str]:
    return [layer["mark"]["type"] for layer in chart.to_dict()["layer"]]


def test_a_chart_is_that_of_the_sweep() -> None:
    found = results()
    assert marks(found["mapped"].plot()) == ["rect", "text"]
    assert marks(found["along"].plot()) == ["rect", "rule", "text", "area", "line", "circle"]
    panels = found["fails"].plot().to_dict()["vconcat"]  # shares on one axis, iia_star on another
    assert all("circle" in [layer["mark"]["type"] for layer in panel["layer"]] for panel in panels) and len(panels) == 2
    assert found["mapped"].plot("accuracy").to_dict()["title"]["text"] == "mapped: accuracy"
    with pytest.raises(KeyError, match="no score `other`"):
        found["mapped"].plot("other")


def svg_of(test: Any) -> str:
    import vl_convert

    return str(vl_convert.vegalite_to_svg(test.to_dict()))


def words_of(svg: str) -> list[str]:
    return ["".join(text.itertext()) for text in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def measured(test: str, **numbers: float) -> TestResult:
    """A test of the results whose cells have further scores, all in nats."""
    own = results()[test]
    cells = tuple(
        replace(c, scores={**c.scores, **{n: Estimate(v, v / 2, v * 2, 9) for n, v in numbers.items()}})
        for c in own.cells
    )
    return replace(own, cells=cells, asked=tuple(numbers), units={**own.units, **dict.fromkeys(numbers, "nats")})


def test_units_stand_on_the_axes_and_numbers_of_a_test_are_all_drawn() -> None:
    assert "kl (nats)" in words_of(svg_of(measured("along", kl=0.25).plot()))
    assert "mapped: kl (nats)" in words_of(svg_of(measured("mapped", kl=0.25).plot()))
    one = measured("fails", kl=0.25, js=0.5)
    words = words_of(svg_of(one.plot()))
    assert {*one.cells[0].scores, "nats", "share of pairs"} <= set(words)
    (picture,) = pictures(one)
    assert [row["score"] for row in picture.records] == list(one.cells[0].scores)
    assert {row["score"]: row["unit"] for row in picture.records} == {
        **dict.fromkeys(one.cells[0].scores, "share"),
        "kl": "nats",
        "js": "nats",
    }
    assert (
        as_csv(pictures(measured("along", kl=0.25))[0]).splitlines()[0]
        == "l,score,unit,value,low,high,method,n,ceiling"
    )
    for test in ("mapped", "along"):
        (shares,) = pictures(results()[test])
        assert {row["unit"] for row in shares.records} == {results()[test].units["iia"]} == {"share"}


def test_a_test_of_one_number_has_a_figure_and_one_of_none_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The figure that plot() gives; a page, which says the number in words, does not draw it."""
    (whole,) = [spec for spec in results().specs if "fails" in {test.name for test in spec.tests}]
    own = results()["fails"]
    cell = own.cells[0]
    single = replace(own, name="single", cells=(replace(cell, scores={"accuracy": cell.scores["accuracy"]}),))
    none = {name: Estimate(None) for name in cell.scores}
    empty = replace(own, name="empty", cells=(replace(cell, scores=none),))
    made = cd.Results((replace(whole, tests=(single, empty)),))
    (tmp_path / "r.json").write_text(json.dumps(made.to_json()), encoding="utf-8")
    words = ["report", str(tmp_path / "r.json"), "--figures", str(tmp_path / "f"), "--html", str(tmp_path / "a.html")]
    capsys.readouterr()
    assert main(words) == 0
    assert {path.name for path in (tmp_path / "f").iterdir()} == {f"single-scores.{ending}" for ending in ENDINGS}
    with (tmp_path / "f" / "single-scores.csv").open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["score"] == "accuracy" and float(row["value"]) == cell.scores["accuracy"].value
    assert row["unit"] == "share" and marks(single.plot()).count("circle") == 1
    assert "no figure of `empty`: no cell has a number" in capsys.readouterr().err
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "<figcaption>single" not in page and "accuracy" in page


def test_what_rounding_leaves_is_not_drawn_as_if_it_were_much() -> None:
    for test in ("mapped", "along", "fails"):
        words = words_of(svg_of(measured(test, kl=3e-9).plot()))
        assert not [word for word in words if "0000000" in word or "\u221210" in word], words
    flat = measured("mapped", kl=3e-9).plot().to_dict()["layer"][0]["encoding"]["color"]["condition"]
    assert flat["legend"] is None and flat["scale"]["range"][0] == "#ececec"


def test_each_of_several_maps_has_its_own_axes() -> None:
    own = results()["mapped"]
    cells = tuple(replace(c, cell={**c.cell, "k": k}) for k in ("few", "many", "most") for c in own.cells)
    words = words_of(svg_of(replace(own, cells=cells, parameters=(*own.parameters, "k")).plot()))
    heads = [word for word in words if word.split("=")[-1] in ("few", "many", "most", "a", "b", "last") and "=" in word]
    assert len(heads) == 3 and words.count("layer l") == 3


def test_texts_that_no_svg_may_hold_are_escaped() -> None:
    own = results()["along"]
    cells = tuple(replace(c, cell={"l": f"\0\x07<{c.cell['l']}>\u202e"}) for c in own.cells)
    assert "\\x00\\x07<1>\\u202e" in words_of(svg_of(replace(own, cells=cells, name="n\0").plot()))


def test_what_cannot_be_drawn_is_told() -> None:
    with pytest.raises(cd.SpecError, match="E864"):
        replace(results()["mapped"], cells=()).plot()


def test_a_folder_that_cannot_be_written_is_told_before_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    spec = Path(__file__).parents[2] / "specs" / "equality.causal"
    for words in (["--figures", str(tmp_path / "file" / "in")], ["--html", str(tmp_path)]):
        assert main(["run", str(spec), *words]) == 2
        said = capsys.readouterr()
        assert "E708" in said.err and not said.out


def test_numbers_on_a_map_can_be_read_wherever_they_lie() -> None:
    """WCAG's formula, written out again, over the whole scale."""
    from causal_dsl.report.figures.figure_style import ink_on

    colours = [(0.0, "#ba8c5c"), (0.5, "#ececec"), (1.0, "#1454a0")]

    def light(rgb: list[float]) -> float:
        parts = [c / 255 for c in rgb]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    for step in range(101):
        value = step / 100
        (low, first), (high, second) = colours[:2] if value <= 0.5 else colours[1:]
        share = (value - low) / (high - low)
        ends = [[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in (first, second)]
        ground = light([a + share * (b - a) for a, b in zip(*ends, strict=True)])
        ink = {"#000000": 0.0, "#ffffff": 1.0}[ink_on(value, colours)]
        assert (max(ground, ink) + 0.05) / (min(ground, ink) + 0.05) >= 4.5


def lines_of(count: int) -> cd.SpecResult:
    """A sweep that runs as the members of a family."""
    spec = results().specs[0]
    one = next(test for test in spec.tests if test.name == "along")
    runs = [replace(one, name=f"along(seed={n})", family="along", variant=(("seed", n),)) for n in range(count)]
    return replace(spec, tests=tuple(runs))


def test_lines_of_a_family_are_told_apart() -> None:
    """Ten lines have ten looks, each in the legend; so many that none could be read have one."""
    for count, looks in ((10, 10), (20, 1)):
        (picture,) = family_pictures(lines_of(count).families[0])
        svg = svg_of_picture(picture)
        groups = [g for g in ElementTree.fromstring(svg).iter() if "mark-line" in g.get("class", "")]
        drawn = {(path.get("stroke"), path.get("stroke-dasharray")) for g in groups for path in g if path.get("stroke")}
        assert len(drawn) == looks
        assert {f"seed={n}" for n in range(count)} <= set(words_of(svg)) or looks == 1


def test_names_of_files_have_no_holes() -> None:
    picture = next(one for test in lines_of(1).tests for one in pictures(test))
    assert picture.name == "along_seed_0-iia"


def test_marks_are_explained_and_no_name_stands_twice() -> None:
    own = results()["fails"]
    scores = {**own.cells[0].scores, "iia_star": Estimate(-0.13, -0.13, -0.12, 9)}
    svg = svg_of(replace(own, cells=(replace(own.cells[0], scores=scores),)).plot())
    words = words_of(svg)
    assert any("brown marks: ceilings" in one for one in words) and words.count("iia_star") == 1
    assert "-0.2" in words or "\u22120.2" in words  # its axis goes beyond its value, and to 1
    assert "1.0" in words


def test_an_axis_says_what_its_parameter_numbers() -> None:
    """By the places of the test, or by the place of a reading; in letters in which `l` is no bar, a short name upright."""
    from causal_dsl.report.figures.axis_titles import axis_title

    mapped = results()["mapped"]
    assert {"layer l", "position p"} <= set(words_of(svg_of(mapped.plot())))
    bare = replace(mapped, setting=None)
    assert [axis_title(bare, "iia", name) for name in "lp"] == ["l", "p"]
    assert axis_title(bare, "induction @ layer[l].head[h]", "h") == "head h"
    assert axis_title(bare, "norm @ layer[l].resid_post[p]", "p") == "position p"
    assert axis_title(bare, "norm @ layer[3].resid_post[p]", "l") == "l"
    assert mapped.setting is not None
    moved = [replace(one, layer=(one.layer or 0) + 1) for one in mapped.setting.places]
    assert axis_title(replace(mapped, setting=replace(mapped.setting, places=tuple(moved))), "iia", "l") == "l"
    own = re.findall(r"<text([^>]*)>l</text>", svg_of(bare.plot()))
    assert own and not any("rotate(-90" in one for one in own) and all("Mono" in one for one in own)


def test_controls_of_several_cells_fit_a_page() -> None:
    """Panels of controls, as of a test with learned features in some cells."""
    rows = tuple(
        {
            "value": 0.5,
            "low": 0.4,
            "high": 0.6,
            "n": 9,
            "ceiling": 0.5,
            "told": "",
            "shown": "0.500",
            "y": f"control {n}",
            "part": f"l={cell}",
        }
        for cell in range(12)
        for n in range(6)
    )
    for count in (3, 6, 12):
        picture = Picture("p", "p", "points", rows[: 6 * count], "iia", "", "l", "", (0.5, 0.5), True, joined=False)
        wide = float(ElementTree.fromstring(svg_of_picture(picture)).get("width", "0"))
        assert wide <= 6.5 * 72


def test_a_notebook_shows_a_chart_without_asking_the_internet() -> None:
    shown = results()["mapped"].plot()._repr_mimebundle_()
    assert set(shown) == {"image/svg+xml", "text/plain"} and shown["image/svg+xml"].startswith("<svg")
    assert "http" not in shown["image/svg+xml"].replace("http://www.w3.org/", "")
