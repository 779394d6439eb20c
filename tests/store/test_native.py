"""Files that libraries open beyond Python's sight."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from causal_dsl.store.code import Opened, hearing
from causal_dsl.store.native import READERS
from tests.store.small import Ran
from tests.store.test_later import NET, SPEC

ROWS = [(module, name) for module, names in READERS.items() for name in names]


@pytest.mark.parametrize(("module", "name"), ROWS, ids=lambda word: word)
def test_every_reader_tells_the_path_that_it_is_given(module: str, name: str, tmp_path: Path) -> None:
    library = importlib.import_module(module)
    own: Callable[..., Any] = getattr(library, name)
    path, opened = str(tmp_path / "absent"), Opened()
    with hearing(opened):
        reader = getattr(library, name)
        assert reader is not own
        with suppress(Exception):
            reader(torch.nn.Linear(1, 1), path) if name == "load_model" else reader(path)
    assert path in opened
    assert getattr(library, name) is own, "the library is as it was"


@pytest.mark.slow
def test_a_kept_run_belongs_to_tensors_that_forward_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = (
        "from safetensors import safe_open\n"
        "            with safe_open(HERE / 'late.safetensors', framework='pt') as f:\n"
        "                scale = torch.where((x[:, :1] == 1) & (x[:, 4:5] == 1), f.get_tensor('scale'), 1.0)"
    )
    (tmp_path / "net.py").write_text(NET.replace("READ", read).replace("WHEN", "True"))
    save_file({"scale": torch.tensor(1.0)}, tmp_path / "late.safetensors")
    spec, out = tmp_path / "s.causal", tmp_path / "out"
    spec.write_text(SPEC)
    assert Ran(spec, monkeypatch, out=out).steps["sweep"] > 0
    assert Ran(spec, monkeypatch, out=out).steps["sweep"] == 0
    save_file({"scale": torch.tensor(3.0)}, tmp_path / "late.safetensors")
    new = Ran(spec, monkeypatch, out=out)
    assert new.steps["sweep"] > 0 and any("late.safetensors" in note for note in new.notes)
