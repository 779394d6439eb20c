"""A network that comes in training mode is run in eval mode, and says so, however it is made a network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from causal_dsl.network.load import CheckpointReference, load

WORDS = ("BOS", "a", "b", "c", "d")
CODE = """
import torch
from torch import nn


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 8)

    def forward(self, x):
        return x + torch.tanh(self.inner(x))


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head, self.drop = nn.Embedding(5, 8), nn.Linear(8, 5), nn.Dropout(0.5)
        self.blocks = nn.ModuleList(Layer() for _ in range(2))

    def forward(self, ids):
        x = self.drop(self.embed(ids)).cumsum(1)
        for block in self.blocks:
            x = block(x)
        return self.head(3 * x if self.training else x)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.rnn, self.head = nn.Embedding(5, 8), nn.LSTM(8, 8, 2, batch_first=True, dropout=0.5), nn.Linear(8, 5)

    def forward(self, ids):
        return self.head(self.rnn(self.embed(ids))[0])


def made(kind):
    torch.manual_seed(0)
    return kind().train()


def tokens():
    return made(Tokens)


def recurrent():
    return made(Recurrent)


def vectors():
    return made(lambda: nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3)))


"""
OF_WORDS: dict[str, object] = {"vocabulary": WORDS}
WAYS: dict[str, tuple[str, dict[str, object]]] = {
    "a layout that is said": ("tokens", {**OF_WORDS, "layers": "blocks"}),
    "no layout": ("tokens", OF_WORDS),
    "steps": ("recurrent", OF_WORDS),
    "vectors": ("vectors", {}),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_network_runs_in_eval_mode(way: str, tmp_path: Path) -> None:
    function, said = WAYS[way]
    (tmp_path / "net.py").write_text(CODE, encoding="utf-8")
    network = load(
        None, CheckpointReference("torch", f"net.py:{function}", tmp_path, said=tuple(said.items())), trust=True
    )
    assert [name for name, module in network.model.named_modules() if module.training] == []
    assert way == "steps" or any(
        "training mode" in note for note in network.notes
    )  # an LSTM's own `dropout` is no module
    own: dict[str, object] = {}
    exec(CODE, own)
    expected = own[function]().eval()  # type: ignore[operator]
    given = torch.randn(3, 4) if way == "vectors" else torch.tensor([[0, 1, 2, 3], [0, 3, 3, 1]])
    with torch.no_grad():
        torch.testing.assert_close(network.model(given), expected(given))
