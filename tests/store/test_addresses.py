"""Results under an address, by fsspec: the same as in a folder, found again, whole or not there."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

import causal_dsl as cd
from causal_dsl.diagnostics import SpecError
from causal_dsl.store import mirror, stopping_points
from causal_dsl.store.addresses import Address, Unreachable
from causal_dsl.tools.cli import main
from tests.equality import relu

SPEC = relu(
    "left  @ layer[1].out[0:2]",
    "right @ layer[1].out[2:4]",
    tests="\ntest swap on halves {\n  base, source ~ equality(n=64, seed=0)\n  do(left <- source)\n  report iia\n}\n",
)


@pytest.fixture
def address() -> Iterator[str]:
    yield "memory://runs/here"
    files = fsspec.filesystem("memory")
    if files.exists("/runs"):
        files.rm("/runs", recursive=True)


@pytest.fixture
def spec(tmp_path: Path) -> str:
    (tmp_path / "swap.causal").write_text(SPEC)
    return "swap.causal"


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    heard: Counter[str] = Counter()
    monkeypatch.setattr(stopping_points, "reached", lambda kind: heard.update([kind]))
    return heard


def numbers(document: bytes) -> object:
    return [test["cells"] for test in json.loads(document)["tests"]]


@pytest.mark.slow
def test_results_under_an_address_are_those_of_a_folder_and_found_again(spec, address, steps, tmp_path, capsys) -> None:
    assert main(["run", spec, "--out", "kept"]) == 0
    assert main(["run", spec, "--out", address]) == 0
    there = Address(address)
    names = set(there.names())
    here = {p.relative_to("kept").as_posix() for p in Path("kept").rglob("*") if p.is_file() and p.name[0] != "."}
    assert names == here
    assert numbers(there.read("swap/results.json")) == numbers(Path("kept/swap/results.json").read_bytes())
    blocks = steps["sweep"]
    assert main(["run", spec, "--out", address]) == 0
    assert steps["sweep"] == blocks, "a block that is stored there was run again"
    assert "W6" not in capsys.readouterr().err
    assert not list((tmp_path / "cache").glob("out-*")), "what stood for it is gone"


@pytest.mark.slow
def test_a_run_that_is_stopped_leaves_what_it_finished(spec, address, monkeypatch, steps) -> None:
    def stop(kind: str) -> None:
        steps.update([kind])
        if kind == "sweep":
            raise KeyboardInterrupt

    monkeypatch.setattr(stopping_points, "reached", stop)
    assert main(["run", spec, "--out", address]) == 130
    assert any(name.startswith("swap/blocks/step") for name in Address(address).names())
    monkeypatch.setattr(stopping_points, "reached", lambda kind: steps.update([kind]))
    assert main(["run", spec, "--out", address]) == 0
    assert steps["sweep"] == 1


def test_what_is_written_is_put_there_while_the_run_goes_on(address, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(mirror, "EVERY", 0.01)
    with mirror.mirrored(address) as held:
        folder = held.folder
        (folder / "x").mkdir()
        (folder / "x" / "a.bin").write_bytes(b"one")
        until = time.monotonic() + 30
        while Address(address).read("x/a.bin") != b"one" and time.monotonic() < until:
            time.sleep(0.01)
        assert Address(address).read("x/a.bin") == b"one"
        (folder / "x" / "a.bin").unlink()
    assert Address(address).names() == {}


def test_another_run_there_is_refused_until_its_note_is_old(spec, address, capsys, monkeypatch) -> None:
    with mirror.mirrored(address):
        assert main(["run", spec, "--out", address]) == 2
        assert "E756" in capsys.readouterr().err
    with monkeypatch.context() as patched:
        patched.setattr(mirror.Address, "remove", lambda *_: None)  # it dies without a word
        with mirror.mirrored(address):
            pass
    monkeypatch.setattr(mirror, "STALE", 0.0)
    assert main(["run", spec, "--out", address]) == 0


@pytest.mark.parametrize(
    ("written", "words"), [("nowhere://x", "no store is known"), ("hdfs+x://x", "no store is known")]
)
def test_an_address_that_nobody_knows_is_refused(spec, written, words, capsys) -> None:
    assert main(["run", spec, "--out", written]) == 2
    told = capsys.readouterr().err
    assert "E915" in told and words in told


def test_a_package_that_is_missing_is_named(spec, monkeypatch, capsys) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    assert main(["run", spec, "--out", "s3://bucket/x"]) == 2
    assert "pip install s3fs" in capsys.readouterr().err


def test_a_store_that_fails_at_the_end_loses_no_number(spec, address, monkeypatch, capsys) -> None:
    put = MemoryFileSystem.pipe_file

    def full(self, path, data, **more):
        if path.endswith(".npz"):
            raise OSError(28, "No space left on device")
        return put(self, path, data, **more)

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", full)
    monkeypatch.setattr(mirror, "BETWEEN", 0.0)
    assert main(["run", spec, "--out", address]) == 2
    told = capsys.readouterr()
    assert "iia" in told.out and "E916" in told.err and "No space left" in told.err
    folder = Path(told.err.partition("what was computed is in `")[2].partition("`")[0])
    assert (folder / "swap" / "results.json").is_file()


def test_a_folder_may_be_written_as_an_address(spec) -> None:
    assert main(["run", spec, "--out", f"file://{Path.cwd()}/kept"]) == 0
    assert Path("kept/swap/results.json").is_file()


class Plain(LocalFileSystem):
    """A store that does not put files whole: what is read while a file is written is a part of it."""

    protocol = "plain"
    seen: list[str] = []  # noqa: RUF012 (fsspec makes its instances itself)

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(str(path).removeprefix("plain://"))

    def pipe_file(self, path, value, **more):
        self.seen.append(Path(path).name)
        super().pipe_file(path, value, **more)


def test_where_files_are_not_put_whole_they_are_moved_into_their_place(tmp_path) -> None:
    fsspec.register_implementation("plain", Plain, clobber=True)
    there = Address(f"plain://{tmp_path}/store")
    there.write("a/b.bin", b"one")
    there.write("a/b.bin", b"two")
    assert there.read("a/b.bin") == b"two" and set(there.names()) == {"a/b.bin"}
    assert Plain.seen and all(name.startswith(".causal-dsl-") for name in Plain.seen)
    assert there.read("a/none") is None
    there.remove("a/none")
    with pytest.raises(Unreachable, match=re.escape(str(tmp_path))):
        there.write("a/b.bin/c", b"a file is where its folder would be")


def test_the_python_api_takes_an_address(address) -> None:
    results = cd.run(cd.parse(SPEC), cd.Options(out=address))
    assert results.passed and "_text_/results.json" in Address(address).names()
    with pytest.raises(SpecError, match="E915"):
        cd.run(cd.parse(SPEC), cd.Options(out="nowhere://x"))
