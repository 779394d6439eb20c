"""A small problem to train networks on, and what tests of training ask of it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from causal_dsl import api
from causal_dsl.network.network import Network
from causal_dsl.network.wrapped import wrap
from causal_dsl.program.program import Training
from causal_dsl.training.objective import Objective
from causal_dsl.vocabulary.network_facts import Facts

#: Two bits to be compared with a third: two steps, of which the second is read.
MODEL = """
causal parity {
  a, b, c ~ bool
  first  := a != b
  second := c
  output odd := first != second
}

network blank = torch("net.py:build")

align halves : parity -> blank {
  a @ input[0:1] via scalar()
  b @ input[1:2] via scalar()
  c @ input[2:3] via scalar()
  first  @ layer[1].out[0:2]
  second @ layer[1].out[4:6]
  odd    @ logits
}

network net = train(halves, SETTINGS)

align again : halves -> net {
}

test solves on again {
  base ~ parity(exhaustive=true)
  expect accuracy >= 100%
}

test holds_first on again {
  base, source ~ parity(exhaustive=true)
  do(first <- source)
  expect iia >= 99%
}

test holds_second on again {
  base, source ~ parity(exhaustive=true)
  do(second <- source)
  expect iia >= 99%
}
"""
FACTORY = """
from torch import nn


def build():
    return nn.Sequential(
        nn.Sequential(nn.Linear(3, 12), nn.Tanh()),
        nn.Sequential(nn.Linear(12, 8), nn.Tanh()),
        nn.Sequential(nn.Linear(8, 8), nn.Tanh()),
        nn.Linear(8, 2),
    )
"""
FACTS = Facts("vector", "Sequential", layers=4, widths=(3, 12, 8, 8, 2), classes=2)


def spec(settings: str, folder: Path, factory: str = FACTORY) -> api.Spec:
    """The problem as a spec in a folder, with the factory of its network beside it."""
    (folder / "net.py").write_text(factory, encoding="utf-8")
    path = folder / "taught.causal"
    path.write_text(MODEL.replace("SETTINGS", settings), encoding="utf-8")
    return api.load(path)


def training(settings: str) -> Training:
    """What the problem asks for."""
    with tempfile.TemporaryDirectory() as folder:
        checked = api.check(spec(settings, Path(folder)))
    checked.raise_errors()
    assert checked.program is not None
    found = checked.program.networks["net"].training
    assert found is not None
    return found


def build() -> nn.Module:
    """What the factory builds."""
    scope: dict[str, Any] = {}
    exec(FACTORY, scope)
    made: nn.Module = scope["build"]()
    return made


def network(seed: int = 0, dtype: torch.dtype = torch.float64) -> Network:
    """The network of the problem, with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build()
    return wrap(model.to(dtype), FACTS, None, "net")


def by_hand(objective: Objective, step: int) -> dict[str, Tensor]:
    """The losses of a step, row by row: every run by itself, every swap written out, the labels by Python."""
    pool, drawn = objective.pool, objective.draws(step)
    model = objective.network.model
    values = {name: pool.values[name] for name in ("a", "b", "c")}
    places = {"first": slice(0, 2), "second": slice(4, 6)}

    def hidden(index: int) -> Tensor:
        x = torch.tensor([[float(values[name][index]) for name in ("a", "b", "c")]], dtype=torch.float64)
        return model[1](model[0](x))

    def loss(mixed: Tensor, first: bool, second: bool) -> Tensor:
        return -torch.log_softmax(model[3](model[2](mixed))[0], 0)[int(first != second)]

    found: dict[str, list[Tensor]] = {"task": [], "interchange": [], "strict": []}
    for row, base in enumerate(drawn.base.tolist()):
        first, second = values["a"][base] != values["b"][base], bool(values["c"][base])
        found["task"].append(loss(hidden(base), first, second))
        mixed, now = hidden(base).clone(), {"first": first, "second": second}
        for name, sources in drawn.sources.items():
            source = int(sources[row])
            mixed[:, places[name]] = hidden(source)[:, places[name]]
            now[name] = values["a"][source] != values["b"][source] if name == "first" else bool(values["c"][source])
        found["interchange"].append(loss(mixed, now["first"], now["second"]))
        if drawn.rest is not None:
            mixed = hidden(int(drawn.rest[row])).clone()
            for place in places.values():
                mixed[:, place] = hidden(base)[:, place]
            found["strict"].append(loss(mixed, first, second))
    return {kind: torch.stack(losses).mean() for kind, losses in found.items() if losses}
