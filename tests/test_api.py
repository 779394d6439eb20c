"""What users' scripts rely on: the functions of the package, the JSON documents, the files of ``--out``, the exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import networkx as nx
import pandas
import pytest

import causal_dsl as cd
from causal_dsl.tools.cli import main
from tests.equality import relu

TEXT = relu(
    "left @ layer[1].out[i]",
    align="halves(i in [0, 2])",
    tests="""
test solves on halves(i=0) {
  base ~ equality(exhaustive=true)
  expect accuracy >= 99%
}

test moved_by on halves {
  base, source ~ equality(n=96, seed=3) where base.left != source.left
  do(left <- source)
  expect kl >= 0 nats
  report kl
}
""",
)
SCORES = {"accuracy", "iia", "iia_informative", "iia_star"}
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.causal").write_text(TEXT, encoding="utf-8")
    (tmp_path / "failing.causal").write_text(TEXT.replace("kl >= 0 nats", "kl < 0 nats"), encoding="utf-8")
    (tmp_path / "faulty.causal").write_text(TEXT.replace("a == b", "a == e"), encoding="utf-8")
    return tmp_path


@pytest.fixture(scope="module")
def results() -> cd.Results:
    return cd.run(cd.parse(TEXT))


def document(capsys: Captured) -> dict[str, Any]:
    """The one JSON document of stdout."""
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def timeless(value: Any) -> Any:
    """A document without its times, the name and text of its file, and the command."""
    others = ("seconds", "finished", "path", "digest", "line", "identity", "text", "seal")
    if isinstance(value, dict):
        return {key: timeless(inner) for key, inner in value.items() if key not in others}
    return [timeless(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.slow
def test_run_as_json(folder: Path, capsys: Captured, results: cd.Results) -> None:
    assert main(["run", "--json", "good.causal"]) == 0
    printed = document(capsys)
    assert timeless(printed) == timeless(results.to_json())
    (spec,) = printed["specs"]
    assert printed["schema"] == spec["schema"] == 2
    assert spec.keys() >= {"path", "digest", "identity", "versions", "networks", "tests", "cost"}
    assert spec["identity"]["command"] == ["causal-dsl", "run", "--json", "good.causal"]
    assert spec["path"] == "good.causal"
    assert spec["networks"].keys() == {"mlp"}
    solves, moved = spec["tests"]
    keys = {"name", "line", "n", "kept", "ceilings", "cells", "expectations", "seconds"}
    assert solves.keys() >= keys and moved.keys() >= keys
    assert [cell["cell"] for cell in solves["cells"]] == [{}]  # one cell: no sweep
    assert [cell["cell"] for cell in moved["cells"]] == [{"i": 0}, {"i": 2}]
    assert TEXT.splitlines()[moved["line"] - 1].startswith("test moved_by")
    assert moved["ceilings"].keys() == {"noop", "source", "output_only", "base_only", "source_only"}
    for ceiling in moved["ceilings"].values():
        assert ceiling.keys() >= {"value", "exact", "n"}
    for cell in moved["cells"]:
        assert cell["scores"].keys() >= SCORES | {"kl"}
        assert all(score.keys() >= {"value", "low", "high", "n"} for score in cell["scores"].values())
        assert all(finding.keys() >= {"code", "text"} for finding in cell["findings"])
    (expected,) = moved["expectations"]
    assert expected.keys() >= {"text", "line", "value", "passed"}
    assert (expected["text"], expected["passed"]) == ("kl >= 0 nats", True)
    assert TEXT.splitlines()[expected["line"] - 1] == "  expect kl >= 0 nats"


def test_check_as_json(folder: Path, capsys: Captured) -> None:
    assert main(["check", "--json", "good.causal", "faulty.causal"]) == 2
    good, faulty = document(capsys)["specs"]
    for spec in (good, faulty):
        assert spec.keys() >= {"path", "diagnostics", "tests"}
    assert good["diagnostics"] == []
    assert [test["name"] for test in good["tests"]] == ["solves", "moved_by"]
    assert all(test.keys() >= {"name", "line", "ceilings"} for test in good["tests"])
    assert good["tests"][1]["ceilings"].keys() == {"noop", "source", "output_only", "base_only", "source_only"}
    (found,) = faulty["diagnostics"]
    assert found.keys() >= {"code", "title", "path", "line", "column", "end_line", "end_column", "notes", "help"}
    line = TEXT.replace("a == b", "a == e").splitlines()[found["line"] - 1]
    assert line[found["column"] - 1 : found["end_column"] - 1] == "e"


def test_the_chance_of_the_design(results: cd.Results) -> None:
    """A swapped `left` turns the answer over; the source's answer is right where `right` is alike in both."""
    chance = cd.check(cd.parse(TEXT)).ceilings["moved_by"]
    assert chance["noop"].value == 0 and chance["noop"].exact
    assert chance["source"].value == pytest.approx(1 / 4 * 1 / 4 + 3 / 4 * 3 / 4)
    assert chance["output_only"].value == 1
    assert results["moved_by"].ceilings.items() <= chance.items()


def test_functions_of_the_package(folder: Path) -> None:
    loaded, parsed = cd.load("good.causal"), cd.parse(TEXT)
    assert loaded.tree == parsed.tree
    assert loaded.source() == TEXT == cd.parse(parsed.source()).source()
    checked = cd.check(loaded)
    assert checked.diagnostics == [] and "moved_by: noop 0.000" in checked.text()
    graph = cd.plan(loaded).graph
    assert isinstance(graph, nx.DiGraph) and nx.is_directed_acyclic_graph(graph) and len(graph) > 4
    only = cd.run(loaded, cd.Options(tests=("solves",)))
    assert [test.name for test in only] == ["solves"]


def test_faults_are_raised_with_their_diagnostics(folder: Path) -> None:
    with pytest.raises(cd.SpecError) as raised:
        cd.parse("causal m {\n  a ~ 0..3\n  b := a ==\n}\n")
    assert raised.value.diagnostics[0].code.startswith("E1")
    with pytest.raises(cd.SpecError):
        cd.load("nowhere.causal")
    faulty = cd.load("faulty.causal")
    (found,) = cd.check(faulty).diagnostics  # told, not raised
    assert isinstance(found, cd.Diagnostic) and "`e`" in found.title
    for act in (cd.plan, cd.run):
        with pytest.raises(cd.SpecError) as raised:
            act(faulty)
        assert [diagnostic.code for diagnostic in raised.value.diagnostics] == [found.code]
        assert "faulty.causal:5:" in str(raised.value)


def test_the_results_as_a_table(results: cd.Results) -> None:
    table = results.frame()
    assert {"spec", "test", "i", "score", "value", "low", "high", "n"} <= set(table.columns)
    iia = table[(table["test"] == "moved_by") & (table["score"] == "iia")].set_index("i")["value"]
    assert dict(iia) == {i: results["moved_by"].cell(i=i).scores["iia"].value for i in (0, 2)}
    cells = sum(len(cell.scores) for test in results for cell in test.cells)
    assert len(table) == cells


@pytest.mark.slow
def test_a_path_stands_for_the_spec_of_its_file(folder: Path, results: cd.Results) -> None:
    assert cd.check("good.causal").text() == cd.check(cd.load("good.causal")).text()
    assert len(cd.plan(folder / "good.causal").tests) == len(cd.plan(cd.load("good.causal")).tests)
    assert timeless(cd.run("good.causal").to_json()) == timeless(results.to_json())


def test_the_builder_gives_the_same_scores(results: cd.Results) -> None:
    shape = cd.domain("Shape", cd.between(0, 3))
    equality = cd.Causal("equality")
    a, b, c, d = equality.draw("a", "b", "c", "d", domain=shape)
    left = equality.let("left", a == b)
    right = equality.let("right", c == d)
    same = equality.output("same", left == right)
    mlp = cd.zoo("equality-relu", name="mlp")
    halves = cd.align("halves", equality, mlp, i=[0, 2])
    for place, variable in enumerate((a, b, c, d)):
        halves.place(variable, cd.input[4 * place : 4 * place + 4], via=cd.onehot())
    halves.place(left, cd.layer[1].out[cd.param("i")])
    halves.place(same, cd.logits)
    solves = cd.test("solves", halves(i=0))
    solves.draw("base", equality(exhaustive=True))
    solves.expect(cd.accuracy >= cd.percent(99))
    moved = cd.test("moved_by", halves)
    drawn = equality(n=96, seed=3)
    _, source = moved.draw("base", "source", drawn, where=lambda base, source: base.left != source.left)
    moved.do(cd.swap(left, source))
    moved.expect(cd.kl >= cd.nats(0))
    moved.report(cd.kl)
    built = cd.spec(solves, moved)
    assert built.tree == cd.parse(TEXT).tree
    assert timeless(cd.run(built).to_json()) == timeless(results.to_json())


@pytest.mark.slow
def test_what_out_keeps(folder: Path, capsys: Captured) -> None:
    assert main(["run", "--json", "--out", "kept", "good.causal"]) == 0
    printed = document(capsys)["specs"][0]
    kept = folder / "kept" / "good"
    assert {path.name for path in kept.iterdir()} == {
        "results.json",
        "pairs.parquet",
        "spec.causal",
        "blocks",
        "source",
        "causal-dsl.json",
        ".lock",
    }
    assert (kept / "spec.causal").read_text(encoding="utf-8") == TEXT
    stored = json.loads((kept / "results.json").read_text(encoding="utf-8"))
    assert stored.pop("interrupted") is False
    assert stored.pop("seal") != printed.pop("seal")  # of all that is in each
    assert stored == printed
    pairs = pandas.read_parquet(kept / "pairs.parquet")
    assert dict(pairs["test"].value_counts()) == {"solves": 4**4, "moved_by": 96 * 2}
    swapped = pairs[pairs["test"] == "moved_by"]
    for cell in printed["tests"][1]["cells"]:
        rows = swapped[swapped["i"] == cell["cell"]["i"]]
        assert sorted(rows["pair"]) == list(range(96))
        right = rows["network_answer"].astype(str) == rows["label"].astype(str)
        assert right.mean() == pytest.approx(cell["scores"]["iia"]["value"])
        assert rows["iia"].mean() == pytest.approx(cell["scores"]["iia"]["value"])
        assert rows["kl"].mean() == pytest.approx(cell["scores"]["kl"]["value"])
        # The label worked out from the texts of the inputs.
        for base, source, label in rows[["base", "source", "label"]].astype(str).itertuples(index=False):
            b, s = eval(base, {}), eval(source, {})  # the writer's own dict of numbers
            assert str((s["a"] == s["b"]) == (b["c"] == b["d"])).lower() == label


@pytest.mark.parametrize(("name", "code"), [("good", 0), ("failing", 1), ("faulty", 2), ("nowhere", 2)])
@pytest.mark.parametrize("words", [["run"], ["run", "--json"]], ids=" ".join)
@pytest.mark.thinned(always=2)
def test_exit_codes(folder: Path, capsys: Captured, words: list[str], name: str, code: int) -> None:
    assert main([*words, f"{name}.causal"]) == code
    told = capsys.readouterr()
    assert "Traceback" not in told.out + told.err
    if "--json" in words:
        assert "specs" in json.loads(told.out)
    elif code == 1:
        assert "F701" in told.out + told.err


@pytest.mark.slow
def test_a_seed_draws_other_pairs_and_the_same_ones_again(folder: Path, capsys: Captured) -> None:
    def values(*words: str) -> Any:
        main(["run", "--json", "--test", "moved_by", *words, "good.causal"])
        return timeless(document(capsys)["specs"][0]["tests"])

    first = values("--seed", "5")
    assert values("--seed", "5") == first
    assert values() != first


@pytest.mark.parametrize("kind", [str, Path])
def test_the_folder_of_results_may_be_a_text_or_a_path(folder: Path, kind: type) -> None:
    cd.run(cd.parse(TEXT), cd.Options(tests=("solves",), out=kind(folder / "kept")))
    assert list((folder / "kept").rglob("results.json"))
