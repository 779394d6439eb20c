"""SIGKILL after every kind of step: the same command goes on, finds the same bit for bit, and does nothing twice."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from causal_dsl.store.files import PART
from tests.store.killing import Server, results
from tests.store.small import language, swap, vector
from tests.thinning import nightly_rest

FITTED = "via rotation(dim=2, n=8, epochs=2, batch=4)"
#: Each spec with the words of its command.
WORDS = {
    "blocks": ["run", "s.causal", "--trust", "--batch-memory", "1MB", "--out", "out", "--test", "swap"],
    "fits": ["run", "s.causal", "--trust", "--out", "out"],
    "training": ["run", "v.causal", "--trust", "--out", "out"],
}
#: After which steps it is killed: of a kind, the how manieth.
KILLS = [
    *(("blocks", "sweep", k) for k in (1, 2, 3, 4)),
    *(("blocks", "part", k) for k in (1, 2, 3, 5, 8, 11, 14)),
    *(("blocks", "results", k) for k in (1, 2, 3, 4)),
    *(("blocks", "file", k) for k in (2, 4, 9)),
    *(("fits", "fit pass", k) for k in (1, 2)),
    *(("fits", "fit step", k) for k in (1, 2, 3, 4)),
    *(("fits", "fit", k) for k in (1, 2, 3)),
    *(("fits", "sweep", k) for k in (1,)),
    *(("fits", "part", k) for k in (3, 6, 9)),
    *(("training", "training step", k) for k in (1, 2, 4, 5)),
    *(("training", "training", k) for k in (1,)),
    *(("training", "part", k) for k in (2, 4, 7)),
    *(("training", "results", k) for k in (1, 2)),
]
#: Kills after which all is run a third time.
THRICE = [("training", "training step", 3), ("blocks", "sweep", 2), ("fits", "fit", 3)]
#: Steps that are done once however often a run is killed, and those of which the last may be done again.
ONCE = ("sweep", "fit", "training")
CHECKPOINTS = ("fit step", "training step")


def prepare(kind: str, home: Path) -> None:
    if kind == "training":
        spec = vector(home)
        swap(spec, "align at(i in 0:2) : parity -> net {", "align at : parity -> blank {")
        swap(spec, "network net =", "network blank =")
        swap(spec, "layer[i]", "layer[1]")
        trained = "network net = train(at, steps=6, batch=4)\n\nalign again : at -> net {\n}\n\n"
        swap(spec, "test swap on at", f"{trained}test swap on again")
        return
    spec = language(home)
    if kind == "blocks":
        swap(spec, "n=8, seed=0", "n=1000, seed=0")
    if kind == "fits":
        swap(spec, "a      @ layer[l].resid_post[a]", f"a      @ layer[l].resid_post[a] {FITTED}")
        swap(spec, "at(l in 0:2)", "at(l in 0:1)")
        swap(spec, "n=8, seed=0", "n=8, seed=0, split=test")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture(scope="module")
def whole(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Of each spec: the folder before it is run, what a run finds that nothing stops, and the steps that it takes."""
    known: dict[str, tuple[Path, dict[str, object], Counter[str]]] = {}

    def find(kind: str) -> tuple[Path, dict[str, object], Counter[str]]:
        if kind not in known:
            home = tmp_path_factory.mktemp(kind)
            prepare(kind, home / "before")
            copytree(home / "before", home / "run")
            code, steps = server.run(WORDS[kind], home / "run")
            assert code == 0
            known[kind] = (home / "before", results(home / "run", WORDS[kind][1][0]), steps)
        return known[kind]

    return find


def killed_and_taken_up(kind: str, step: str, count: int, server: Server, whole: Any, tmp_path: Path) -> None:
    before, expected, steps = whole(kind)
    assert steps[step] >= count, f"there are {steps[step]} steps of this kind"
    home = tmp_path / "run"
    copytree(before, home)
    code, first = server.run(WORDS[kind], home, step, count)
    assert code == -9 and first[step] == count
    code, second = server.run(WORDS[kind], home)
    assert code == 0
    assert results(home, WORDS[kind][1][0]) == expected
    for once in ONCE:
        # a kill between the file in its place and its being told leaves a step that nobody heard of, and is kept
        unheard = step == "file" and count == first["file"]
        assert steps[once] - unheard <= first[once] + second[once] <= steps[once], once
    for checkpoint in CHECKPOINTS:
        assert first[checkpoint] + second[checkpoint] <= steps[checkpoint] + 2, checkpoint
    assert not list((home / "out").rglob(f"{PART}*")), "what was half written is gone"
    assert not list(home.rglob("*.damaged*"))


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL")
@pytest.mark.slow
@pytest.mark.parametrize(("kind", "step", "count"), THRICE)
def test_a_run_that_is_killed_goes_on(
    kind: str, step: str, count: int, server: Server, whole: Any, tmp_path: Path
) -> None:
    killed_and_taken_up(kind, step, count, server, whole, tmp_path)
    code, third = server.run(WORDS[kind], tmp_path / "run")
    assert code == 0 and not any(third[once] for once in (*ONCE, *CHECKPOINTS)), "nothing is left to be done"


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL")
@pytest.mark.parametrize(
    ("kind", "step", "count"),
    [
        pytest.param(*kill.values, marks=pytest.mark.nightly)
        if kill.values[:2] in [once[:2] for once in THRICE]
        else kill
        for kill in nightly_rest(KILLS, lambda kill: kill[1])
    ],
)
def test_a_kill_after_every_kind_of_step(
    kind: str, step: str, count: int, server: Server, whole: Any, tmp_path: Path
) -> None:
    killed_and_taken_up(kind, step, count, server, whole, tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL")
def test_a_run_that_does_not_end_is_a_failure(server: Server, tmp_path: Path) -> None:
    """The harness itself: it waits for nothing without a limit, says where the run stands, and goes on."""
    prepare("training", tmp_path / "run")
    swap(tmp_path / "run" / "net.py", "def build():", "def build():\n    __import__('time').sleep(600)")
    with pytest.raises(AssertionError, match=r"has not ended after 1 s(.|\n)*in go"):
        server.run(WORDS["training"], tmp_path / "run", limit=1)
    assert server.run(["fmt", "--check", "v.causal"], tmp_path / "run")[0] in (0, 1)
