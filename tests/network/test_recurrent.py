"""Recurrent networks by step: what is written at a token is what the recurrence goes on with, against loops by hand."""

from __future__ import annotations

from pathlib import Path

import pandas
import pytest
import torch
from torch import Tensor

import causal_dsl as cd
from causal_dsl.diagnostics import SpecError

WORDS = ("BOS", "a", "b", "c", "d")
CODE = """
import torch
from torch import nn


class Own(nn.Module):
    def __init__(self, kind, **more):
        super().__init__()
        self.tokens, self.head = nn.Embedding(5, 6), nn.Linear(6, 5)
        self.rnn = kind(6, 6, **more)

    def forward(self, ids):
        return self.head(self.rnn(self.tokens(ids))[0])


class Both(Own):
    def forward(self, ids):
        return self.head(self.rnn(self.tokens(ids))[0][..., :6])


class Turned(Own):
    def forward(self, ids):
        return self.head(self.rnn(self.tokens(ids).transpose(0, 1))[0].transpose(0, 1))


class Cells(Own):
    def forward(self, ids):
        x, state, given = self.tokens(ids), None, []
        for token in range(ids.shape[1]):
            state = self.rnn(x[:, token], state)
            given.append(state[0] if isinstance(state, tuple) else state)
        return self.head(torch.stack(given, 1))


class Half(Cells):
    def forward(self, ids):
        return super().forward(ids[:, :2])[:, [0, 1, 1, 1, 1][: ids.shape[1]]]


def make(of, kind, **more):
    torch.manual_seed(0)
    model = of(kind, **more).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    return model


def gru():
    return make(Own, nn.GRU, batch_first=True)


def deep():
    return make(Own, nn.GRU, batch_first=True, num_layers=2)


def turned():
    return make(Turned, nn.RNN)


def lstm():
    return make(Own, nn.LSTM, batch_first=True)


def gru_cell():
    return make(Cells, nn.GRUCell)


def lstm_cell():
    return make(Cells, nn.LSTMCell)


def half():
    return make(Half, nn.GRUCell)


def both():
    return make(Both, nn.GRU, batch_first=True, bidirectional=True)


def packed():
    return make(Both, nn.GRU, batch_first=True, bidirectional=False)
"""
SPEC = """
domain Letter = {"a", "b", "c"}
causal copy {
  x, y, z ~ Letter
  output out : Letter := x
}
network net = torch("net.py:FUNCTION", vocabulary=["BOS", "a", "b", "c", "d"], dtype=float64)
align tau : copy -> net {
  prompt "BOS {x} {y} {z}"
  x   @ module("rnn")[x]
  out @ next_token
}
test one on tau {
  base, source ~ copy(n=12, seed=0)
  do(ACTION)
  report logit("a"), logit("d")
}
"""


def written(model: torch.nn.Module, ids: Tensor, edits: dict[int, object]) -> tuple[Tensor, Tensor]:
    """The logits at the end [5], and what the recurrence gives at each token; ``edits`` are a function of what is there, by token."""
    rnn, x = model.rnn, model.tokens(ids)[None]
    state, given = None, []
    cell = isinstance(rnn, torch.nn.RNNCellBase)
    for token in range(len(ids)):
        if cell:
            state = rnn(x[:, token], state)
            hidden = state[0] if isinstance(state, tuple) else state
        else:
            _, state = rnn(x[:, token : token + 1], state)
            hidden = (state[0] if isinstance(state, tuple) else state)[-1]
        if token in edits:
            hidden = edits[token](hidden)  # type: ignore[operator]
        given.append(hidden)
        top = hidden if cell else torch.cat([(state[0] if isinstance(state, tuple) else state)[:-1], hidden[None]])
        state = (top, state[1]) if isinstance(state, tuple) else top
    return model.head(hidden)[0], torch.cat(given)


#: An action, and the edits that it is: of the token, the source's vectors by token, and what is there.
ACTIONS = {
    'module("rnn")[x] <- source': {1: lambda s: lambda h: s[1][None]},
    "x <- source": {1: lambda s: lambda h: s[1][None]},
    'module("rnn")[x] <- source, module("rnn")[y] = scale(0.5)': {
        1: lambda s: lambda h: s[1][None],
        2: lambda s: lambda h: 0.5 * h,
    },
    'module("rnn")[y] += 2': {2: lambda s: lambda h: h + 2},
    'module("rnn")[last] = 0': {3: lambda s: lambda h: 0 * h},
}


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("function", ["gru", "deep", "lstm", "gru_cell", "lstm_cell"])
def test_what_is_written_goes_on(function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.py").write_text(CODE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    exec(CODE, namespace)
    model = namespace[function]()  # type: ignore[operator]
    for action, edits in ACTIONS.items():
        text = SPEC.replace("FUNCTION", function).replace("ACTION", action)
        out = tmp_path / f"out{list(ACTIONS).index(action)}"
        cd.run(cd.parse(text), cd.Options(trust=True, out=out))
        (file,) = out.rglob("pairs.parquet")
        pairs = pandas.read_parquet(file)
        moved = 0.0
        for row in range(len(pairs)):
            base, source = (
                torch.tensor([WORDS.index(word) for word in pairs[role if role in pairs else "base"][row].split()])
                for role in ("base", "source")
            )
            with torch.no_grad():
                _, theirs = written(model, source, {})
                wanted = written(model, base, {token: edit(theirs) for token, edit in edits.items()})[0]
                plain = model(base[None])[0, -1]
            for name, word in (('logit("a")', 1), ('logit("d")', 4)):
                assert pairs[name][row] == pytest.approx(float(wanted[word]), abs=1e-9), (function, action, row)
            moved = max(moved, float((wanted - plain).abs().max()))
        assert moved > 1e-3, "nothing is shown"


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize(("function", "code"), [("half", "E424"), ("both", "E777"), ("turned", "E777")])
def test_what_has_no_steps(function: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.py").write_text(CODE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    text = SPEC.replace("FUNCTION", function).replace("ACTION", 'module("rnn")[x] = 0')
    with pytest.raises(SpecError) as caught:
        cd.run(cd.parse(text), cd.Options(trust=True))
    assert [d.code for d in caught.value.diagnostics] == [code]
