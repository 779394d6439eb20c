"""``run --shard i/N`` and ``merge`` through the command line: shards that share nothing give what one process gives, bit for bit."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from causal_dsl.store.files import PART
from causal_dsl.tools.cli import main
from tests.store.killing import Server, results
from tests.store.small import language, swap
from tests.store.test_kills import prepare as prepared_for_kills
from tests.thinning import some

#: Each fit is a group of its own: a step of it is a thousand rows.
FITTED = "via rotation(dim=2, n=8, epochs=2, batch=1500, controls=none)"
CIRCUITS = """
circuit found : net = discover(nodes, method=eap, keep=3, by=absolute)

metric gap = logit(answer) - logit(source.answer)

test explained on at(l=0) {
  base, source ~ who(n=8, seed=4, controls=none)
  do(outside(found) <- source)
  report faithfulness(gap)
}

test replaced on at {
  base ~ who(n=8, seed=5)
  do(layer[l].mlp_out[last] = optimal(steps=4))
  report kl
}

test read on at {
  base, source ~ who(n=6, seed=6)
  report attribution_patching(gap, baseline=source) @ layer[l].resid_post[last]
}
"""
#: Each spec with the options of its command.
MORE = {
    "blocks": ["s.causal", "--trust", "--batch-memory", "1MB", "--test", "swap"],
    "fits": ["s.causal", "--trust", "--test", "swap"],
    "training": ["v.causal", "--trust"],
    "networks": ["s.causal", "--trust", "--test", "swap"],
    "circuits": ["s.causal", "--trust"],
}
#: What is computed, as :mod:`causal_dsl.store.stopping_points` names it.
COMPUTED = ("sweep", "fit step", "fit", "training step", "training", "circuits", "constants", "gradients")


def prepare(kind: str, home: Path) -> None:
    if kind in ("blocks", "training"):
        prepared_for_kills(kind, home)
        if kind == "blocks":
            swap(home / "s.causal", "n=1000, seed=0", "n=500, seed=0")  # of its memory six blocks
        return
    spec = language(home)
    if kind == "fits":
        swap(spec, "a      @ layer[l].resid_post[a]", f"a      @ layer[l].resid_post[a] {FITTED}")
        swap(spec, "n=8, seed=0", "n=8, seed=0, split=test")
    if kind == "networks":
        copytree(home / "model", home / "model1")
        (home / "model").rename(home / "model0")
        swap(spec, 'network net = hf("model")', 'network net(k in 0:2) = hf("model{k}")')
    if kind == "circuits":
        spec.write_text(spec.read_text() + CIRCUITS)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


Whole = Callable[[str], tuple[Path, dict[str, object], bytes, Counter[str]]]


@pytest.fixture(scope="module")
def whole(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Of each spec: the folder before it is run, what one process finds, its table of pairs, and the steps that it takes."""
    known: dict[str, tuple[Path, dict[str, object], bytes, Counter[str]]] = {}

    def find(kind: str) -> tuple[Path, dict[str, object], bytes, Counter[str]]:
        if kind not in known:
            home = tmp_path_factory.mktemp(kind)
            prepare(kind, home / "before")
            copytree(home / "before", home / "run")
            code, steps = server.run(["run", *MORE[kind], "--out", "out"], home / "run")
            assert code in (0, 1)
            known[kind] = (home / "before", numbers(home / "run"), pairs(home / "run"), steps)
        return known[kind]

    return find


def stem(home: Path) -> str:
    (found,) = [path.parent.name for path in (home / "out").glob("*/results.json")]
    return found


def numbers(home: Path) -> dict[str, object]:
    """All that is in results.json but times, blocks that were stored before, places of files, and the command."""
    found = results(home, stem(home))
    identity = found["identity"]
    assert isinstance(identity, dict)
    identity.pop("command")
    return found


def pairs(home: Path) -> bytes:
    return (home / "out" / stem(home) / "pairs.parquet").read_bytes()


def shard(
    server: Server, kind: str, home: Path, which: str, out: str = "parts", **kill: Any
) -> tuple[int, Counter[str]]:
    """One shard, on a machine of its own: its cache is empty."""
    shutil.rmtree(home / "cache", ignore_errors=True)
    return server.run(["run", *MORE[kind], "--shard", which, "--out", out], home, **kill)


def merge(server: Server, home: Path, *folders: str) -> Counter[str]:
    """Shards united on a machine of its own; gives what was computed."""
    shutil.rmtree(home / "cache", ignore_errors=True)
    code, steps = server.run(["merge", *folders, "--out", "out", "--trust"], home)
    assert code in (0, 1), (home / "said.log").read_text()
    return steps


def said(home: Path) -> str:
    return (home / "said.log").read_text()


@pytest.mark.skipif(os.name != "posix", reason="runs are forked")
@pytest.mark.parametrize("kind", some(MORE, [], slow_step=2))
def test_shards_merged_are_one_process(kind: str, server: Server, whole: Whole, tmp_path: Path) -> None:
    before, expected, table, steps = whole(kind)
    home = tmp_path / "run"
    copytree(before, home)
    computed: Counter[str] = Counter()
    for which in ("3/3", "1/3", "2/3"):
        code, found = shard(server, kind, home, which)
        assert code == 0
        computed += found
    again, found = shard(server, kind, home, "1/3")
    assert again == 0 and not {s: n for s, n in found.items() if s in COMPUTED}, "run twice, it computes nothing"
    ended = merge(server, home, "parts")
    assert not any(ended[step] for step in COMPUTED), ended
    assert numbers(home) == expected
    assert pairs(home) == table
    for step in ("sweep", "fit", "training", "circuits", "constants", "gradients"):
        assert computed[step] == steps[step], step
    if kind == "circuits":
        for out, there in (
            ("second", True),
            ("third", False),
        ):  # the cache is that of the merge, which has nothing of them
            _, found = server.run(["run", *MORE[kind], "--out", out], home)
            assert all(bool(found[step]) == there for step in ("circuits", "constants", "gradients")), found


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL")
@pytest.mark.parametrize(
    ("kind", "step", "count"),
    [
        pytest.param("blocks", "sweep", 2, marks=pytest.mark.slow),
        pytest.param("blocks", "part", 5, marks=pytest.mark.nightly),
        pytest.param("fits", "fit step", 1, marks=pytest.mark.slow),
        pytest.param("fits", "fit", 1, marks=pytest.mark.nightly),
        pytest.param("training", "part", 3, marks=pytest.mark.nightly),
    ],
)
def test_a_shard_that_is_killed_goes_on(
    kind: str, step: str, count: int, server: Server, whole: Whole, tmp_path: Path
) -> None:
    before, expected, table, steps = whole(kind)
    home = tmp_path / "run"
    copytree(before, home)
    code, first = server.run(["run", *MORE[kind], "--shard", "1/2", "--out", "parts"], home, step, count)
    assert code == -9 and first[step] == count
    code, second = server.run(["run", *MORE[kind], "--shard", "1/2", "--out", "parts"], home)
    assert code == 0
    code, third = server.run(["run", *MORE[kind], "--shard", "2/2", "--out", "parts"], home)
    assert code == 0
    for once in ("sweep", "fit", "training"):
        assert first[once] + second[once] + third[once] == steps[once], once
    merge(server, home, "parts")
    assert numbers(home) == expected and pairs(home) == table
    assert not list((home / "parts").rglob(f"{PART}*")), "what was half written is gone"


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="runs are forked")
def test_shards_in_folders_of_their_own_and_one_that_is_missing(server: Server, whole: Whole, tmp_path: Path) -> None:
    before, expected, table, _ = whole("blocks")
    home = tmp_path / "run"
    copytree(before, home)
    assert shard(server, "blocks", home, "2/2", "second")[0] == 0
    code, _ = server.run(["merge", "second", "--out", "out", "--trust"], home)
    told = said(home)
    assert code == 2 and "E904" in told and "shard 1/2: block" in told and "--shard 1/2" in told
    assert not (home / "out" / "s" / "results.json").exists(), "a part of the work has no scores"
    assert shard(server, "blocks", home, "1/2", "first")[0] == 0
    ended = merge(server, home, "second", "first")
    assert not any(ended[step] for step in COMPUTED)
    assert numbers(home) == expected and pairs(home) == table
    victim = sorted((home / "first").rglob("step*.npz"))[0]
    victim.write_bytes(victim.read_bytes()[:-9])
    shutil.rmtree(home / "out")
    code, _ = server.run(["merge", "second", "first", "--out", "out", "--trust"], home)
    assert code == 2 and "1 of" in said(home) and "is not as it was written" in said(home)
    code, found = server.run(["run", *MORE["blocks"], "--shard", "1/2", "--out", "first"], home)
    assert code == 0 and found["sweep"] == 1, "of the damaged shard one block is run again"
    assert not any(merge(server, home, "first", "second")[step] for step in COMPUTED)
    assert numbers(home) == expected and pairs(home) == table


@pytest.mark.slow
@pytest.mark.thinned(slow=2)
@pytest.mark.skipif(os.name != "posix", reason="runs are forked")
@pytest.mark.parametrize(
    ("change", "named"),
    [
        (["--seed", "7"], "seed was 0, and is 7"),
        (["--network", "net=model"], "`--network net="),
        (["--batch-memory", "2MB"], "`--batch-memory` was 1000000, and is 2000000"),
        (["--dtype", "float64"], '`--dtype` was not given, and is "float64"'),
        ("spec", "spec has another content"),
        ("weights", "weights has another content"),
        ("versions", "versions"),
    ],
)
def test_shards_of_another_run_are_refused(
    change: list[str] | str, named: str, server: Server, whole: Whole, tmp_path: Path
) -> None:
    home = tmp_path / "run"
    copytree(whole("blocks")[0], home)
    words = ["run", *MORE["blocks"], "--out", "parts"]
    assert server.run([*words, "--shard", "1/2"], home)[0] == 0
    if change == "spec":
        swap(home / "s.causal", "n=500, seed=0", "n=500, seed=5")
    if change == "weights":
        file = home / "model" / "model.safetensors"
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(bytes(data))
    assert server.run([*words, "--shard", "2/2", *(change if isinstance(change, list) else [])], home)[0] == 0
    if change == "versions":
        (manifest,) = (home / "parts" / "shard-2-of-2").rglob("shard.json")
        told = json.loads(manifest.read_text())
        told["versions"]["torch"] = "1.0"
        manifest.write_text(json.dumps(told))
        named = 'torch was "'
    code, _ = server.run(["merge", "parts", "--out", "out", "--trust"], home)
    assert code == 2 and "E903" in said(home) and named in said(home), said(home)
    assert not list((home / "out").rglob("results.json"))


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="runs are forked")
@pytest.mark.parametrize(
    "kind", ["training", *(pytest.param(kind, marks=pytest.mark.nightly) for kind in ("fits", "networks"))]
)
def test_merge_refuses_what_is_another_than_when_the_shards_ran(
    kind: str, server: Server, whole: Whole, tmp_path: Path
) -> None:
    home = tmp_path / "run"
    copytree(whole(kind)[0], home)
    assert shard(server, kind, home, "1/1")[0] == 0
    words = ["merge", "parts", "--out", "out", "--trust"]
    kept = {path: path.read_bytes() for path in home.rglob("*") if path.is_file() and "cache" not in path.parts}

    def refused(named: str) -> None:
        shutil.rmtree(home / "cache", ignore_errors=True)
        code, computed = server.run(words, home)
        told = said(home)
        assert code == 2 and "E903" in told and named in told and "W658" not in told, told
        assert not any(computed[step] for step in COMPUTED), computed
        assert not list((home / "out").rglob("results.json"))

    identity: Any = whole(kind)[1]["identity"]
    read = [home / name for name in identity["files"] if name.endswith((".safetensors", ".py"))]
    for weights in dict.fromkeys([*read, *sorted(home.glob("model*/model.safetensors"))]):
        data = kept[weights]
        weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if weights.suffix != ".py" else data + b"\n# another\n")
        refused("has another content")
        weights.write_bytes(data)
    (manifest,) = (home / "parts").rglob("shard.json")
    manifest.write_bytes(kept[manifest].replace(b'"torch": "', b'"torch": "0.'))
    refused('torch was "0.')
    manifest.write_bytes(kept[manifest])
    assert all(path.read_bytes() == data for path, data in kept.items() if "parts" in path.parts), "nothing is removed"
    assert not any(merge(server, home, "parts")[step] for step in COMPUTED)
    assert numbers(home) == whole(kind)[1]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="runs are forked")
def test_shards_of_a_spec_whose_weights_changed_keep_no_other_spec_from_being_scored(
    server: Server, whole: Whole, tmp_path: Path
) -> None:
    home = tmp_path / "run"
    copytree(whole("blocks")[0], home)
    copytree(home / "model", home / "other")
    (home / "a.causal").write_text((home / "s.causal").read_text().replace('hf("model")', 'hf("other")'))
    words = ["run", "a.causal", *MORE["blocks"], "--shard", "1/1", "--out", "parts"]
    assert server.run(words, home)[0] == 0, said(home)
    weights = home / "other" / "model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    code, computed = server.run(["merge", "parts", "--out", "out", "--trust"], home)
    assert code == 2 and said(home).count("[E903]") == 1, said(home)
    assert not any(computed[step] for step in COMPUTED) and not list((home / "out" / "a").rglob("results.json"))
    assert results(home, "s")["tests"] == whole("blocks")[1]["tests"]
    weights.write_bytes(data)
    lost = next((home / "parts").rglob("a/units/done/*"))
    kept = lost.read_bytes()
    lost.unlink()
    code, computed = server.run(["merge", "parts", "--out", "second", "--trust"], home)
    assert code == 2 and not any(computed[step] for step in COMPUTED)
    assert "units of a.causal are missing" in said(home) and (home / "second" / "s" / "results.json").is_file()
    lost.write_bytes(kept)
    assert server.run(["merge", "parts", "--out", "second", "--trust"], home)[0] in (0, 1), said(home)
    assert (home / "second" / "a" / "results.json").is_file()


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="runs are forked")
def test_plan_says_how_much_is_stored(
    server: Server, whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "run"
    copytree(whole("fits")[0], home)
    assert shard(server, "fits", home, "1/1")[0] == 0
    units = home / "parts" / "shard-1-of-1" / "s" / "units"
    fits, blocks = (sum(p.stat().st_size for p in (units / name).rglob("*.*")) for name in ("features", "blocks"))
    monkeypatch.chdir(home)
    assert main(["plan", *MORE["fits"], "--load", "--json", "--workers", "3"]) == 0
    said = json.loads(capsys.readouterr().out)["specs"][0]["units"]
    assert 0.6 <= said["bytes"] / (2 * (fits + blocks) + 3 * fits) <= 1.6, "each of three workers reads the fits once"


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="there are no limits of files")
def test_a_full_disk_ends_a_shard_and_loses_nothing(server: Server, whole: Whole, tmp_path: Path) -> None:
    before, expected, table, steps = whole("blocks")
    home = tmp_path / "run"
    copytree(before, home)
    words = ["run", *MORE["blocks"], "--shard", "1/1", "--out", "parts"]
    small = 9_000  # bytes: the notes fit, and blocks do not
    run = subprocess.run(
        [sys.executable, "-m", "causal_dsl.tools.cli", *words],
        cwd=home,
        env={**os.environ, "CAUSAL_DSL_CACHE": str(home / "cache"), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (small, small)),
        timeout=300,
    )
    assert run.returncode == 2 and "E708" in run.stdout + run.stderr, run.stderr
    code, found = server.run(words, home)
    assert code == 0 and found["sweep"] <= steps["sweep"]
    merge(server, home, "parts")
    assert numbers(home) == expected and pairs(home) == table


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="runs are forked")
def test_words_that_are_no_shard(server: Server, whole: Whole, tmp_path: Path) -> None:
    home = tmp_path / "run"
    copytree(whole("blocks")[0], home)
    for written in ("0/2", "3/2", "x", "1/", "1/2/3", "-1/2"):
        code, _ = server.run(["run", *MORE["blocks"], f"--shard={written}", "--out", "parts"], home)
        assert code == 2 and "E900" in said(home), written
    for more in (["--shard", "1/2"], ["--shard", "1/2", "--out", "parts", "--junit", "j.xml"]):
        assert server.run(["run", *MORE["blocks"], *more], home)[0] == 2 and "E901" in said(home)
    assert server.run(["merge", "model", "--out", "out"], home)[0] == 2 and "E902" in said(home)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="runs are forked")
def test_merge_replaces_no_results_of_another_run_unasked(server: Server, whole: Whole, tmp_path: Path) -> None:
    home = tmp_path / "run"
    copytree(whole("blocks")[0], home)
    words = ["run", *MORE["blocks"], "--shard", "1/1", "--out", "parts"]
    assert server.run(words, home)[0] == 0
    merge(server, home, "parts")
    merge(server, home, "parts")  # once more, which replaces nothing by something else
    first = numbers(home)
    (blocks,) = (home / "parts").rglob("units/blocks")
    assert len(list(blocks.iterdir())) == 1
    swap(home / "s.causal", "n=500, seed=0", "n=500, seed=5")
    assert server.run(words, home)[0] == 0
    assert "W658" in said(home) and len(list(blocks.iterdir())) == 1, "blocks of the run before went"
    for done in (blocks.parent / "done").glob("*.json"):
        for file in json.loads(done.read_text())["files"]:
            assert (blocks.parent / file).is_file()
    code, _ = server.run(["merge", "parts", "--out", "out", "--trust"], home)
    assert code == 2 and "E906" in said(home) and "spec has another content" in said(home), said(home)
    assert numbers(home) == first
    code, _ = server.run(["merge", "parts", "--out", "out", "--trust", "--replace"], home)
    assert code in (0, 1) and numbers(home) != first


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="runs are forked")
def test_a_merge_that_could_not_run_keeps_no_later_one_from_it(server: Server, whole: Whole, tmp_path: Path) -> None:
    before, expected, table, _ = whole("training")
    home = tmp_path / "run"
    copytree(before, home)
    assert server.run(["run", *MORE["training"], "--shard", "1/1", "--out", "parts"], home)[0] == 0
    code, _ = server.run(["merge", "parts", "--out", "out"], home)
    assert code == 2 and "E646" in said(home), said(home)
    assert not any(test["cells"] for test in json.loads((home / "out" / "v" / "results.json").read_text())["tests"])
    merge(server, home, "parts")
    assert numbers(home) == expected and pairs(home) == table


def test_torchrun_shares_out_the_work_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "s.causal"
    spec.write_text("causal m {\n  a ~ 0..3\n  output o := a\n}\n")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, told in (("0", True), ("1", False)):  # the first of all says it, and all end
        monkeypatch.setenv("RANK", rank)
        for more in (["--shard", "1/2", "--out", str(tmp_path / "o")], ["--workers", "2"], ["--cluster", "auto"]):
            assert main(["run", str(spec), *more]) == 2
            assert ("E948" in capsys.readouterr().err) == told, (rank, more)
