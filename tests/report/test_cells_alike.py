"""A sweep whose cells all do the same is shown once; its results keep every cell."""

from __future__ import annotations

import shutil
from pathlib import Path

import causal_dsl as cd
from causal_dsl.report.text import text
from causal_dsl.score.results import Results, SpecResult
from tests.honest.test_known_truths import HERE, MODEL, PAIRS


def ran(folder: Path, do: str) -> cd.TestResult:
    shutil.copy(HERE / "networks.py", folder / "networks.py")
    written = MODEL.replace("NETWORK", "three").replace("align at :", "align at(k in 0:3) :").replace("DRAW", PAIRS)
    written = written.replace("PLACES", "p @ layer[0].out[0]\n  q @ layer[0].out[k]").replace("DO", do)
    (folder / "claim.causal").write_text(written)
    return cd.run(cd.load(folder / "claim.causal"), cd.Options(trust=True))["claim"]


def test_what_no_parameter_changes_is_shown_once(tmp_path: Path) -> None:
    found = ran(tmp_path, "do(p <- source)")
    assert found.alike and [one.cell for one in found.cells] == [{"k": 0}, {"k": 1}, {"k": 2}]
    assert len({one.scores["iia"] for one in found.cells}) == 1
    shown = text(Results((SpecResult("s", "", (found,)),)))
    assert "the same in all 3 cells: `k` changes nothing" in shown


def test_what_a_parameter_changes_is_not(tmp_path: Path) -> None:
    assert not ran(tmp_path, "do(q <- source)").alike
