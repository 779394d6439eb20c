"""Cells that a loaded network cannot run are left out with the fault of their own line; the others run as without them."""

from __future__ import annotations

from pathlib import Path

import pytest

import causal_dsl as cd

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
        "`l` is 9 in a cell of the alignment",
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
