"""``run --workers``: results equal those of one process bit for bit, whatever happens to workers and drivers."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas
import psutil
import pytest

import causal_dsl as cd
from causal_dsl.tools.cli import main
from tests.equality import gpt2, relu
from tests.store.small import VECTOR

pytestmark = [pytest.mark.tools]

SWEEP = gpt2(
    "left @ layer[l].resid_post[d]",
    align="at(l in 0:2)",
    tests="""
test swap on at {
  base, source ~ equality(n=96, seed=0)
  do(left <- source)
  report iia
  report kl
}
""",
)
FITS = relu(
    "left @ layer[l].out via rotation(dim=2, n=512, batch=8192, epochs=3, rate=0.01)",
    align="halves(l in 0:3)",
    tests="""
test fitted on halves {
  base, source ~ equality(n=64, seed=0)
  do(left <- source)
  report iia
}
""",
)
OTHER = ("seconds", "finished", "machine", "cost", "command", "seal")


def told(folder: Path) -> Any:
    """What results say, without times; and the pairs."""

    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            inside = {name: Path(inner).name if name == "file" else inner for name, inner in value.items()}
            return {name: bare(inner) for name, inner in inside.items() if name not in OTHER}
        return [bare(inner) for inner in value] if isinstance(value, list) else value

    document = bare(json.loads((folder / "results.json").read_text()))
    return document["tests"], pandas.read_parquet(folder / "pairs.parquet")


def timeless(text: str) -> str:
    """Without times, which are not told where they round to nothing."""
    return re.sub(r"(; )?\d+\.\d s\b", "", text)


def same(one: Path, other: Path) -> None:
    (tests, pairs), (others, other_pairs) = told(one), told(other)
    assert tests == others
    pandas.testing.assert_frame_equal(pairs, other_pairs, check_exact=True)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with both specs, and a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CAUSAL_DSL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "sweep.causal").write_text(SWEEP)
    (tmp_path / "fits.causal").write_text(FITS)
    return tmp_path


def fresh(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """From now on nothing that was fitted before is found."""
    monkeypatch.setenv("CAUSAL_DSL_CACHE", str(Path.cwd() / name))


@pytest.mark.parametrize("workers", [2, pytest.param(4, marks=pytest.mark.nightly)])
def test_results_of_several_workers_are_those_of_one_process(workers, monkeypatch, capfd):
    small = ["--batch-memory", "12MB"]
    assert main(["run", "sweep.causal", "fits.causal", "--out", "one", *small]) == 0
    plain = capfd.readouterr()
    fresh(monkeypatch, "other")
    several = ["run", "sweep.causal", "fits.causal", "--workers", str(workers), "--out", "several", *small]
    assert main(several) == 0
    told_of = capfd.readouterr()
    assert timeless(told_of.out) == timeless(plain.out)
    assert told_of.err == plain.err
    for name in ("sweep", "fits"):
        same(Path("one") / name, Path("several") / name)
    before = {path: path.stat().st_mtime_ns for path in Path("several").rglob("units/**/*") if path.is_file()}
    assert len([path for path in before if path.name.startswith("step")]) > 2, "it was cut into blocks"
    assert main(several) == 0
    after = {path: path.stat().st_mtime_ns for path in Path("several").rglob("units/**/*") if path.is_file()}
    assert after == before, "what is stored was computed again"


@pytest.mark.parametrize(
    "words", ["broken.causal fits.causal", pytest.param("fits.causal broken.causal", marks=pytest.mark.nightly)]
)
def test_a_network_that_fails_as_it_is_loaded_keeps_no_other_spec_from_being_run(words, folder, capfd):
    (folder / "nets.py").write_text("def build():\n    raise ValueError('no such weights')\n")
    network = re.compile(r"^network .*$", re.MULTILINE)
    (folder / "broken.causal").write_text(network.sub('network mlp = torch("nets.py:build")', FITS))
    several = ["run", *words.split(), "--trust", "--json", "--workers", "2", "--out", "several"]
    assert main(several) == 2
    found = {spec["path"]: spec for spec in json.loads(capfd.readouterr().out)["specs"]}
    assert main(["run", "fits.causal", "--out", "one"]) == 0
    same(Path("one") / "fits", Path("several") / "fits")
    assert found["fits.causal"]["tests"][0]["cells"] and not found["broken.causal"]["tests"][0]["cells"]
    (fault,) = found["broken.causal"]["diagnostics"]
    assert "no such weights" in json.dumps(fault)
    assert found["broken.causal"]["tests"][0]["fault"] == fault["code"]
    capfd.readouterr()
    assert main(["run", "broken.causal", "broken.causal", "--trust", "--workers", "2"]) == 2
    assert "no such weights" in capfd.readouterr().err, "nothing could be run"


def test_the_python_api_takes_workers_and_no_folder(folder):
    before = signal.getsignal(signal.SIGTERM)
    results = cd.run("sweep.causal", cd.Options(memory=12_000_000), workers=2)
    plain = cd.run("sweep.causal", cd.Options(memory=12_000_000))
    assert [test.to_json()["cells"] for test in results.tests] == [test.to_json()["cells"] for test in plain.tests]
    assert not list(folder.glob("causal-dsl-units-*"))
    assert signal.getsignal(signal.SIGTERM) == before  # Ray sets its own


def test_a_store_that_takes_nothing_more_stops_the_run_and_says_what_is_stored(folder, capfd):
    (folder / "several" / "sweep" / "units").mkdir(parents=True)
    (folder / "several" / "sweep" / "units" / "blocks").write_text("no folder can be made here")
    assert main(["run", "sweep.causal", "--workers", "1", "--out", "several"]) == 2
    assert "E755" in capfd.readouterr().err  # no run made that folder
    (folder / "several").rename("other")
    assert main(["run", "sweep.causal", "--out", "several"]) == 0
    blocks = folder / "several" / "sweep" / "units" / "blocks"
    blocks.parent.mkdir(exist_ok=True)
    blocks.write_text("no folder can be made here")
    capfd.readouterr()
    assert main(["run", "sweep.causal", "--seed", "3", "--workers", "1", "--out", "several"]) == 2
    said = capfd.readouterr().err
    assert "E923" in said and "0 of 1 units are stored" in said


POISON = """
import os
import sys
import traceback
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.in_features = 8
        self.layers = nn.ModuleList([nn.Linear(8, 6), nn.Linear(6, 6)])
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        running = any(frame.name == "run_block" for frame in traceback.extract_stack())
        if "default_worker" in sys.argv[0] and os.environ.get("POISON") and WHEN:
            os.kill(os.getpid(), 9)
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return self.head(x)

def build():
    return Net()
"""


def test_a_unit_that_ends_its_worker_is_named_and_the_rest_is_told(folder, monkeypatch, capfd):
    text = VECTOR.replace(" VIA", "").replace(', weights="net.safetensors"', "")
    for name, when in (("good", "False"), ("bad", "running"), ("unloaded", "True")):
        (folder / name).mkdir()
        (folder / name / "net.py").write_text(POISON.replace("WHEN", when))
        (folder / name / f"{name}.causal").write_text(text)
    monkeypatch.setenv("POISON", "yes")
    words = ["run", "bad/bad.causal", "unloaded/unloaded.causal", "good/good.causal", "--trust", "--out", "kept"]
    assert main([*words, "--workers", "2", "-v"]) == 2
    said = capfd.readouterr()
    assert "1 unit was computed by 2 workers on this machine" in said.err
    assert "it has pairs 0 to" in said.err and "of `swap`, on `net`" in said.err, said.err
    document = json.loads(Path("kept/bad/results.json").read_text())
    assert [(one["name"], one["fault"]) for one in document["tests"]] == [("swap", "E920")]
    assert [one["code"] for one in document["diagnostics"] if one["code"].startswith("E")] == ["E920"]
    document = json.loads(Path("kept/unloaded/results.json").read_text())
    assert [(one["name"], one["fault"]) for one in document["tests"]] == [("swap", "E924")]
    assert said.out.count("not run (E920)") and said.out.count("not run (E924)")
    assert (
        said.err.count("[E920]") == 1 and "a unit was set aside: block 1 of 1" in said.err and "bad.causal" in said.err
    )
    assert (
        said.err.count("E924") == 1 and "no worker lived to load the networks of unloaded/unloaded.causal" in said.err
    )
    assert said.err.count("ended without a word") == 3 + 4
    assert "good.causal" in said.out and not list(Path("kept/bad").rglob("step*.npz"))
    monkeypatch.delenv("POISON")
    assert main(words) == 0, "without workers the same command runs what was set aside"


def test_ray_that_is_not_installed_is_told(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["run", "sweep.causal", "--workers", "2"]) == 2
    said = capsys.readouterr().err
    assert "E917" in said and "pip install 'causal-dsl[ray]'" in said


def test_a_store_that_no_worker_sees_is_refused(capsys):
    assert main(["run", "sweep.causal", "--workers", "2", "--out", "memory://here"]) == 2
    assert "E921" in capsys.readouterr().err


def test_without_workers_ray_is_not_imported():
    code = "import sys; from causal_dsl.tools.cli import main; main(['run', 'sweep.causal']); sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def started(*words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "causal_dsl.tools.cli", "run", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def workers_of(driver: int) -> list[int]:
    """The processes of the workers of a driver."""
    found = []
    for process in psutil.Process(driver).children(recursive=True) if psutil.pid_exists(driver) else []:
        try:
            if process.name().startswith("ray::Host") or any("ray::Host" in word for word in process.cmdline()):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


@pytest.mark.parametrize(
    ("most", "drivers", "between"),
    [
        pytest.param(2, 1, 1, marks=pytest.mark.slow),
        pytest.param(20, 3, 5, marks=pytest.mark.nightly),
        pytest.param(20, 0, 99, marks=pytest.mark.nightly),
    ],
    ids=["two", "twenty", "twenty, one driver"],
)
def test_kills_of_workers_and_of_drivers_lose_nothing(most, drivers, between, monkeypatch):
    """``most`` kills of workers, ``between`` of them before each kill of one of the ``drivers``; a driver that is not killed ends well."""
    small = ["--batch-memory", "12MB"]
    assert main(["run", "sweep.causal", "fits.causal", "--out", "one", *small]) == 0
    fresh(monkeypatch, "other")
    random.seed(1)
    kills = ends = starts = 0
    until = time.monotonic() + 500
    while time.monotonic() < until:
        driver = started("sweep.causal", "fits.causal", "--workers", "2", "--out", "several", *small)
        own, starts = 0, starts + 1
        while driver.poll() is None and time.monotonic() < until:
            time.sleep(random.uniform(0.2, 0.8))
            there = workers_of(driver.pid)
            if there and kills < most:
                os.kill(random.choice(there), signal.SIGKILL)
                kills, own = kills + 1, own + 1
            if ends < drivers and own >= between:
                driver.kill()
                ends += 1
                break
        if driver.wait() == 0:
            break
    assert ends == drivers and driver.returncode == 0 and starts == drivers + 1, driver.communicate()[1].decode()
    for name in ("sweep", "fits"):
        same(Path("one") / name, Path("several") / name)


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.nightly)]
)
def test_a_run_that_is_stopped_leaves_what_is_finished(sent, code):
    driver = started("sweep.causal", "--workers", "2", "--out", "several", "--batch-memory", "12MB")
    until = time.monotonic() + 120
    done = Path("several/sweep/units/done")
    while not (done.is_dir() and list(done.iterdir())) and time.monotonic() < until:
        time.sleep(0.02)
    os.killpg(driver.pid, sent)
    _, said = driver.communicate(timeout=120)
    assert driver.returncode in (code, 0), said.decode()  # all may have been done by then
    assert b"SIGTERM received" not in said  # Ray's own dump
    if driver.returncode == code:
        tests = json.loads(Path("several/sweep/results.json").read_text())["tests"]
        left = b"what was finished" if any(test["cells"] for test in tests) else b"what it stored"
        assert left + b" is in several" in said, said.decode()
    assert main(["run", "sweep.causal", "--out", "several", "--batch-memory", "12MB"]) == 0
