"""Processes that share a network's weights out: what one finds with others is what it finds alone."""

from __future__ import annotations

import json
import os
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest

from causal_dsl import api
from causal_dsl.api import Options
from causal_dsl.diagnostics import SpecError
from tests.engine.test_matrix import matrix_of, vectors
from tests.engine.tiny import folder_of, spec_of
from tests.network.test_stream import FITTED
from tests.thinning import some

ROOT = Path(__file__).parents[2]
FAMILIES = some(["llama", "gpt2", "gemma2", "qwen3_moe"], [], slow_step=3)
SWEEP = "\ntest t on a { base, source ~ m(n=24, seed=1)\n do(same <- source)\n report iia, mean(kl) }\n"


def sharded(text: str) -> str:
    return text.replace(", padding=", ", shard=auto, padding=", 1)


def start(size: int, words: list[str], cache: Path, **streams: Any) -> list[subprocess.Popen[str]]:
    """The same command in some processes, as ``torchrun`` starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    about = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "CAUSAL_DSL_CACHE": str(cache),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    return [
        subprocess.Popen(
            [sys.executable, *words],
            env={**about, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            text=True,
            cwd=ROOT,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
        )
        for rank in range(size)
    ]


def together(size: int, words: list[str], cache: Path, timeout: float = 300) -> list[subprocess.CompletedProcess[str]]:
    """The same command in some processes until they end."""
    started, done = start(size, words, cache), []
    try:
        for process in started:
            out, err = process.communicate(timeout=timeout)
            done.append(subprocess.CompletedProcess(words, process.returncode, out, err))
    finally:
        for process in started:
            process.kill()
    return done


class Groups:
    """Groups of processes by their size, each started once: they take one job after the other."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.started: dict[int, list[subprocess.Popen[str]]] = {}

    def find(self, size: int, what: str, text: str, folder: Path, memory: int | None = None) -> Any:
        """What the first process of a group found."""
        spec, out = folder / "s.causal", folder / f"{what}-{size}.pickle"
        spec.write_text(text, encoding="utf-8")
        job = {
            "what": what,
            "spec": str(spec),
            "out": str(out),
            "memory": memory,
            "cache": str(folder / f"cache{size}"),
        }
        if size not in self.started:
            words = ["-m", "tests.network.sharded_worker", "serve"]
            with (self.folder / f"said-{size}").open("w") as said:
                self.started[size] = start(size, words, self.folder, stdin=subprocess.PIPE, stderr=said)
        for process in self.started[size]:
            assert process.stdin is not None
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
        for process in self.started[size]:
            self._hear(process, size)
        return pickle.loads(out.read_bytes())

    def _hear(self, process: subprocess.Popen[str], size: int) -> None:
        assert process.stdout is not None
        late = threading.Timer(300, process.kill)
        late.start()
        said = process.stdout.readline()
        late.cancel()
        if said != "done\n":
            self.end(size)
            raise AssertionError(said + (self.folder / f"said-{size}").read_text()[-1500:])

    def end(self, size: int) -> None:
        for process in self.started.pop(size):
            process.kill()
            process.communicate()


@pytest.fixture(scope="module")
def groups(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Groups]:
    found = Groups(tmp_path_factory.mktemp("groups"))
    yield found
    for size in list(found.started):
        found.end(size)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_site_is_as_in_one_process(family: str, groups: Groups, tmp_path: Path) -> None:
    """Every site of every layer, written from itself: no logit differs at all, and each process holds half of each layer."""
    path, _ = vectors()
    chosen = [case for case in matrix_of(family) if case.text == "<- source"]
    tests = "\n".join(
        f"test t{number} on a(l=0, p=x) {{ {case.draw}\n do({case.action.replace('VECTORS', path)})\n report mean(kl) }}"
        for number, case in enumerate(chosen)
    )
    text = sharded(spec_of(family, tests, layers="[0]", positions="[x]"))
    one, two = (groups.find(size, "logits", text, tmp_path) for size in (1, 2))
    assert one[:2] == two[:2] and len(one[3]) == len(two[3]) == len(chosen)
    assert one[2] / 2 <= two[2] < 0.6 * one[2]
    for case, a, b in zip(chosen, one[3], two[3], strict=True):
        assert np.array_equal(a, b), case.action


@pytest.mark.parametrize("family", FAMILIES)
def test_sweeps_and_fits_are_as_in_one_process(family: str, groups: Groups, tmp_path: Path) -> None:
    text = sharded(spec_of(family, SWEEP + FITTED, layers="0:3"))
    one, two = (groups.find(size, "run", text, tmp_path) for size in (1, 2))
    assert [test["name"] for test in one] == ["t", "learned"]
    for mine, theirs in zip(one, two, strict=True):
        assert mine["cells"] == theirs["cells"]


@pytest.mark.parametrize("size", [pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.nightly)])
def test_blocks_are_run_by_all(size: int, groups: Groups, tmp_path: Path) -> None:
    """Little memory gives several blocks, an odd number among them; processes take one each and tell each other."""
    text = sharded(spec_of("llama", SWEEP, layers="0:3"))
    one, several = (groups.find(count, "run", text, tmp_path, 600_000) for count in (1, size))
    assert one[0]["cells"] == several[0]["cells"]


@pytest.mark.slow
def test_the_first_process_tells_and_writes_and_goes_on(tmp_path: Path) -> None:
    """The command line: one report, one folder; a second run takes its blocks from there."""
    spec, out = tmp_path / "s.causal", tmp_path / "out"
    spec.write_text(sharded(spec_of("llama", SWEEP, layers="0:3")), encoding="utf-8")
    words = ["-m", "causal_dsl.tools.cli", "run", str(spec), "--out", str(out), "--batch-memory", "1MB"]
    kept: list[dict[str, int]] = []
    for _ in range(2):
        first, second = together(2, words, tmp_path / "cache")
        assert first.returncode == second.returncode == 0, first.stderr + second.stderr
        assert "iia" in first.stdout and not second.stdout
        blocks = (out / "s" / "blocks").glob("step*.npz")
        kept.append({block.name: block.stat().st_mtime_ns for block in blocks})
    assert len(kept[0]) > 2 and kept[0] == kept[1]
    assert (out / "s" / "results.json").exists()


@pytest.mark.slow
def test_a_fault_ends_every_process(tmp_path: Path) -> None:
    spec = tmp_path / "s.causal"
    spec.write_text(
        sharded(spec_of("llama", SWEEP.replace("report iia", "report nothing"), layers="0:3")), encoding="utf-8"
    )
    for done in together(2, ["-m", "causal_dsl.tools.cli", "run", str(spec)], tmp_path / "cache", timeout=100):
        assert done.returncode == 2 and "error[" in done.stderr


@pytest.mark.slow
def test_where_one_is_killed_the_others_end(tmp_path: Path) -> None:
    spec = tmp_path / "s.causal"
    spec.write_text(sharded(spec_of("llama", SWEEP, layers="0:3")), encoding="utf-8")
    words = ["-m", "tests.network.sharded_worker", "die", str(spec), str(tmp_path / "out")]
    first, second = together(2, words, tmp_path / "cache", timeout=200)
    assert second.returncode == -9
    assert first.returncode == 1 and "E946" in first.stderr, first.stderr[-1500:]


def test_a_network_that_is_split_within_its_layers_is_refused(tmp_path: Path) -> None:
    """By its config, and by a function that returns it so: half of a site would look like a whole one."""
    folder = tmp_path / "net"
    copytree(folder_of("llama"), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "distributed_config": {"tp_size": 2, "tp_plan": "auto"}}))
    spec = spec_of("llama", SWEEP, layers="0:3")
    with pytest.raises(SpecError) as error:
        api.run(api.parse(spec.replace(folder_of("llama"), str(folder))))
    assert error.value.diagnostics[0].code == "E945"
    (tmp_path / "split.py").write_text(SPLIT.replace("FOLDER", folder_of("llama")), encoding="utf-8")
    declared = spec[spec.index("network ") : spec.index("align ")]
    (tmp_path / "s.causal").write_text(spec.replace(declared, 'network net = torch("split.py:build")\n'), "utf-8")
    with pytest.raises(SpecError) as error:
        api.run(api.load(tmp_path / "s.causal"), Options(trust=True))
    assert error.value.diagnostics[0].code == "E945"


SPLIT = """
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from torch.nn import Parameter
from transformers import AutoModelForCausalLM


def build():
    model = AutoModelForCausalLM.from_pretrained("FOLDER")
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        whole = model.model.layers[0].mlp.up_proj
        whole.weight = Parameter(distribute_tensor(whole.weight.data, mesh, [Shard(0)]), requires_grad=False)
    finally:
        distributed.destroy_process_group()
    return model
"""
