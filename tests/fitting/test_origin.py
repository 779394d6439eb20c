"""A feature of a file, used where it was fitted and elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from causal_dsl import api
from causal_dsl.diagnostics import SpecError

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


def warned(folder: Path, layer: int, more: str, out: Path | None = None, net: str = NET) -> list[str]:
    (folder / "net.py").write_text(net)
    (folder / "spec.causal").write_text(SPEC.replace("LAYER", str(layer)).replace("MORE", more))
    options = api.Options(trust=True, out=out)
    said = api.run(api.load(folder / "spec.causal"), options).specs[0].warnings
    said = tuple(d for d in said if d.code != "W628")  # these pairs are of a design that no test of files is about
    assert all(d.help and "rotation(" in d.span.text and f"layer[{layer}].out" in d.notes[1] for d in said)
    return [d.code for d in said]


def test_a_feature_of_another_layer_is_refused_unless_it_is_said(tmp_path: Path) -> None:
    assert warned(tmp_path, 1, ", n=32, epochs=1", tmp_path / "kept") == []
    (file,) = (tmp_path / "kept").rglob("features/*.safetensors")
    shutil.copy(file, tmp_path / "same.safetensors")
    assert warned(tmp_path, 1, ', file="same.safetensors"') == []
    with pytest.raises(SpecError) as caught:
        warned(tmp_path, 0, ', file="same.safetensors"')
    (fault,) = (d for d in caught.value.diagnostics if d.code != "W628")
    assert fault.code == "E760" and "layer[1].out" in fault.notes[0] and "layer[0].out" in fault.notes[1]
    assert warned(tmp_path, 0, ', file="same.safetensors", elsewhere=true') == []


def test_a_feature_of_another_network_is_refused_unless_it_is_said(tmp_path: Path) -> None:
    assert warned(tmp_path, 1, ", n=32, epochs=1", tmp_path / "kept") == []
    (file,) = (tmp_path / "kept").rglob("features/*.safetensors")
    shutil.copy(file, tmp_path / "same.safetensors")
    with pytest.raises(SpecError) as caught:
        warned(tmp_path, 1, ', file="same.safetensors"', net=NET.replace("seed(0)", "seed(1)"))
    assert {d.code for d in caught.value.diagnostics} - {"W628"} == {"E729"}
    assert warned(tmp_path, 1, ', file="same.safetensors", elsewhere=true', net=NET.replace("seed(0)", "seed(1)")) == []
    with pytest.raises(SpecError) as caught:  # of another width it is no feature of these vectors
        narrow = NET.replace("seed(0)", "seed(1)").replace("6, 6", "6, 5").replace("6, 2", "5, 2")
        warned(tmp_path, 1, ', file="same.safetensors", elsewhere=true', net=narrow)
    assert "E729" in {d.code for d in caught.value.diagnostics}


def test_another_token_of_the_same_site_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file says `layer[0].resid_post[b]`."""
    errors = Path(__file__).parents[1] / "program" / "errors"
    monkeypatch.chdir(errors)
    text = (errors / "file_of_another_layer.causal").read_text(encoding="utf-8")
    for place, codes in {
        "layer[0].resid_post[a]": ["W669"],
        "layer[0].resid_post[b]": [],
        "layer[0].resid_post[b, 0:8]": ["E760"],
        "layer[0].mlp_out[b]": ["E760"],
    }.items():
        checked = api.check(api.parse(text.replace("layer[1].resid_post[b]", place)))
        assert [d.code for d in checked.diagnostics if d.code in ("W669", "E760")] == codes, place
