"""A file that is whole and of another run is not taken for that of this one, whatever its name is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import causal_dsl as cd
from tests.equality import relu

SPEC = relu(
    "PLACE",
    tests="""
test exchanged on halves {
  base, source ~ equality(n=128, seed=0)
  do(VARIABLE <- source)
  report iia
}
""",
)
FITTED = "@ layer[1].out via rotation(dim=2, n=128, epochs=2, rate=0.03, controls=none)"


def iia(text: str, folder: Path, out: Path | None = None) -> tuple[float, list[str]]:
    path = folder / "s.causal"
    path.write_text(text, encoding="utf-8")
    results = cd.run(cd.load(path), cd.Options(out=out))
    (spec,) = results.specs
    return spec.tests[0].cells[0].scores["iia"].value, [one.code for one in spec.warnings]


@pytest.mark.slow
def test_blocks_of_another_run(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    right = SPEC.replace("PLACE", "left @ layer[1].out[0:2]").replace("VARIABLE", "left")
    wrong = SPEC.replace("PLACE", "left @ layer[1].out[2:4]").replace("VARIABLE", "left")
    value, _ = iia(right, tmp_path, here)
    other, _ = iia(wrong, tmp_path, there)
    assert value == 1 and other < 1
    for block in (there / "s" / "blocks").glob("*.npz"):
        assert (here / "s" / "blocks" / block.name).exists()
        shutil.copy(block, here / "s" / "blocks" / block.name)
    again, told = iia(right, tmp_path, here)
    assert again == value and "W659" in told
    assert "W659" not in iia(right, tmp_path, here)[1]


def test_the_fit_of_another_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAUSAL_DSL_CACHE", str(tmp_path / "cache"))
    texts = [SPEC.replace("PLACE", f"{name} {FITTED}").replace("VARIABLE", name) for name in ("left", "right")]
    kept: list[Path] = []
    values = []
    for text in texts:
        values.append(iia(text, tmp_path)[0])
        kept += sorted(set((tmp_path / "cache" / "features").glob("*.safetensors")) - set(kept))
    left, right = kept
    shutil.copy(right, left)
    again, told = iia(texts[0], tmp_path)
    assert again == values[0] and "W659" in told
