"""The networks of a sweep: loaded one after another, each once, gone before the next; the numbers are those of each alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import causal_dsl as cd
from causal_dsl.running.running import run_specs
from causal_dsl.tools.cli import main

CODE = """
import weakref
from pathlib import Path

import torch
from torch import nn

ALIVE = weakref.WeakSet()


class Net(nn.Module):
    def __init__(self, seed):
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.layers = nn.ModuleList([nn.Linear(4, 6), nn.Linear(6, 2)])
        for part in self.parameters():
            part.data = torch.randn(part.shape, generator=draw)

    def forward(self, x):
        return self.layers[1](torch.relu(self.layers[0](x)))


def build(seed=0):
    if seed == 13:
        raise ValueError("no such seed")
    net = Net(seed)
    ALIVE.add(net)
    with (Path(__file__).parent / "loads.txt").open("a") as told:
        told.write(f"{seed} {len(ALIVE)}\\n")
    return net
"""
SPEC = """
causal both {
  a, b ~ 0..1
  output same := a == b
}

network net(seed in SEEDS) = torch("net.py:build", seed=seed)

align placed(l in [0, 1]) : both -> net {
  a @ input[0:2] via onehot()
  b @ input[2:4] via onehot()
  same @ logits
}

test held on placed(l=0) {
  base, source ~ both(n=32, seed=0)
  do(layer[0].out[0:3] <- source)
  report moved, kl
}

test solves on placed(l=0) {
  base ~ both(exhaustive=true)
  report accuracy, cross_entropy
}
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAUSAL_DSL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "net.py").write_text(CODE)
    return tmp_path


def write(home: Path, seeds: str, name: str = "s.causal") -> Path:
    (home / name).write_text(SPEC.replace("SEEDS", seeds))
    return home / name


def loads(home: Path) -> list[tuple[int, int]]:
    """Each network that was built, as it was, and how many were there then."""
    return [(int(line.split()[0]), int(line.split()[1])) for line in (home / "loads.txt").read_text().splitlines()]


def scores(results: Any) -> dict[str, dict[str, Any]]:
    return {test.name: {n: e.value for n, e in test.cells[0].scores.items()} for test in results}


@pytest.mark.slow
def test_one_is_there_at_a_time_and_numbers_are_those_of_each_alone(home: Path) -> None:
    together = cd.run(cd.load(write(home, "[3, 1, 2, 0]")), cd.Options(trust=True))
    assert [test.name for test in together] == [f"{n}(seed={s})" for n in ("held", "solves") for s in (3, 1, 2, 0)]
    # a network that code makes is built a second time, to see whether it draws weights of its own
    seen = loads(home)
    assert [seed for seed, _ in seen] == [3, 3, 1, 1, 2, 2, 0, 0]
    assert max(count for _, count in seen) <= 2
    alone = {}
    for seed in (3, 1, 2, 0):
        alone |= scores(cd.run(cd.load(write(home, f"[{seed}]", "one.causal")), cd.Options(trust=True)))
    assert scores(together) == alone
    (spec,) = together.specs
    assert set(spec.networks) == {f"net(seed={s})" for s in (3, 1, 2, 0)} == set(spec.identity["networks"])
    assert spec.cost["rows"] == sum(
        cd.run(cd.load(write(home, f"[{s}]", "one.causal")), cd.Options(trust=True)).specs[0].cost["rows"]
        for s in (3, 1, 2, 0)
    )


@pytest.mark.slow
def test_what_is_kept_holds_all_of_them_and_is_found_again(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = write(home, "[0, 1, 2]"), home / "out"
    command = ["run", str(path), "--trust", "--json", "--out", str(out)]
    assert main(command) == 0
    first = json.loads(capsys.readouterr().out)
    import pandas

    pairs = pandas.read_parquet(out / "s" / "pairs.parquet")
    names = [test["name"] for test in first["specs"][0]["tests"]]
    assert list(dict.fromkeys(pairs["test"])) == names and len(names) == 6
    blocks = {found: found.stat().st_mtime_ns for found in (out / "s" / "blocks").rglob("step*.npz")}
    assert len({found.parent for found in blocks}) == 3
    assert main(command) == 0
    again = json.loads(capsys.readouterr().out)
    assert {found: found.stat().st_mtime_ns for found in blocks} == blocks
    assert again["specs"][0]["tests"] == first["specs"][0]["tests"]
    assert again["specs"][0]["identity"]["key"] == first["specs"][0]["identity"]["key"]


def test_a_network_at_fault_loses_nothing_of_the_others(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(home, "[0, 13, 2]")
    assert main(["run", str(path), "--trust", "--json"]) == 2
    (spec,) = json.loads(capsys.readouterr().out)["specs"]
    status = {test["name"]: test["status"] for test in spec["tests"]}
    assert {name for name, said in status.items() if said == "interrupted"} == {"held(seed=13)", "solves(seed=13)"}
    assert {test["name"] for test in spec["tests"] if "fault" in test} == {"held(seed=13)", "solves(seed=13)"}
    (fault,) = [one for one in spec["diagnostics"] if one["code"].startswith("E")]
    assert "no such seed" in json.dumps(fault)
    assert {test["fault"] for test in spec["tests"] if "fault" in test} == {fault["code"]}
    path = write(home, "[13]")
    assert main(["run", str(path), "--trust"]) == 2


def test_what_a_later_spec_needs_stays(home: Path) -> None:
    specs = [cd.load(write(home, "[0, 1]", "one.causal")), cd.load(write(home, "[1, 0]", "two.causal"))]
    run_specs(specs, cd.Options(trust=True))
    assert [seed for seed, _ in loads(home)] == [0, 0, 1, 1]
