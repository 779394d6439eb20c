"""Gates on whole sites: of the places that a variable could have, the fit opens those that hold it."""

from __future__ import annotations

import pytest
import torch

import causal_dsl as cd
from causal_dsl.features.control_features import random_sites
from causal_dsl.features.elementwise import Mask

SPEC = """
domain Shape = 0..3
causal equality {
  a, b, c, d ~ Shape
  left  := a == b
  right := c == d
  output same := left == right
}
network mlp = zoo("equality-relu")
align halves : equality -> mlp {
  a @ input[0:4] via onehot()
  b @ input[4:8] via onehot()
  c @ input[8:12] via onehot()
  d @ input[12:16] via onehot()
  left @ layer[1].out[0:2], layer[1].out[2:4], layer[0].out[0:4] via mask(over=sites, n=256, epochs=10, rate=0.05)
  same @ logits
}
test found on halves {
  base, source ~ equality(n=256, seed=0)
  do(left <- source)
  expect iia >= 95%
}
"""


@pytest.mark.slow
def test_the_site_that_holds_it_opens() -> None:
    (test,) = cd.run(cd.parse(SPEC)).tests
    cell = test.cells[0]
    assert cell.learned is not None
    gates = {feature.place: feature.gates for feature in cell.learned.features}
    assert gates["layer[1].out[0:2]"][1] == 1 and gates["layer[1].out[2:4]"][1] == 0, gates
    (told,) = (finding.text for finding in cell.findings if finding.code == "fitted")
    assert "of 3 sites (layer[1].out[0:2]" in told and "layer[1].out[2:4]" not in told
    assert cell.scores["iia"].value == 1.0
    assert {feature.text for feature in cell.learned.features} == {"mask(over=sites)"}
    assert "random subspace" in cell.learned.controls


def test_a_random_choice_of_sites() -> None:
    """As many sites are open as the fit opened, and each of them as often as any other."""
    sites = [Mask(width, (1, width), 1.0, 0.1, 0.0, torch.float64, "sites") for width in (2, 3, 4, 5)]
    for number, one in enumerate(sites):
        with torch.no_grad():
            one.logits.fill_(1.0 if number < 2 else -1.0)
    opened = torch.zeros(4)
    for seed in range(200):
        found = random_sites(sites, seed)
        here = torch.tensor([float(one.effective_size() > 0) for one in found])
        assert here.sum() == 2
        base, source = torch.zeros(1, 3), torch.ones(1, 3)
        assert torch.equal(found[1].swap(base.double(), source.double()), (source if here[1] else base).double())
        opened += here
    assert ((opened - 100).abs() < 30).all(), opened
