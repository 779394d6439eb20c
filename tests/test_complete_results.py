"""Whatever was asked for is in the results: finished, failed, or marked as interrupted; else the run ends with a fault."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import causal_dsl as cd
from causal_dsl.engine.execute import Execution
from causal_dsl.engine.measured_cells import MeasuredCells
from causal_dsl.running import running, session
from causal_dsl.running.running import Interrupted
from causal_dsl.tools import commands
from causal_dsl.tools.cli import main

SPEC = """causal m {
  a, b ~ 0..3
  both          := a == b
  output answer := both
}
network net = zoo("equality-mlp")
align al(l in 0:3) : m -> net {
  a @ input[0:4] via onehot()
  b @ input[4:8] via onehot()
  both @ layer[l].out
  answer @ logits(false, true)
}
test swept on al {
  base, source ~ m(n=40, seed=1)
  do(both <- source)
  expect min(iia) >= 0%
}
test plain on al(l=0) {
  base ~ m(n=20, seed=2)
  expect accuracy >= 200%
}
"""
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A spec on a network that takes vectors of eight numbers."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import nn\n\n\ndef make():\n    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2))\n"
    )
    for name in ("one", "two"):
        text = SPEC.replace('zoo("equality-mlp")', 'torch("net.py:make")').replace(">= 200%", ">= 100%")
        (tmp_path / f"{name}.causal").write_text(text, encoding="utf-8")
    return "one.causal"


def statuses(out: str) -> list[list[tuple[str, str, int, int]]]:
    return [
        [(t["name"], t["status"], len(t["cells"]), t["cell_count"]) for t in spec["tests"]]
        for spec in json.loads(out)["specs"]
    ]


def test_tests_say_whether_they_hold(spec: str, capsys: Captured) -> None:
    assert main(["run", spec, "--json", "--trust"]) == 1
    assert statuses(capsys.readouterr().out) == [[("swept", "finished", 3, 3), ("plain", "failed", 1, 1)]]


def stop(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Ctrl-C after so many blocks of all runs, where each intervention is a block."""
    blocks = 0
    plain = Execution.run

    def run(self: Execution) -> Iterator[str]:
        nonlocal blocks
        for said in plain(self):
            blocks += 1
            yield said
            if blocks >= after:
                raise KeyboardInterrupt

    monkeypatch.setattr(Execution, "run", run)


@pytest.mark.slow
def test_an_interrupted_run_tells_of_every_test(spec: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(self: Execution) -> Iterator[str]:
        raise KeyboardInterrupt
        yield ""

    monkeypatch.setattr(Execution, "run", nothing)
    assert main(["run", spec, "two.causal", "--json", "--trust"]) == 130
    cut = [("swept", "interrupted", 0, 3), ("plain", "interrupted", 0, 1)]
    assert statuses(capsys.readouterr().out) == [cut, cut]
    assert main(["run", spec, "--trust"]) == 130
    told = capsys.readouterr().out
    assert "interrupted: 0 of 3 cells measured" in told and "interrupted: 0 of 1 cell measured" in told
    assert "2 tests, 2 interrupted and not judged" in told
    assert "pass" not in told and "FAIL" not in told


def test_what_was_finished_is_told_of_and_nothing_is_judged(
    spec: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = Path(spec).read_text(encoding="utf-8").replace("al(l in 0:3)", "al(l in 0:2)")
    Path(spec).write_text(text.replace("n=40", "n=4000"), encoding="utf-8")
    plain = MeasuredCells.merge

    def merge(self: MeasuredCells, pieces: dict) -> None:  # of the sweep only the first cell is finished
        for piece in pieces.values():
            piece.cells = piece.cells[:1]
            piece.patched = {quantity: values[:1] for quantity, values in piece.patched.items()}
        plain(self, pieces)

    monkeypatch.setattr(MeasuredCells, "merge", merge)
    stop(monkeypatch, 1)
    with pytest.raises(Interrupted) as caught:
        cd.run(cd.load(spec), cd.Options(trust=True, out=Path("kept")))
    found = caught.value.results
    swept = found["swept"]
    assert (swept.status, len(swept.cells), swept.cell_count) == ("interrupted", 1, 2)
    assert not swept.passed and not swept.expectations
    stored = json.loads(Path("kept/one/results.json").read_text())
    assert stored["tests"][0]["status"] == "interrupted" and stored["interrupted"]


def test_ctrl_c_while_networks_are_loaded_loses_no_test(
    spec: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, loads = session.load, []

    def load(*given: object) -> object:
        loads.append(given)
        if len(loads) == 2:
            raise KeyboardInterrupt
        return plain(*given)

    Path("two.causal").write_text(Path("two.causal").read_text().replace("net.py:make", "other.py:make"))
    Path("other.py").write_text(Path("net.py").read_text())
    monkeypatch.setattr(session, "load", load)
    assert main(["run", spec, "two.causal", "--json", "--trust"]) == 130
    first, second = statuses(capsys.readouterr().out)
    assert [status for _, status, _, _ in first] == ["finished", "failed"]
    assert second == [("swept", "interrupted", 0, 3), ("plain", "interrupted", 0, 1)]


@pytest.mark.slow
def test_a_test_that_is_lost_is_a_fault(spec: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever keeps a test from being measured: a run never ends well without it."""
    monkeypatch.setattr(Execution, "run", lambda self: iter(()))
    assert main(["run", spec, "--trust"]) == 2
    told = capsys.readouterr()
    assert "not in the results: swept, plain" in told.err + told.out
    assert main(["run", spec, "--trust", "--json"]) == 2


FAULTY = "import torch\n\n\ndef make():\n    raise ValueError('it has no weights')\n"


@pytest.mark.slow
def test_a_fault_in_one_spec_loses_nothing_of_the_others(spec: str, capsys: Captured) -> None:
    """`two` is sound when it is checked, and its network cannot be made: what was run before and after it is told."""
    Path("faulty.py").write_text(FAULTY)
    Path("three.causal").write_text(Path("two.causal").read_text())
    Path("two.causal").write_text(Path("two.causal").read_text().replace("net.py:make", "faulty.py:make"))
    words = ["run", spec, "two.causal", "three.causal", "--trust"]
    assert main([*words, "--json", "--out", "kept"]) == 2
    said = capsys.readouterr()
    first, second, third = statuses(said.out)
    assert [status for _, status, _, _ in first] == [status for _, status, _, _ in third] == ["finished", "failed"]
    assert second == [("swept", "interrupted", 0, 3), ("plain", "interrupted", 0, 1)]
    faults = [d for one in json.loads(said.out)["specs"] for d in one["diagnostics"] if d["code"].startswith("E")]
    assert len(faults) == 1 and faults[0] in json.loads(said.out)["specs"][1]["diagnostics"]
    assert Path("kept/one/results.json").is_file() and Path("kept/three/results.json").is_file()
    assert main(words) == 2
    told = capsys.readouterr()
    assert faults[0]["code"] in told.err and "it has no weights" in told.err
    assert "one.causal:13" in told.out and "three.causal:13" in told.out
    assert "6 tests, 2 not run because of a fault" in told.out
    assert f"not run ({faults[0]['code']}): 0 of 3 cells measured" in told.out


@pytest.mark.slow
def test_a_fault_in_every_spec_is_raised(spec: str, capsys: Captured) -> None:
    Path("net.py").write_text(FAULTY)
    assert main(["run", spec, "two.causal", "--trust"]) == 2
    told = capsys.readouterr()
    assert "it has no weights" in told.err and not told.out
    with pytest.raises(cd.SpecError):
        cd.run(cd.load(spec), cd.Options(trust=True))


def kept(folder: str, name: str) -> dict:
    return json.loads(Path(folder, name, "results.json").read_text())


def reported(folder: str, capsys: Captured) -> str:
    capsys.readouterr()
    assert main(["report", folder]) == 0
    return capsys.readouterr().out


def break_network(how: str) -> None:
    """Another `net.py`, whose network is not ``made``, or is made, and ``how`` is all that its forward does."""
    if how == "made":
        Path("net.py").write_text(FAULTY)
    else:
        Path("net.py").write_text(
            "import torch\nfrom torch import nn\n\n\nclass Stop(nn.Linear):\n    def forward(self, x):\n"
            f"        {how}\n\n\ndef make():\n    torch.manual_seed(0)\n"
            "    return nn.Sequential(nn.Linear(8, 6), nn.ReLU(), Stop(6, 2))\n"
        )


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("how", ["made", "raise ValueError('it has no weights')", "raise SystemExit(0)"])
def test_numbers_of_a_run_before_do_not_stay_where_a_fault_ends_a_run(
    spec: str, how: str, beside: bool, capsys: Captured
) -> None:
    """`report` tells of the last run: the folder has the fault in the place of the numbers. Blocks stay, and the same network finds them."""
    good = Path("net.py").read_text()
    Path("two.causal").write_text(Path("two.causal").read_text().replace("net.py:make", "other.py:make"))
    Path("other.py").write_text(good)
    words = ["run", spec, *(["two.causal"] if beside else []), "--trust", "--out", "kept"]
    assert main(words) == 1
    scores = [[cell["scores"] for cell in test["cells"]] for test in kept("kept", "one")["tests"]]
    assert all(scores)
    break_network(how)
    capsys.readouterr()
    assert main([*words, "--json"]) == 2
    said = json.loads(capsys.readouterr().out)
    stored = kept("kept", "one")
    (code,) = {d["code"] for d in stored["diagnostics"] if d["code"].startswith("E")}
    assert [(t["status"], t["fault"], t["cells"]) for t in stored["tests"]] == [("interrupted", code, [])] * 2
    assert stored["interrupted"]
    told = reported("kept", capsys)
    assert f"not run ({code}): 0 of 3 cells measured" in told and f"not run ({code}): 0 of 1 cell measured" in told
    assert f"{4 if beside else 2} tests, 2 not run because of a fault" in told
    assert ("one.causal:13" in told) and ("two.causal:13" in told) == beside
    assert Path("kept/one/source/net.py").read_text() == Path("net.py").read_text()
    if beside:
        document = said["specs"][0]
        assert (document["tests"], document["diagnostics"]) == (stored["tests"], stored["diagnostics"])
        assert [t["status"] for t in kept("kept", "two")["tests"]] == ["finished", "failed"]
    Path("net.py").write_text(good)
    capsys.readouterr()
    assert main(words) == 1
    assert "W65" not in capsys.readouterr().err
    again = kept("kept", "one")
    assert [[cell["scores"] for cell in test["cells"]] for test in again["tests"]] == scores and not again[
        "interrupted"
    ]
    assert again["cost"]["stored_blocks"] == again["cost"]["blocks"] > 0


def test_a_fault_in_a_fresh_folder_is_reported_beside_the_other_spec(spec: str, capsys: Captured) -> None:
    Path("two.causal").write_text(Path("two.causal").read_text().replace("net.py:make", "faulty.py:make"))
    Path("faulty.py").write_text(FAULTY)
    assert main(["run", spec, "two.causal", "--trust", "--out", "kept"]) == 2
    told = [
        line
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("4 tests, 2 not run because of a fault")
    ]
    assert len(told) == 1 and told[0] in reported("kept", capsys).splitlines()


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), MemoryError("too much"), RuntimeError("a mistake of ours")])
def test_whatever_ends_a_run_is_in_the_place_of_the_numbers_of_a_run_before(
    spec: str, stop: BaseException, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C as networks are loaded, a machine without memory, a mistake of the package: none leaves the old numbers."""
    assert main(["run", spec, "--trust", "--out", "kept"]) == 1

    def load(*_: object) -> object:
        raise stop

    monkeypatch.setattr(session, "load", load)
    ctrl_c = isinstance(stop, KeyboardInterrupt)
    assert main(["run", spec, "--trust", "--out", "kept"]) == (130 if ctrl_c else 2)
    stored = kept("kept", "one")
    fault = None if ctrl_c else "E799"
    assert [(t["status"], t.get("fault"), t["cells"]) for t in stored["tests"]] == [("interrupted", fault, [])] * 2
    assert ("interrupted: 0 of 3 cells" if ctrl_c else "not run (E799): 0 of 3 cells") in reported("kept", capsys)


def test_a_folder_that_was_not_taken_keeps_its_numbers(spec: str, capsys: Captured) -> None:
    """A fault of the text shows before the folder is taken, as for `check`: that run measured nothing and wrote nothing."""
    assert main(["run", spec, "--trust", "--out", "kept"]) == 1
    before = Path("kept/one/results.json").read_bytes()
    Path(spec).write_text(Path(spec).read_text().replace("both <- source", "nothing <- source"))
    assert main(["run", spec, "--trust", "--out", "kept"]) == 2
    assert Path("kept/one/results.json").read_bytes() == before


def test_with_workers_a_fault_leaves_no_numbers_of_a_run_before(spec: str, capsys: Captured) -> None:
    """The fault shows as the work is cut, before any worker is started."""
    assert main(["run", spec, "--trust", "--out", "kept"]) == 1
    break_network("made")
    assert main(["run", spec, "--trust", "--out", "kept", "--workers", "1"]) == 2
    assert [(t["status"], t["fault"]) for t in kept("kept", "one")["tests"]] == [("interrupted", "E639")] * 2
    assert "not run (E639): 0 of 3 cells measured" in reported("kept", capsys)


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("when", ["imports", "check", "load", "run"])
def test_what_is_said_of_a_run_that_ctrl_c_ends_is_true(
    spec: str, when: str, same: bool, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a run begins it writes nothing; after that, no number of another run stays."""
    words = ["run", spec, "--trust", "--out", "kept"]
    if same:
        Path("new").mkdir()
        with monkeypatch.context() as early:
            early.setattr(commands, "importing", interrupting)
            assert main([*words[:-1], "new"]) == 130
        assert not list(Path("new").iterdir())
        assert capsys.readouterr().err == "stopped before the run began; nothing was written to new\n"
    assert main(words) == 1
    before = Path("kept/one/results.json").read_bytes()
    if not same:
        Path(spec).write_text(Path(spec).read_text().replace("seed=2", "seed=3"))
    place = {"imports": (commands, "importing"), "check": (running, "check_to_run"), "load": (session, "load")}
    monkeypatch.setattr(*place.get(when, (Execution, "run")), interrupting)
    capsys.readouterr()
    assert main(words) == 130
    said = capsys.readouterr().err.splitlines()[-1]
    if when in ("imports", "check"):
        assert said == "stopped before the run began; nothing was written to kept"
        assert Path("kept/one/results.json").read_bytes() == before
    else:
        told = "stopped before a cell was measured; what it stored is in kept, and the same command goes on from there"
        assert said == told
        assert [(t["status"], t["cells"]) for t in kept("kept", "one")["tests"]] == [("interrupted", [])] * 2


def interrupting(*_: object) -> Any:
    """Ctrl-C in the place of what is called."""
    raise KeyboardInterrupt


LATE = """import torch
from torch import nn


class Gone(BaseException):
    pass


class Late(nn.Linear):
    runs = 0

    def forward(self, x):
        self.runs += 1
        if self.runs > 29 and x.shape[0] > 16:
            raise END
        return super().forward(x)


def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 6), nn.ReLU(), Late(6, 2))
"""


@pytest.mark.parametrize("end", ["SystemExit(0)", "Gone('for good')", "GeneratorExit", "ValueError('too many')"])
def test_a_network_that_fails_in_the_middle_of_a_run_is_at_fault(spec: str, end: str, capsys: Captured) -> None:
    """The fault names the network and the line of its code. The test that it does not reach is run all the same."""
    Path("net.py").write_text(LATE.replace("END", end))
    Path(spec).write_text(Path(spec).read_text().replace("n=40", "n=2000"))
    assert main(["run", spec, "--trust", "--out", "kept"]) == 2
    told = capsys.readouterr()
    assert "error[E639]: the code of `net` raises an exception as the network is run" in told.err
    assert f"= note: {end.partition('(')[0]}" in told.err and "raised at line 15 of net.py" in told.err
    statuses = [(t["name"], t["status"], t.get("fault")) for t in kept("kept", "one")["tests"]]
    assert statuses == [("swept", "interrupted", "E639"), ("plain", "failed", None)]


@pytest.mark.slow
@pytest.mark.parametrize("how", [["--workers", "1"], ["--shard", "1/1"]])
def test_a_network_that_ends_its_process_is_at_fault_on_workers_and_in_shards(
    spec: str, how: list[str], capsys: Captured
) -> None:
    Path("net.py").write_text(LATE.replace("END", "SystemExit(0)"))
    Path(spec).write_text(Path(spec).read_text().replace("n=40", "n=2000"))
    assert main(["run", spec, "--trust", "--out", "kept", *how]) == 2
    told = capsys.readouterr()
    assert "SystemExit" in told.err + told.out


def watched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str], int]]:
    """What lies in the folder of results as a network is loaded and as interventions begin: whoever kills the run then leaves that."""
    seen: list[tuple[str, list[str], int]] = []

    def look(when: str) -> None:
        tests = kept("kept", "one")["tests"]
        seen.append((when, [t["status"] for t in tests], pq.read_table("kept/one/pairs.parquet").num_rows))

    plain_load, plain_run = session.Session.networks, Execution.run

    def networks(self: session.Session, refs: Any) -> Any:
        look("load")
        return plain_load(self, refs)

    def run(self: Execution) -> Iterator[str]:
        look("run")
        yield from plain_run(self)

    monkeypatch.setattr(session.Session, "networks", networks)
    monkeypatch.setattr(Execution, "run", run)
    return seen


@pytest.mark.parametrize(
    "other",
    [
        "spec",
        "weights",
        *(pytest.param(other, marks=pytest.mark.slow) for other in ("code", "module", "option", "tests")),
    ],
)
def test_numbers_of_another_run_give_way_before_a_run_begins(
    spec: str, other: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed says nothing; what it leaves tells of no numbers but its own. The run before gives its results again."""
    good = "import helper\n" + Path("net.py").read_text().replace("manual_seed(0)", "manual_seed(helper.seed())")
    Path("net.py").write_text(good)
    helper = "import os\n\n\ndef seed():\n    return int(os.environ.get('SEED_OF_THE_TEST', '0'))\n"
    Path("helper.py").write_text(helper)
    text, words = Path(spec).read_text(), ["run", spec, "--trust", "--out", "kept"]
    assert main(words) == 1
    before = kept("kept", "one")
    rows = pq.read_table("kept/one/pairs.parquet").num_rows
    seen = watched(monkeypatch)
    assert main(words) == 1
    there = ["finished", "failed"]
    assert (seen[0], seen[-1]) == (("load", there, rows), ("run", there, rows)) and rows == 140
    seen.clear()
    more: list[str] = []
    match other:
        case "spec":
            Path(spec).write_text(text.replace("seed=2", "seed=3"))
        case "code":
            Path("net.py").write_text(good.replace("8, 6", "8, 5").replace("6, 2", "5, 2"))
        case "module":
            Path("helper.py").write_text(helper.replace("'0'", "'1'"))
        case "option":
            more = ["--seed", "5"]
        case "tests":
            more = ["--test", "swept"]
        case "weights":
            monkeypatch.setenv("SEED_OF_THE_TEST", "7")
    main([*words, *more])
    gone = ["interrupted"] * (1 if other == "tests" else 2)
    found = ("load", there, rows) if other == "weights" else ("load", gone, 0)
    assert (seen[0], seen[-1]) == (found, ("run", gone, 0))
    seen.clear()
    Path(spec).write_text(text)
    Path("net.py").write_text(good)
    Path("helper.py").write_text(helper)
    monkeypatch.delenv("SEED_OF_THE_TEST", raising=False)
    assert main(words) == 1
    again = kept("kept", "one")
    assert [t["cells"] for t in again["tests"]] == [t["cells"] for t in before["tests"]]


@pytest.mark.slow
def test_numbers_of_another_run_give_way_before_workers_begin(
    spec: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["run", spec, "--trust", "--out", "kept"]) == 1
    Path(spec).write_text(Path(spec).read_text().replace("seed=2", "seed=3"))
    seen = watched(monkeypatch)
    assert main(["run", spec, "--trust", "--out", "kept", "--workers", "1"]) == 1
    assert seen[0] == ("load", ["interrupted"] * 2, 0)
    assert [t["status"] for t in kept("kept", "one")["tests"]] == ["finished", "failed"]
