"""The table of pairs on disk: what is missing is null, in every column and whatever the other cells hold."""

from __future__ import annotations

from pathlib import Path

import pandas
import pytest

import causal_dsl as cd
from causal_dsl.api import Options
from causal_dsl.running.running import run_specs

NETS = """
import torch
from torch import nn

class Stage(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function
    def forward(self, x):
        return self.function(x)

class Net(nn.Module):
    def __init__(self, last):
        super().__init__()
        self.in_features = 1
        self.weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.layers = nn.ModuleList([Stage(lambda x: torch.cat([x, x], 1)), Stage(lambda x: 1 * x)])
        self.head = Stage(last)
    def forward(self, x):
        x = x.double() + self.weight
        for layer in self.layers:
            x = layer(x)
        return self.head(x)

def code(h, wrong):
    logits = -(h[:, 1:2] - torch.arange(3.0)) ** 2
    return torch.where((h[:, 0] != h[:, 1])[:, None], wrong, logits)

def broken():      # no number where a patched run's units disagree
    return Net(lambda h: code(h, torch.nan))

def tied():
    return Net(lambda h: code(h, torch.tensor(0.0)))

def always_broken():
    return Net(lambda h: code(h, torch.nan) + torch.nan)
"""
SPEC = """
causal m { x ~ 0..2
  y := x
  output z := y }
network net = torch("nets.py:NET")
align at(l in 0:2) : m -> net { x @ input[0:1] via scalar()
  y @ layer[l].out[0]
  z @ logits }
test t on at { base, source ~ m(n=32, seed=0) do(y <- source) report iia report logit(z) report change(log_prob(z)) }
test alone on at(0) { base ~ m(n=32, seed=0) report accuracy }
"""


@pytest.mark.parametrize("net", ["broken", "tied", "always_broken"])
@pytest.mark.thinned(always=1)
def test_an_answer_that_is_missing_is_null(net: str, tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(NETS, encoding="utf-8")
    (tmp_path / "s.causal").write_text(SPEC.replace("NET", net), encoding="utf-8")
    found = run_specs([cd.load(tmp_path / "s.causal")], Options(trust=True, out=tmp_path / "out"))
    (path,) = (tmp_path / "out").glob("*/pairs.parquet")
    pairs = pandas.read_parquet(path)
    assert len(pairs) == 32 * 2 + 32
    for name in pairs.columns:
        assert not pairs[name].astype("string").str.lower().isin(["nan", "none", "<na>", "null"]).fillna(False).any(), (
            name
        )
    swap = pairs[pairs["test"] == "t"]
    moved = swap["label"] != swap["base_answer"]
    missing = moved if net != "always_broken" else pandas.Series(True, index=swap.index)
    assert (swap["network_answer"].isna() == missing).all()
    assert swap["network_base_answer"].isna().all() == (net == "always_broken")
    assert len(found.tests) == 2


def test_the_weights_of_pairs_make_the_scores(tmp_path: Path) -> None:
    """Where the draws include every row, unlike often, scores count each once: the table has what each counts."""
    spec = """
causal m { x ~ 0..3
  output z := x > 1 }
network net = torch("nets.py:net")
align at : m -> net { x @ input[0:4] via onehot()
  z @ logits }
"""
    spec += (
        "test t on at { base, source ~ m(n=300, seed=3) do(layer[0].out[1:3] <- source) report kl report moved }\n"
        "test all on at { base, source ~ m(exhaustive=true) do(layer[0].out[1:3] <- source) report kl }\n"
    )
    nets = (
        "import torch\nfrom torch import nn\n\ndef net():\n    torch.manual_seed(0)\n"
        "    made = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))\n    made.layers = [made[0]]\n    return made\n"
    )
    (tmp_path / "nets.py").write_text(nets, encoding="utf-8")
    (tmp_path / "s.causal").write_text(spec, encoding="utf-8")
    found = run_specs([cd.load(tmp_path / "s.causal")], Options(trust=True, out=tmp_path / "out"))
    (path,) = (tmp_path / "out").glob("*/pairs.parquet")
    pairs = pandas.read_parquet(path)
    drawn, every = pairs[pairs["test"] == "t"], pairs[pairs["test"] == "all"]
    assert found.tests[0].covered and abs(drawn["weight"].sum() - 1) < 1e-12
    kl = found.tests[0].cells[0].scores["kl"].value
    assert kl is not None and abs((drawn["weight"] * drawn["kl"]).sum() - kl) < 1e-9
    assert abs(drawn["kl"].mean() - kl) > 1e-6
    assert abs(every["kl"].mean() - kl) < 1e-6 and every["weight"].isna().all()
