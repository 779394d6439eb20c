"""A feature of a file, used where it was fitted and elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path

from causal_dsl import api

NET = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(12, 6), nn.Linear(6, 6), nn.Linear(6, 2))
    return net
"""
SPEC = """
causal parity {
  a, b, c ~ 0..3
  same := a == b
  output y := same
}
network net = torch("net.py:make")
align at : parity -> net {
  a @ input[0:4] via onehot()
  b @ input[4:8] via onehot()
  c @ input[8:12] via onehot()
  same @ layer[LAYER].out via rotation(dim=2, controls=noneMORE)
  y @ logits
}
test swap on at {
  base, source ~ parity(n=16, seed=1, split=test)
  do(same <- source)
  report iia
}
"""


def warned(folder: Path, layer: int, more: str, out: Path | None = None) -> list[str]:
    (folder / "net.py").write_text(NET)
    (folder / "spec.causal").write_text(SPEC.replace("LAYER", str(layer)).replace("MORE", more))
    options = api.Options(trust=True, out=out)
    said = api.run(api.load(folder / "spec.causal"), options).specs[0].warnings
    said = tuple(d for d in said if d.code != "W628")  # these pairs are of a design that no test of files is about
    assert all(d.help and "rotation(" in d.span.text and f"layer[{layer}].out" in d.notes[1] for d in said)
    return [d.code for d in said]


def test_a_feature_of_another_layer_is_warned_of(tmp_path: Path) -> None:
    assert warned(tmp_path, 1, ", n=32, epochs=1", tmp_path / "kept") == []
    (file,) = (tmp_path / "kept").rglob("features/*.safetensors")
    shutil.copy(file, tmp_path / "same.safetensors")
    assert warned(tmp_path, 1, ', file="same.safetensors"') == []
    assert warned(tmp_path, 0, ', file="same.safetensors"') == ["W669"]
