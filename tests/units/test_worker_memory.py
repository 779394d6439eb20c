"""A worker computes blocks for the process that scores them: it keeps no numbers of pairs beside their files."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

import causal_dsl as cd
from causal_dsl.engine import column_store, measured_cells
from causal_dsl.units import Worker

SPEC = Path(__file__).parents[2] / "specs" / "equality_relu.causal"


@pytest.mark.slow
def test_a_worker_puts_nothing_down_but_its_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its numbers of a million pairs would fill the folder for temporary files, or its memory, and nobody would read them."""
    monkeypatch.setattr(measured_cells, "HELD_COLUMNS", 0)  # else few pairs are held
    monkeypatch.setattr(column_store, "FILE_BYTES", 0)
    made: list[object] = []
    folder = tempfile.TemporaryDirectory
    monkeypatch.setattr(
        column_store.tempfile, "TemporaryDirectory", lambda **given: made.append(given) or folder(**given)
    )
    worker = Worker(cd.load(SPEC), cd.Options(out=tmp_path / "parts"))
    for unit in worker.units:
        worker.run(unit)
    worker.close()
    assert not made and not list((tmp_path / "parts").rglob("*.arrow"))
    whole = cd.run(SPEC, cd.Options(out=tmp_path / "parts"))
    assert made or list((tmp_path / "parts").rglob("*.arrow"))
    alone = cd.run(SPEC)
    for one, other in zip(whole.tests, alone.tests, strict=True):
        assert [cell.scores for cell in one.cells] == [cell.scores for cell in other.cells]
