"""`causal-dsl report`: results.json holds all that a report says, and what is no such file is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import causal_dsl as cd
from causal_dsl import shapes
from causal_dsl.report.text import text
from causal_dsl.score.document_faults import fault_in
from causal_dsl.score.read_results import spec_result
from causal_dsl.score.seal import seal_of, sealed
from causal_dsl.tools.cli import main
from tests.engine.test_edge_circuits import spec as edges
from tests.report.shared_results import results

ROOT = Path(__file__).parents[2]
Captured = pytest.CaptureFixture[str]


def read_back(found: cd.Results) -> None:
    """What was written says the same when it is read."""
    written = json.loads(json.dumps(found.to_json()["specs"]))
    again = cd.Results(tuple(map(spec_result, written)))
    assert [fault_in(one) for one in written] == [""] * len(written)
    places = {name: 0 for name in ("line", "column", "end_line", "end_column")}
    for one, spec in zip(written, again.specs, strict=True):
        assert one.pop("seal") == seal_of(one)
        one["diagnostics"] = [{**told, **places} for told in one["diagnostics"]]
        own = json.loads(json.dumps(spec.to_json()))
        assert own.pop("seal")
        own["diagnostics"] = [{**told, **places} for told in own["diagnostics"]]
        assert own == one
    assert text(again) == text(found)


@pytest.mark.slow
def test_results_are_read_as_they_were_written() -> None:
    read_back(results())


@pytest.mark.slow
def test_results_with_exact_scores_are_read_as_they_were_written() -> None:
    """Those of the other shipped specs: ``tests/test_specs.py``."""
    read_back(cd.run(ROOT / "specs" / "equality_relu.causal"))


@pytest.mark.slow
def test_scores_of_circuits_are_read_as_they_were_written() -> None:
    scores = "faithfulness(gap), necessity(gap), completeness(gap), minimality(gap)"
    read_back(cd.run(cd.parse(edges("llama", "outside(c) <- source", scores))))


def test_every_field_of_a_result_is_read() -> None:
    """A new field of the JSON that the reader does not know would be missing from reports of kept results."""
    reader = (ROOT / "causal_dsl" / "score" / "read_results.py").read_text(encoding="utf-8")
    derived = {"seal", "schema", "status", "families", "agreements", "interrupted"}
    for shape in (
        shapes.SpecJson,
        shapes.TestJson,
        shapes.CellJson,
        shapes.CircuitJson,
        shapes.LearnedJson,
        shapes.DiscoveredJson,
    ):
        unread = {name for name in shape.__annotations__ if f'"{name}"' not in reader} - derived
        assert not unread, f"{shape.__name__}: {unread}"


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    document = results().specs[0].to_json()
    file = tmp_path / "results.json"
    file.write_text(json.dumps(document))
    return file, json.loads(file.read_text())


def one(value: float) -> dict[str, Any]:
    return {"value": value, "low": None, "high": None, "n": 9, "method": "none", "about": ""}


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
        (lambda d: d["tests"][0]["cells"][1]["scores"]["iia"].update(value=1.5), "scores.iia.value` is 1.5"),
        (lambda d: d["tests"][0]["cells"][1]["scores"]["iia"].update(low=0.9, high=0.2), "above `high`"),
        (lambda d: d["tests"][0]["cells"][1]["scores"]["iia"].update(value=1e308), "scores.iia.value` is 1e+308"),
        (lambda d: d["tests"][0]["cells"][1]["scores"].update(x=one(1e308)), "no measure is as large"),
        (lambda d: d["tests"][0]["cells"][1]["scores"].update({"log_prob(a)": one(0.5)}), "at most 0"),
        (lambda d: d["tests"][0]["cells"][1]["scores"].update(kl_unfiltered=one(-1.0)), "at least 0"),
        (lambda d: d["tests"][0]["ceilings"]["noop"].update(value=-0.5), "between 0 and 1"),
        (lambda d: d["tests"][0]["cells"].append(d["tests"][0]["cells"][0]), "a cell of `mapped` is in it twice"),
        (lambda d: d["tests"].append(d["tests"][0]), "is in it twice"),
        (lambda d: d["tests"][0]["cells"][0]["cell"].pop("l"), "has not the parameters"),
        (lambda d: d["identity"].update(networks=3), "`identity.networks` is 3"),
        (lambda d: d["tests"][0].update(n=-1), "at least 0"),
        (lambda d: d["tests"][0].update(name="\ud800"), "half of a character"),
    ],
)
@pytest.mark.thinned(always=8)
def test_damaged_results_are_refused_by_the_place(
    damage: Any, told: str, kept: tuple[Path, dict[str, Any]], capsys: Captured
) -> None:
    file, document = kept
    damage(document)
    said = refused(file, document, capsys)
    assert "E861" in said and told in said
    for words in (["diff", str(file), str(file)], ["history", str(file)]):  # one check for all that read results
        assert main(words) == 2
        assert "E861" in (again := capsys.readouterr().err) and told in again
    with pytest.raises(cd.SpecError, match="E861"):
        cd.read_results(file)


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d["tests"][0]["cells"][1]["scores"]["iia"].update(low=0.1, high=0.2, value=0.9),
        lambda d: d["tests"][0]["cells"][1]["scores"]["iia"].update(n=d["tests"][0]["n"] + 1),
        lambda d: d["tests"][0]["cells"][1].setdefault("verdict", {"text": "because"}).update(code="wonderful"),
        lambda d: d["tests"][0]["cells"].pop(),
        lambda d: d["tests"][0]["expectations"][0].update(passed=not d["tests"][0]["expectations"][0]["passed"]),
        lambda d: d["tests"][0].update(line=10**9),
        lambda d: d.update(digest="0" * 64),
        lambda d: d.update(text="test other {}"),
        lambda d: d.update(finished="yesterday"),
        lambda d: d.update(tests=[]),
    ],
)
@pytest.mark.thinned(always=3)
def test_a_change_that_leaves_each_field_possible_is_told(
    damage: Any, kept: tuple[Path, dict[str, Any]], capsys: Captured
) -> None:
    file, document = kept
    damage(document)
    for words in (["report", str(file)], ["diff", str(file), str(file)], ["history", str(file)]):
        file.write_text(json.dumps(document))
        assert main(words) == 2
        said = capsys.readouterr().err
        assert "E861" in said and "changed after the run" in said


def test_how_a_document_is_laid_out_is_no_change(kept: tuple[Path, dict[str, Any]], capsys: Captured) -> None:
    file, document = kept
    plain = json.dumps(document, sort_keys=True, indent=7)
    file.write_text(re.sub(r"(?<=[ -]\d)\.0(?=[,\s])", "", plain))  # as readers that know one kind of number write it
    assert main(["report", str(file)]) == 0
    assert capsys.readouterr().out == text(cd.Results(results().specs[:1]))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "it is empty"),
        (b'{"schema": 2, "path": "a", "schema": 2}', "the field `schema` stands twice"),
        (b'{"schema": 2, ', "it is cut off: it ends in line 1"),
        (b'{"schema": 2,\n "path": spec}', "in line 2, column 10, a value is missing, or is none that JSON has"),
        (b'{"schema": Infinity}', "the number Infinity"),
        (b'{"schema": 1e999}', "1e999, which is too large"),
        (b'{"schema": ' + b"9" * 5000 + b"}", "a whole number of 5000 digits"),
        (b'{"path": "\xff"}', "byte 11 is not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_file_that_is_no_json_is_told_in_words(
    data: bytes, told: str, kept: tuple[Path, Any], capsys: Captured
) -> None:
    kept[0].write_bytes(data)
    for words in (["report"], ["history"], ["diff", str(kept[0])]):
        assert main([*words, str(kept[0])]) == 2
        said = capsys.readouterr().err
        assert "E870" in said and told in said
        assert not any(word in said for word in ("codec", "Error", "Expecting", "Exceeds"))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_results_of_other_shells_are_read(encoding: str, kept: tuple[Path, Any], capsys: Captured) -> None:
    """`run --json > file` writes UTF-16 in some shells, and a byte order mark in others."""
    kept[0].write_bytes(json.dumps(kept[1]).encode(encoding))
    assert main(["report", str(kept[0])]) == 0
    assert capsys.readouterr().out == text(cd.Results(results().specs[:1]))


def test_results_are_read_from_python(kept: tuple[Path, Any], tmp_path: Path) -> None:
    found = cd.read_results(kept[0])
    assert found.text() == text(cd.Results(results().specs[:1]))
    own, read = results().specs[0].tests[0].cells[2], found["mapped"].cells[2]
    assert read.scores == own.scores and read.cell == own.cell
    copied = tmp_path / "copied.json"
    copied.write_bytes(kept[0].read_bytes())
    both = cd.read_results(kept[0], str(copied))
    assert len({spec.path for spec in both.specs}) == 2 and len(both) == 2 * len(found)
    with pytest.raises(cd.SpecError, match="E870"):
        cd.read_results(tmp_path / "nothing")


def test_a_field_that_a_later_version_adds_is_let_be(kept: tuple[Path, dict[str, Any]], capsys: Captured) -> None:
    file, document = kept

    def more(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: more(one) for name, one in value.items()} | ({"later": 1} if "text" in value else {})
        return [more(one) for one in value] if isinstance(value, list) else value

    file.write_text(json.dumps(sealed(more(document))))
    assert main(["report", str(file)]) == 0
    assert capsys.readouterr().out == text(cd.Results(results().specs[:1]))


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
