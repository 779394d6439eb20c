"""A sweep whose cells all do the same is shown once; its results keep every cell."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import causal_dsl as cd
from causal_dsl.report.figures.pictures import pictures
from causal_dsl.report.html import fragment
from causal_dsl.report.text import text
from causal_dsl.score.spec_results import Results, SpecResult
from tests.honest.test_known_truths import HERE, MODEL, PAIRS


def ran(folder: Path, do: str) -> cd.TestResult:
    shutil.copy(HERE / "networks.py", folder / "networks.py")
    written = MODEL.replace("NETWORK", "three").replace("align at :", "align at(k in 0:3) :").replace("DRAW", PAIRS)
    written = written.replace("PLACES", "p @ layer[0].out[0]\n  q @ layer[0].out[k]").replace("DO", do)
    (folder / "claim.causal").write_text(written)
    return cd.run(cd.load(folder / "claim.causal"), cd.Options(trust=True))["claim"]


@pytest.mark.slow
def test_what_no_parameter_changes_is_shown_once(tmp_path: Path) -> None:
    found = ran(tmp_path, "do(p <- source)")
    assert found.alike and [one.cell for one in found.cells] == [{"k": 0}, {"k": 1}, {"k": 2}]
    assert len({one.scores["iia"] for one in found.cells}) == 1
    shown = text(Results((SpecResult("s", "", (found,)),)))
    assert "the same in all 3 cells: `k` changes nothing" in shown


@pytest.mark.slow
def test_what_a_parameter_changes_is_not(tmp_path: Path) -> None:
    assert not ran(tmp_path, "do(q <- source)").alike


@pytest.mark.slow
def test_pages_and_figures_and_kept_results_show_it_once_too(tmp_path: Path) -> None:
    found = ran(tmp_path, "do(p <- source)")
    page = fragment(found)
    assert page.count("the same in all 3 cells") == 1 and "all scores of all cells" not in page
    (picture,) = pictures(found)
    assert picture.name.endswith("-scores")
    written = tmp_path / "results.json"
    whole = cd.run(cd.load(tmp_path / "claim.causal"), cd.Options(trust=True))
    written.write_text(json.dumps(whole.to_json()))
    again = cd.read_results(written)
    assert again["claim"].alike and "the same in all 3 cells" in again.text()
    assert "the same in all 3 cells" not in fragment(ran(tmp_path, "do(q <- source)"))


@pytest.mark.slow
def test_controls_run_once_for_cells_that_are_the_same(tmp_path: Path) -> None:
    """A parameter that nothing hangs on makes the same cells again; each has the controls that it would have alone."""
    few = ran(tmp_path, "do(p <- source)")
    planned = len(cd.plan(tmp_path / "claim.causal", cd.Options(trust=True, load=True)).tests)
    text = (tmp_path / "claim.causal").read_text().replace("align at(k in 0:3)", "align at(k in 0:3, m in 0:4)")
    (tmp_path / "claim.causal").write_text(text)
    many = cd.run(cd.load(tmp_path / "claim.causal"), cd.Options(trust=True))["claim"]
    assert len(cd.plan(tmp_path / "claim.causal", cd.Options(trust=True, load=True)).tests) == planned
    assert len(many.cells) == 12
    for cell in many.cells:
        own = few.cell(k=cell.cell["k"])
        assert cell.unclaimed and cell.unclaimed[0].site == own.unclaimed[0].site
        assert [one.varied for one in cell.unclaimed] == [one.varied for one in own.unclaimed]
        first = many.cell(k=cell.cell["k"], m=0)
        assert cell.unclaimed == first.unclaimed and cell.findings == first.findings and cell.verdict == first.verdict
