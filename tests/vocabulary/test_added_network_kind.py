"""A new kind of network is a record and a class of inputs: one is added here, of networks that read token ids and no prompt."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import nn

from causal_dsl import api
from causal_dsl.diagnostics import NOWHERE, Span, SpecError
from causal_dsl.inputs import VectorInputs
from causal_dsl.inputs.batches import Batch, unpadded
from causal_dsl.inputs.protocol import InputRows, Receiver
from causal_dsl.network.factory import vector_facts
from causal_dsl.score.spec_results import SpecResult
from causal_dsl.vocabulary.network_facts import Facts
from causal_dsl.vocabulary.network_kinds import NETWORK_KINDS

HERE = "tests.vocabulary.test_added_network_kind"


class IdInputs(VectorInputs):
    """Rows of token ids, each value at a token of its own."""

    kind = "ids"

    @staticmethod
    def batch(network: Receiver, rows: InputRows, padding: Literal["left", "right"]) -> Batch:
        ids = torch.as_tensor(rows)
        return replace(unpadded(ids, network.device, network.dtype), arguments=(ids.long().to(network.device),))

    @staticmethod
    def standard(facts: Facts) -> list[InputRows]:
        return [torch.arange(8)[:, None].expand(8, facts.widths[0]) % 4]


def facts_of(model: nn.Module, span: Span = NOWHERE) -> Facts | None:
    """The facts of a module whose first layer embeds ids."""
    embeds = isinstance(next(iter(model.layers), None), nn.Embedding)  # type: ignore[arg-type]
    return vector_facts(model, span, "ids", torch.long) if embeds else None


RECORD = replace(
    NETWORK_KINDS["vector"],
    name="ids",
    told="a network of token ids",
    given="token ids [batch, tokens]",
    inputs=f"{HERE}:IdInputs",
    of_module=f"{HERE}:facts_of",
)

SPEC = """
causal parity {
  a, b ~ 0..3
  same := a == b
  output y := same
}

network net = torch("net.py:make")

align at : parity -> net {
  a @ input[0:1] via scalar()
  b @ input[1:2] via scalar()
  same @ layer[LAYER].out[NUMBERS]
  y @ logits
}

test swap on at {
  base, source ~ parity(exhaustive=true)
  do(same <- source)
  report iia
}
"""
#: One-hot vectors of two ids; a number for each value that both have; and how many such there are.
NET = """
import torch
from torch import nn

class Net(nn.Module):
    in_features = 2

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Embedding(4, 4), nn.Flatten(), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
        with torch.no_grad():
            self.layers[0].weight.copy_(torch.eye(4))
            self.layers[2].weight.copy_(torch.cat([torch.eye(4), torch.eye(4)], dim=1))
            self.layers[2].bias.fill_(-1.0)
            self.layers[4].weight.copy_(torch.tensor([[-1.0] * 4, [1.0] * 4]))
            self.layers[4].bias.copy_(torch.tensor([0.5, -0.5]))

    def forward(self, ids):
        return self.layers(ids)

def make():
    return Net()
"""


def _run(folder: Path, layer: int, numbers: str) -> SpecResult:
    (folder / "net.py").write_text(NET, encoding="utf-8")
    text = SPEC.replace("LAYER", str(layer)).replace("NUMBERS", numbers)
    (folder / "spec.causal").write_text(text, encoding="utf-8")
    return api.run(api.load(folder / "spec.causal"), api.Options(trust=True)).specs[0]


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORK_KINDS, "ids", RECORD)


@pytest.mark.usefixtures("added")
def test_a_kind_of_network_is_a_record_and_a_class_of_inputs(tmp_path: Path) -> None:
    """Interchanges give what they give when all pairs are counted: where the values are compared, and where one of them is embedded."""
    whole = _run(tmp_path, 3, "0:4").tests[0].cell().scores["iia"]
    assert whole.value == 1.0
    one = _run(tmp_path, 1, "0:4").tests[0].cell().scores["iia"]
    pairs = product(product(range(4), repeat=2), repeat=2)
    right = [(source[0] == base[1]) == (source[0] == source[1]) for base, source in pairs]
    assert whole.n == one.n == len(right) == 256
    assert one.value == pytest.approx(np.mean(right))


def test_networks_of_ids_are_refused_without_the_record(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as refused:
        _run(tmp_path, 3, "0:4")
    assert refused.value.diagnostics[0].code == "E639"
