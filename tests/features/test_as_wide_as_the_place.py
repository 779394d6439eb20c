"""Features with as many dimensions as the place has numbers: what is written through them is the place, whatever holds nothing there."""

from __future__ import annotations

from pathlib import Path

import pytest

import causal_dsl as cd
from causal_dsl.api import Options
from causal_dsl.vocabulary.features import FEATURES
from tests.equality import MODEL, relu

NETWORK = """
import torch
from torch import nn


class Layer(nn.Module):
    def forward(self, x):
        left = (x[:, 0] == x[:, 1]).to(x.dtype)
        return torch.stack([2 * left - 1, torch.sin(x[:, 0] + 2 * x[:, 2]), 2 * (x[:, 2] == x[:, 3]).to(x.dtype) - 1], 1)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.in_features = 4
        self.layers = nn.ModuleList([Layer()])
        self.head = nn.Parameter(torch.ones(1))

    def forward(self, x):
        h = self.layers[0](x.to(self.head.dtype))
        same = torch.sign(h[:, 0]) * torch.sign(h[:, 2]) * self.head
        return torch.stack([-same, same], 1)
"""
SPEC = """
network net = torch("net.py:Net")
align halves : equality -> net {
INPUTS
  left @ layer[0].out[0:2] via FEATURE
  right @ layer[0].out[2]
  same @ logits
}
test swap on halves {
  base, source ~ equality(n=128, seed=0)
  do(left <- source)
  report iia
}
"""
#: How each family of records whose size is a setting is written with two dimensions; what is compared with them is another test's.
WIDE = {
    name: f"{name}({family.dim}=2{'' if name == 'pca' else ', n=64, epochs=1, controls=none'})"
    for name, family in ((name, FEATURES[name]) for name in FEATURES)
    if family.dim
}


@pytest.mark.parametrize(
    "feature", [WIDE["pca"], *(pytest.param(WIDE[n], marks=pytest.mark.slow) for n in WIDE if n != "pca")]
)
def test_a_place_of_which_a_part_holds_nothing(feature: str, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NETWORK)
    inputs = "\n".join(f"  {name} @ input[{at}:{at + 1}] via scalar()" for at, name in enumerate("abcd"))
    text = MODEL + SPEC.replace("FEATURE", feature).replace("INPUTS", inputs)
    (tmp_path / "s.causal").write_text(text)
    (test,) = cd.run(tmp_path / "s.causal", Options(trust=True)).tests
    assert test.cell().scores["iia"].value == 1
    assert any(part.idle for part in test.cell().parts), "one of the two numbers decides nothing"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_it_is_compared_with_nothing_that_writes_the_same(seed: int) -> None:
    """Whatever it was fitted to, it writes the place: the fit on shuffled labels, too, has every interchange right."""
    through = f"rotation(dim=2, n=256, epochs=2, seed={seed})"
    tests = SPEC[SPEC.index("test swap") :]
    found = cd.run(cd.parse(relu(f"left @ layer[1].out[0:2] via {through}", tests=tests))).tests[0].cell()
    assert found.verdict is not None and found.verdict.code == "supported", found.verdict
    assert found.learned is not None and set(found.learned.controls) == {
        "whole vector",
        "natural axes",
        "untrained network",
    }
    assert not [one for one in found.findings if one.severity == "alarm"]
