"""cause, isolate, disentangle: against counts by hand, on a hand-built network whose attributes are apart or mixed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from causal_dsl import api
from causal_dsl.api import Options
from causal_dsl.causal.attributes import NONE, SWAPPED, asked

NETS = """
import torch
from torch import nn


class Apart(nn.Module):
    \"\"\"Entity 0..3 to two attributes (its bits) in two hidden numbers; the query picks which is said.\"\"\"

    def __init__(self, mix):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(6, 4, bias=False), nn.Identity(), nn.Linear(4, 2)])
        with torch.no_grad():
            w = torch.zeros(4, 6)
            w[0, 2:4] = 1  # high bit
            w[1, 1] = w[1, 3] = 1  # low bit
            w[2, 4] = w[3, 5] = 1  # the query
            if mix:
                turn = torch.eye(4)
                turn[:2, :2] = torch.tensor([[0.8, -0.6], [0.6, 0.8]])
                w = turn @ w
            self.layers[0].weight.copy_(w)
        self.mix = mix

    def forward(self, x):
        h = self.layers[1](self.layers[0](x))
        hidden = h
        if self.mix:
            a, b = 0.8 * h[:, 0] + 0.6 * h[:, 1], -0.6 * h[:, 0] + 0.8 * h[:, 1]
        else:
            a, b = h[:, 0], h[:, 1]
        said = torch.where(hidden[:, 2] > hidden[:, 3], a, b)
        return torch.stack([0.5 - said, said - 0.5], 1)


def apart():
    return Apart(False)


def mixed():
    return Apart(True)
"""

SPEC = """
causal facts {
  entity ~ 0..3
  query  ~ {0, 1}
  high := entity >= 2
  low  := entity == 1 or entity == 3
  output answer := if query == 0 then high else low
}
network net = torch("nets.py:FACTORY")
align a : facts -> net {
  entity @ input[0:4] via onehot()
  query  @ input[4:6] via onehot()
  high @ layer[0].out[0:1]
  low  @ layer[0].out[1:2]
  answer @ logits
}
test of_high on a {
  base, source ~ facts(exhaustive=true)
  do(high <- source)
  report cause
  report isolate
  report disentangle
}
"""


def scores(folder: Path, factory: str) -> dict[str, float]:
    (folder / "nets.py").write_text(NETS)
    (folder / "spec.causal").write_text(SPEC.replace("FACTORY", factory))
    found = api.run(api.load(folder / "spec.causal"), Options(trust=True))["of_high"].cell().scores
    return {name: found[name].value for name in ("cause", "isolate", "disentangle", "iia")}


def test_attributes_that_are_apart(tmp_path: Path) -> None:
    assert scores(tmp_path, "apart") == {"cause": 1.0, "isolate": 1.0, "disentangle": 1.0, "iia": 1.0}


def test_attributes_that_are_mixed_are_counted_by_hand(tmp_path: Path) -> None:
    hits: dict[int, list[bool]] = {0: [], 1: []}
    for entity in range(4):
        for query in range(2):
            for other in range(4):
                for _ in range(2):
                    bits = np.array([entity >= 2, entity in (1, 3)], float)
                    theirs = np.array([other >= 2, other in (1, 3)], float)
                    turn = np.array([[0.8, -0.6], [0.6, 0.8]])
                    h, s = turn @ bits, turn @ theirs
                    h[0] = s[0]
                    back = turn.T @ h
                    said = back[query] > 0.5
                    wanted = theirs[0] > 0.5 if query == 0 else bits[1] > 0.5
                    hits[query].append(said == wanted)
    found = scores(tmp_path, "mixed")
    assert found["cause"] == pytest.approx(np.mean(hits[0]))
    assert found["isolate"] == pytest.approx(np.mean(hits[1]))
    assert found["disentangle"] == pytest.approx((np.mean(hits[0]) + np.mean(hits[1])) / 2)
    assert found["cause"] < 1


def test_what_an_input_asks_about_is_what_can_change_its_answer() -> None:
    spec = api.parse(SPEC.replace("FACTORY", "apart"))
    model = api.check(spec, Options(trust=True)).program.models["facts"]
    settings = {"entity": np.arange(4).repeat(2), "query": np.tile(np.arange(2), 4)}
    base = model.evaluate(settings)
    found = asked(model, "answer", ["high"], {**settings, **base})
    assert found.tolist() == [SWAPPED, 0] * 4
    assert NONE not in asked(model, "answer", ["high", "low"], {**settings, **base})
