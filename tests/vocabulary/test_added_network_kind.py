"""A new kind of network is a record and a class of inputs: one is added here, of networks that read token ids and no prompt."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import nn

from causal_dsl import api
from causal_dsl.diagnostics import NOWHERE, Span, SpecError
from causal_dsl.inputs import VectorInputs
from causal_dsl.inputs.batches import Batch, padded, unpadded
from causal_dsl.inputs.protocol import InputRows, Receiver
from causal_dsl.network.factory import vector_facts
from causal_dsl.program.facts import facts_of_config
from causal_dsl.score.spec_results import SpecResult
from causal_dsl.vocabulary.locations import Position
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


class TokenInputs(VectorInputs):
    """Rows of token ids, each value at a token of its own, of which sites have a vector each; the last one is read."""

    kind, later_share, looked_at = "tokens", 0.05, 64
    costly = "its inputs are rows of tokens"

    @staticmethod
    def batch(network: Receiver, rows: InputRows, padding: Literal["left", "right"]) -> Batch:
        return padded(list(rows), padding, network.device, network.accepts, network.facts.first_position)

    @staticmethod
    def standard(facts: Facts) -> list[InputRows]:
        return [[[0, 1, 2, 1], [2, 0], [1, 2, 0]]]

    @staticmethod
    def lengths_of(rows: InputRows) -> np.ndarray:
        return np.array([len(row) for row in rows], np.int64)

    def rows(self, indices: np.ndarray) -> list[list[int]]:
        return [self.vectors[index].astype(int).tolist() for index in indices.tolist()]

    def length(self, index: int) -> int:
        return len(self.vectors[index])

    def read(self, index: int) -> int:
        return self.length(index) - 1

    def locate(self, position: Position | None, index: int, span: Span) -> tuple[int, ...]:
        places = range(self.length(index))
        if position is None or position.kind == "all":
            return (0,) if position is None else tuple(places)
        return (places[position.index],)

    def contents(self, position: Position | None, indices: np.ndarray) -> np.ndarray:
        spots = self.reads[indices] if position is None else self.spans(position, indices)[1]
        return np.array(
            [self.vectors[i][spot] for i, spot in zip(indices.tolist(), spots.tolist(), strict=True)], np.int64
        )


def facts_of_decoder(model: nn.Module) -> Facts | None:
    """The facts of a decoder of transformers that a function returns without a tokenizer."""
    config: Any = getattr(model, "config", None)
    if config is None:
        return None
    facts = facts_of_config(config.to_dict(), None, NOWHERE)
    return replace(facts, kind="tokens", classes=facts.vocabulary)


TOKENS = replace(
    NETWORK_KINDS["language"],
    name="tokens",
    told="a network of token ids, architecture {architecture}",
    inputs=f"{HERE}:TokenInputs",
    of_module=f"{HERE}:facts_of_decoder",
    prompted=False,
    enters="",
    no_prompt=("it reads token ids, and no prompt", "leave it out; values enter as `a @ input[0:1] via scalar()`"),
    encoded_at=("input",),
    readout="logits",
    outputs="classes",
    no_token=("it says which id is next, and no word", "read out at `logits`"),
    gaps=False,
)

DECODER = """
import torch
from transformers import LlamaConfig, LlamaForCausalLM

def make():
    torch.manual_seed(5)
    sizes = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1)
    return LlamaForCausalLM(LlamaConfig(vocab_size=3, max_position_embeddings=8, initializer_range=0.4, **sizes)).eval()
"""
OF_TOKENS = """
causal last {
  a, b, c ~ 0..2
  seen := b
  output y := seen
}

network net = torch("net.py:make")

align at : last -> net {
  a @ input[0:1] via scalar()
  b @ input[1:2] via scalar()
  c @ input[2:3] via scalar()
  seen @ layer[0].resid_post[1]
  y @ logits
}

test swap on at {
  base, source ~ last(exhaustive=true)
  do(seen <- source)
  report iia, mean(logit(0))
}
"""


def _by_hand() -> tuple[float, float]:
    """The share of all pairs in which the largest logit of the last token is that of the source's b, and the mean logit of id 0, where the
    second token has what the source has there as the first layer ends."""
    made: dict[str, Any] = {}
    exec(DECODER, made)
    model = made["make"]()
    ids = torch.tensor(list(product(range(3), repeat=3)))
    given: list[torch.Tensor] = []
    taking: list[torch.Tensor] = []

    def hook(_: nn.Module, __: Any, output: Any) -> Any:
        hidden = (output[0] if isinstance(output, tuple) else output).clone()
        given[:] = [hidden.clone()]
        if taking:
            hidden[:, 1] = taking[0]
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    model.model.layers[0].register_forward_hook(hook)
    right, logit = [], []
    with torch.no_grad():
        model(ids)
        for source, vector in zip(ids, given[0][:, 1].clone(), strict=True):
            taking[:] = [vector]
            logits = model(ids).logits[:, -1]
            right.append((logits.argmax(dim=1) == source[1]).double().mean().item())
            logit.append(logits[:, 0].double().mean().item())
    return float(np.mean(right)), float(np.mean(logit))


def test_a_kind_whose_inputs_have_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder of transformers without a tokenizer: all its sites are proved, and rows enter its pass where they are written."""
    monkeypatch.setitem(NETWORK_KINDS, "tokens", TOKENS)
    (tmp_path / "net.py").write_text(DECODER, encoding="utf-8")
    (tmp_path / "spec.causal").write_text(OF_TOKENS, encoding="utf-8")
    spec = api.load(tmp_path / "spec.causal")
    scores = api.run(spec, api.Options(trust=True)).tests[0].cell().scores
    right, logit = _by_hand()
    assert scores["iia"].n == 27**2 and 0.1 < right < 0.9
    assert scores["iia"].value == pytest.approx(right, abs=1e-12)
    assert scores["mean(logit(0))"].value == pytest.approx(logit, abs=1e-5)
