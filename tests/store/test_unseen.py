"""What decides a network's numbers and is in no file that Python opens: a kept run is not taken for another."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import causal_dsl as cd
from tests.store.killing import Server

SPEC = """
causal xor {
  a, b ~ bool

  left := a
  output y := left != b
}

network net = torch("model.py:build")

align at : xor -> net {
  a    @ input[0:4] via embedding(dim=4, seed=0)
  b    @ input[4:8] via embedding(dim=4, seed=1)
  left @ layer[0].out
  y    @ logits
}

test swap on at {
  base, source ~ xor(n=24, seed=0)
  do(left <- source)
  report logit(y)
}
"""
MODEL = """
import os
import torch
from torch import nn

HERE = os.path.dirname(os.path.abspath(__file__))
BEYOND = {beyond!r}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.in_features = 8
        self.layers = nn.ModuleList([nn.Linear(8, 16), nn.Linear(16, 16)])
        self.head = nn.Linear(16, 2)
        self.by = {made}

    def forward(self, x):
        by = {used}
        for layer in self.layers:
            x = torch.tanh(layer(x) * by)
        return self.head(x)


def build():
    return Net()
"""


def environment(value: int, home: Path, beyond: Path) -> None:
    os.environ["CAUSAL_DSL_TEST_SCALE"] = str(value)


def tensors(value: int, home: Path, beyond: Path) -> None:
    save_file({"s": torch.tensor([float(value)])}, home / "s.safetensors")


def outside(value: int, home: Path, beyond: Path) -> None:
    (beyond / "s.txt").write_text(str(value), encoding="utf-8")


def listing(value: int, home: Path, beyond: Path) -> None:
    (home / "d").mkdir(exist_ok=True)
    for number in range(value):
        (home / "d" / str(number)).touch()


def database(value: int, home: Path, beyond: Path) -> None:
    with sqlite3.connect(home / "s.db") as known:
        known.execute("create table if not exists t(s real)")
        known.execute("delete from t")
        known.execute("insert into t values(?)", (value,))
    known.close()


ENVIRONMENT = 'float(os.environ["CAUSAL_DSL_TEST_SCALE"])'
TENSORS = '__import__("safetensors.torch").torch.load_file(HERE + "/s.safetensors")["s"]'
DATABASE = 'list(__import__("sqlite3").connect(HERE + "/s.db").execute("select s from t"))[0][0]'
LISTING = 'float(len(os.listdir(HERE + "/d")))'
PROCESS = "{}".format('float(__import__("subprocess").check_output(["cat", BEYOND + "/s.txt"]))')
SOURCES: dict[str, tuple[str, str, Callable[[int, Path, Path], None]]] = {
    "environment at load": (ENVIRONMENT, "self.by", environment),
    "environment as it runs": ("1", ENVIRONMENT, environment),
    "tensors at load": (TENSORS, "self.by", tensors),
    "tensors as it runs": ("1", TENSORS, tensors),
    "a file elsewhere": ('float(open(BEYOND + "/s.txt").read())', "self.by", outside),
    "another process": (PROCESS, "self.by", outside),
    "a folder": (LISTING, "self.by", listing),
    "a database": (DATABASE, "self.by", database),
}


def run_here(home: Path, out: str) -> Any:
    """The scores of a run in this process."""
    options = cd.Options(trust=True, out=home / out if out else None)
    return scores(cd.run(cd.load(home / "s.causal"), options).specs[0].to_json())


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


def scores(found: dict[str, Any]) -> Any:
    return [cell["scores"] for test in found["tests"] for cell in test["cells"]]


def kept_numbers(name: str, run: Callable[[Path, str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, used, change = SOURCES[name]
    home, beyond = tmp_path / "home", tmp_path / "beyond"
    home.mkdir()
    beyond.mkdir()
    monkeypatch.setenv("CAUSAL_DSL_TEST_SCALE", "1")
    (home / "s.causal").write_text(SPEC, encoding="utf-8")
    (home / "model.py").write_text(MODEL.format(made=made, used=used, beyond=str(beyond)), encoding="utf-8")
    change(1, home, beyond)
    first = run(home, "out")
    blocks = {path: path.stat().st_mtime_ns for path in (home / "out").rglob("blocks/*")}
    assert blocks and run(home, "out") == first
    assert {path: path.stat().st_mtime_ns for path in blocks} == blocks, "nothing was run again"
    change(2, home, beyond)
    again = run(home, "out")
    assert again == run(home, "") != first


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("name", SOURCES)
def test_kept_numbers_belong_to_what_the_code_does(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept_numbers(name, run_here, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="runs are forked")
@pytest.mark.parametrize("name", SOURCES)
def test_kept_numbers_belong_to_what_the_code_does_in_other_processes(
    name: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run has a process of its own, which is forked before anything was read."""

    def run(home: Path, out: str) -> Any:
        into = out or "fresh"
        words = ["run", "s.causal", "--trust", "--out", into]
        scale = {"CAUSAL_DSL_TEST_SCALE": os.environ["CAUSAL_DSL_TEST_SCALE"]}
        assert server.run(words, home, environment=scale)[0] == 0
        return scores(json.loads((home / into / "s" / "results.json").read_text()))

    kept_numbers(name, run, tmp_path, monkeypatch)


@pytest.mark.slow
def test_code_imports_the_modules_beside_it_whenever_it_runs(tmp_path: Path) -> None:
    """At the top and within, of a function and of a network; of two folders each its own."""
    for folder, number in (("one", 1), ("two", 2)):
        home = tmp_path / folder
        home.mkdir()
        (home / "beside.py").write_text(f"K = {number}\n", encoding="utf-8")
        (home / "late.py").write_text(f"Z = {number}\n", encoding="utf-8")
        (home / "fun.py").write_text(
            "import beside\n\ndef f(x: int) -> int:\n    import late\n    return x * 0 + beside.K + late.Z\n",
            encoding="utf-8",
        )
        text = MODEL.format(made="__import__('beside', fromlist=['K']).K", used="__import__('late').Z", beyond="")
        (home / "model.py").write_text(text, encoding="utf-8")
        (home / "s.causal").write_text(
            f'from "fun.py" import f\n{SPEC.replace("left := a", f"left := a and f(1) == {2 * number}")}',
            encoding="utf-8",
        )
    found = [cd.run(cd.load(tmp_path / name / "s.causal"), cd.Options(trust=True)) for name in ("one", "two", "one")]
    mean = [f"{results['swap'].cell().scores}" for results in found]
    assert mean[0] == mean[2] != mean[1]


@pytest.mark.skipif(os.name != "posix", reason="there are no such links")
def test_links_that_lead_to_themselves_are_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "self.causal").symlink_to("self.causal")
    (tmp_path / "gone").symlink_to("nowhere")
    monkeypatch.chdir(tmp_path)
    for text in ('domain W = lines("loop")\n', 'domain W = lines("gone")\n', 'from "self.causal" import x\n'):
        (tmp_path / "s.causal").write_text(text, encoding="utf-8")
        (fault,) = cd.check(cd.load("s.causal")).errors
        assert fault.code == "E225" and "leads nowhere" in fault.render()
    with pytest.raises(cd.SpecError) as caught:
        cd.load("self.causal")
    assert [d.code for d in caught.value.diagnostics] == ["E220"]
