"""`causal-dsl report`: results.json holds all that a report says, and what is no such file is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import causal_dsl as cd
from causal_dsl.report.text import text
from causal_dsl.score.document_shape import misfit
from causal_dsl.score.read_results import spec_result
from causal_dsl.tools.cli import main
from tests.engine.test_edge_circuits import spec as edges
from tests.report.shared_results import results

ROOT = Path(__file__).parents[2]
Captured = pytest.CaptureFixture[str]


def read_back(found: cd.Results) -> None:
    """What was written says the same when it is read."""
    written = json.loads(json.dumps(found.to_json()["specs"]))
    again = cd.Results(tuple(map(spec_result, written)))
    assert [misfit(one) for one in written] == [""] * len(written)
    places = {name: 0 for name in ("line", "column", "end_line", "end_column")}
    for one, spec in zip(written, again.specs, strict=True):
        one["diagnostics"] = [{**told, **places} for told in one["diagnostics"]]
        own = json.loads(json.dumps(spec.to_json()))
        own["diagnostics"] = [{**told, **places} for told in own["diagnostics"]]
        assert own == one
    assert text(again) == text(found)


def test_results_are_read_as_they_were_written() -> None:
    read_back(results())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["equality_relu", "equality_mlp_das", "logic", "attributes", "studies/circuit_of_ioi"])
def test_results_of_shipped_specs_are_read_as_they_were_written(name: str) -> None:
    if name.startswith("studies"):
        scores = "faithfulness(gap), necessity(gap), completeness(gap), minimality(gap)"
        read_back(cd.run(cd.parse(edges("llama", "outside(c) <- source", scores))))
    else:
        read_back(cd.run(ROOT / "specs" / f"{name}.causal"))


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    document = results().specs[0].to_json()
    file = tmp_path / "results.json"
    file.write_text(json.dumps(document))
    return file, json.loads(file.read_text())


def refused(file: Path, document: Any, capsys: Captured) -> str:
    file.write_text(document if isinstance(document, str) else json.dumps(document))
    assert main(["report", str(file)]) == 2
    return capsys.readouterr().err


def test_a_report_of_kept_results_is_that_of_the_run(kept: tuple[Path, Any], capsys: Captured) -> None:
    assert main(["report", str(kept[0])]) == 0
    assert capsys.readouterr().out == text(cd.Results(results().specs[:1]))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda d: d["tests"][0]["cells"][1]["scores"]["iia"].update(n="many"), "tests[0].cells[1].scores.iia.n"),
        (lambda d: d.update(cost=[]), "`cost` is a list"),
        (lambda d: d["tests"][0].pop("units"), "`tests[0].units` is missing"),
        (lambda d: d["tests"][1]["failures"][0].update(pair=None), "failures[0].pair"),
    ],
)
def test_damaged_results_are_refused_by_the_place(
    damage: Any, told: str, kept: tuple[Path, dict[str, Any]], capsys: Captured
) -> None:
    file, document = kept
    damage(document)
    said = refused(file, document, capsys)
    assert "E861" in said and told in said


@pytest.mark.parametrize("document", ["{", "[]", '{"specs": []}', '{"a": 1}', "\x00\x01", '"text"'])
def test_other_files_are_refused(document: str, kept: tuple[Path, Any], capsys: Captured) -> None:
    assert "E870" in refused(kept[0], document, capsys)


def test_results_of_an_earlier_schema_are_refused(kept: tuple[Path, dict[str, Any]], capsys: Captured) -> None:
    file, document = kept
    said = refused(file, {**document, "schema": 1}, capsys)
    assert "E870" in said and "schema is 1" in said


def test_a_folder_without_results_is_refused(tmp_path: Path, capsys: Captured) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "E870" in capsys.readouterr().err


def test_charts_without_their_packages_say_what_to_install(
    kept: tuple[Path, Any], tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "altair", None)
    for option in ("--html", "--figures"):
        assert main(["report", str(kept[0]), option, str(tmp_path / "out")]) == 2
        said = capsys.readouterr().err
        assert "E860" in said and "pip install 'causal-dsl[report]'" in said
    with pytest.raises(cd.SpecError, match="E860"):
        results()["mapped"].plot()
    from causal_dsl.report.html import fragment

    told = fragment(results()["mapped"])  # the tables are there all the same
    assert "causal-dsl[report]" in told and "0.656" in told and "<svg" not in told
