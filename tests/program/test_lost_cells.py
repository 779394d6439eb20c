"""Cells that a loaded network cannot run are left out with the fault of their own line; the others run as without them."""

from __future__ import annotations

from pathlib import Path

import pytest

import causal_dsl as cd
from causal_dsl import api
from causal_dsl.tools.cli import main

NETS = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
"""
SPEC = """
domain Shape = 0..3
causal equality {
  a, b, c, d ~ Shape
  left  := a == b
  output same := left == (c == d)
}
network mlp = torch("nets.py:build")
align halves(l in LAYERS) : equality -> mlp {
  a..d @ input via onehot()
  left  @ SITE
  same  @ logits
}
test moves on halves {
  base, source ~ equality(n=16, seed=0)
  do(left <- source)
  report iia
}
test alone on halves(l=0) {
  base, source ~ equality(n=16, seed=0)
  do(left <- source)
  report iia
}
"""


def told(results: cd.Results, name: str) -> list[object]:
    return [(cell.cell, cell.scores, cell.findings) for cell in results[name].cells]


@pytest.mark.parametrize(("site", "code"), [('module("{l}")', "E422"), ("layer[l].out", "E454")])
@pytest.mark.thinned(always=1)
def test_the_good_cells_of_a_sweep_are_run(
    site: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    text = SPEC.replace("SITE", site)
    options = cd.Options(trust=True)
    good = cd.run(cd.parse(text.replace("LAYERS", "[0, 2]")), options)
    spec = cd.parse(text.replace("LAYERS", "[0, 9, 2, 7]"))
    results = cd.run(spec, cd.Options(trust=True, out=tmp_path / "out"))
    moves, alone = results.tests
    assert (moves.status, moves.fault, moves.cell_count) == ("interrupted", code, 4)
    assert told(results, "moves") == told(good, "moves") and len(moves.cells) == 2
    assert moves.verdict is not None and "2 measured cells" in moves.verdict.text
    assert alone.passed and told(results, "alone") == told(good, "alone")
    (fault,) = results.faults
    assert fault.code == code and fault.notes == (
        "`l` is 9 in a cell of the sweep",
        "so it is in other cells: `l` is 7",
    )
    assert fault.span.source.line(fault.span.line).strip() == f"left  @ {site}"
    kept = cd.read_results(tmp_path / "out")
    assert [test.to_json() for test in kept.tests] == [test.to_json() for test in results.tests]
    with pytest.raises(cd.SpecError) as caught:  # where no cell is left
        cd.run(cd.parse(text.replace("LAYERS", "[9, 10]").partition("test alone")[0]), options)
    assert [(one.code, one.notes[-1]) for one in caught.value.diagnostics] == [
        (code, "so it is in other cells: `l` is 10")
    ]


FAULTY = {
    "E696": """
test faulty on halves(l=layers) {
  base, source ~ equality(n=16, seed=0)
  do(left <- source)
  report iia
}
""",
    "E846": """
test faulty on halves(l=0) {
  base ~ equality(n=16, seed=0) where base.a == 1 and base.b == 1
  report probe_accuracy(left) @ layer[0].out
}
""",
}


@pytest.mark.parametrize("code", FAULTY)
@pytest.mark.thinned(always=1)
def test_a_fault_that_shows_once_a_network_is_loaded_stops_its_own_test_alone(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other tests give what they give without it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    good = SPEC.replace("SITE", "layer[l].out").replace("LAYERS", "0:layers")
    (tmp_path / "good.causal").write_text(good)
    (tmp_path / "bad.causal").write_text(good + FAULTY[code])
    assert main(["run", "good.causal", "--trust", "--out", "good"]) == 0
    assert main(["run", "bad.causal", "--trust", "--out", "bad"]) == 2
    assert f"error[{code}]" in capsys.readouterr().err
    without, results = cd.read_results(tmp_path / "good"), cd.read_results(tmp_path / "bad")
    for name in ("moves", "alone"):
        assert results[name].status == "finished" and told(results, name) == told(without, name)
    assert (results["faulty"].status, results["faulty"].fault) == ("interrupted", code)


def test_layers_are_counted_once_the_network_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number of `layers` is one of those that a range without that word has, or it is told of which number it is."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    text = SPEC.replace("SITE", "layer[l].out").replace("LAYERS", "0:2").replace("l=0", "l=layers - 4")
    alone = cd.run(cd.parse(text), cd.Options(trust=True))["alone"]
    written = cd.run(cd.parse(text.replace("layers - 4", "1")), cd.Options(trust=True))["alone"]
    assert [cell.scores for cell in alone.cells] == [cell.scores for cell in written.cells]
    with pytest.raises(cd.SpecError) as caught:
        cd.run(
            cd.parse(text.replace("layers - 4", "layers").replace("test moves", "test no_moves")),
            cd.Options(trust=True, tests=("alone",)),
        )
    (fault,) = caught.value.diagnostics
    assert fault.code == "E696" and fault.notes == ("layers is 5 in `mlp`",) and fault.help == "it is one of 0, 1"


def test_tests_of_another_run_are_told_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run of all tests, then of one: no option is named that the first run did not have."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "both.causal").write_text(SPEC.replace("SITE", "layer[l].out").replace("LAYERS", "0:2"))
    assert main(["run", "both.causal", "--trust", "--out", "out"]) == 0
    capsys.readouterr()
    assert main(["run", "both.causal", "--trust", "--out", "out", "--test", "alone"]) == 0
    told = capsys.readouterr().err
    assert "W658" in told and "other tests were run: moves, alone; now alone" in told and "--test" not in told


@pytest.mark.parametrize(
    ("text", "words"), [("{k}", "`k` is not a parameter here"), ("{l + 1}", "nothing is computed")]
)
def test_braces_that_stay_in_a_path_are_told_of(
    text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    spec = SPEC.replace("SITE", f'module("{text}")').replace("LAYERS", "0:2").partition("test alone")[0]
    with pytest.raises(cd.SpecError) as caught:
        cd.run(cd.parse(spec), cd.Options(trust=True))
    assert {one.code for one in caught.value.diagnostics} == {"E422"}
    assert words in caught.value.diagnostics[0].notes[0]


def test_a_number_below_all_values_is_refused_before_the_network_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    text = SPEC.replace("SITE", "layer[l].out").replace("LAYERS", "1:layers")
    (fault,) = api.check(cd.parse(text), cd.Options(trust=True)).errors
    assert (fault.code, fault.help) == ("E696", "it is a whole number, 1 or more")
    assert fault.span.line == text[: text.index("halves(l=0)")].count("\n") + 1
