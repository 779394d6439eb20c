"""Every file that a run opens is on the list of what it reads: as the system sees it, not as the code says it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

import causal_dsl as cd
from causal_dsl.diagnostics import SpecError
from causal_dsl.store import reads
from tests.store.small import ROTATION, language, swap, vector
from tests.store.watch import opened_under

linux = pytest.mark.skipif(sys.platform != "linux", reason="the system tells of files that are opened on Linux alone")


def read_by(spec: Path, folder: Path) -> tuple[set[Path], set[Path]]:
    """The files under a folder that a run opened, and those that its results name."""
    loaded = cd.load(spec)
    with opened_under(folder) as opened:
        results = cd.run(loaded, cd.Options(trust=True))
    named = {Path(os.path.abspath(folder / name)) for name in results.specs[0].identity["files"]} | {spec}
    return {path for path in opened if "__pycache__" not in path.parts}, named


@pytest.mark.slow
@linux
def test_every_kind_of_file_of_a_language_spec_is_on_the_list(tmp_path: Path) -> None:
    spec = language(tmp_path / "p")
    opened, named = read_by(spec, spec.parent)
    assert len(opened) >= 12 and any(path.suffix == ".safetensors" for path in opened), "the watch sees libraries"
    assert opened - named == set()
    assert named - opened <= {spec}, "nothing is named that was not read"


@pytest.mark.thinned(always=1, values=True, slow=2)
@linux
@pytest.mark.parametrize("kind", ["factory", "trained", "language model of code"])
def test_every_kind_of_file_of_a_network_made_by_code_is_on_the_list(tmp_path: Path, kind: str) -> None:
    spec = vector(tmp_path / "p", ROTATION if kind == "factory" else "")
    if kind == "trained":
        swap(spec, "align at(i in 0:2) : parity -> net {", "align at : parity -> blank {")
        swap(spec, "network net =", "network blank =")
        swap(spec, "layer[i]", "layer[1]")
        swap(
            spec,
            "\ntest swap on at",
            "\nnetwork net = train(at, steps=2, batch=4)\n\nalign again : at -> net {\n}\n\ntest swap on again",
        )
    if kind == "language model of code":
        spec = language(tmp_path / "p")
        swap(spec, 'hf("model")', 'torch("make.py:build")')
        (spec.parent / "make.py").write_text(
            "from pathlib import Path\nfrom transformers import AutoModelForCausalLM\n"
            "HERE = Path(__file__).parent\n"
            "def build():\n    return AutoModelForCausalLM.from_pretrained(HERE / 'model'), HERE / 'model' / 'tokenizer.json'\n"
        )
    opened, named = read_by(spec, spec.parent)
    left = opened - named
    if kind == "language model of code":  # a library of compiled code opens the weights: they are hashed in memory
        left -= {spec.parent / "model" / "model.safetensors"}
    assert len(opened) >= 4 and left == set()


@pytest.mark.slow
@linux
def test_a_feature_from_a_file_is_on_the_list(tmp_path: Path) -> None:
    spec = vector(tmp_path / "p", ROTATION)
    cd.run(cd.load(spec), cd.Options(trust=True, out=tmp_path / "out"))
    kept = sorted((tmp_path / "out" / "v" / "features").iterdir())[0]
    assert "fitted_on" in load_file(kept)
    (tmp_path / "p" / "left.safetensors").write_bytes(kept.read_bytes())
    swap(spec, "at(i in 0:2)", "at(i in 0:1)")
    swap(spec, ROTATION, 'via rotation(dim=2, file="left.safetensors", elsewhere=true, controls=none)')
    swap(spec, "n=16, seed=0", "n=16, seed=0, split=test")
    opened, named = read_by(spec, spec.parent)
    assert opened - named == set() and spec.parent / "left.safetensors" in named


def test_a_file_that_changes_while_it_is_read_ends_the_run(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one")
    with reads.recording() as found:
        assert reads.read_text(path) == "one"
        path.write_text("two")
        with pytest.raises(SpecError) as caught:
            reads.read_text(path)
    assert caught.value.diagnostics[0].code == "E757"
    with reads.recording() as found:
        reads.note(path)
        path.write_text("three")
        with pytest.raises(SpecError) as caught:
            found.digests()
    assert caught.value.diagnostics[0].code == "E757"


def test_who_records_around_another_hears_of_it_too(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("2")
    with reads.recording() as outer:
        reads.note(tmp_path / "a")
        with reads.recording() as inner:
            reads.note(tmp_path / "b")
            reads.note(tmp_path / "none")
    reads.note(tmp_path / "a")
    assert outer.paths == (tmp_path / "a", tmp_path / "b") and inner.paths == (tmp_path / "b",)
