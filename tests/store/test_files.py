"""Files, tensors, documents and hashes: whole, of the user's permissions, and never taken when they are not as written."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from causal_dsl.diagnostics import Diagnostic
from causal_dsl.store import files, hashes, notices, stopping_points
from causal_dsl.store.documents import take_document, write_document
from causal_dsl.store.files import CannotWrite, clear_parts, replacing, write_atomic
from causal_dsl.store.tensors import (
    Damaged,
    load_arrays,
    load_tensors,
    take_arrays,
    take_tensors,
    write_arrays,
    write_tensors,
)

KEY = "the key of what it was computed from"


# ── files ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_files_get_what_the_umask_leaves(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_atomic(tmp_path / "a", b"1")
        write_arrays(tmp_path / "b", {"x": np.zeros(2)}, {}, KEY)
    finally:
        os.umask(before)
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in "ab"} == {0o666 & ~umask}


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt()])
def test_what_was_there_stays_when_writing_fails(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a"
    write_atomic(path, b"before")
    with pytest.raises(type(error)), replacing(path) as part:
        part.write_bytes(b"half")
        raise error
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a", b"before")]


def test_what_cannot_be_written_is_one_error_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "none" / "a", tmp_path / "file" / "a"):
        with pytest.raises(CannotWrite) as caught:
            write_atomic(path, b"")
        assert caught.value.path == path and caught.value.strerror


def test_what_dead_processes_left_is_removed_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(kind: str) -> None:
        raise SystemError(kind)  # nothing that is caught on the way removes the file

    monkeypatch.setattr(files, "remove", lambda path: None)
    monkeypatch.setattr(stopping_points, "reached", killed)
    with pytest.raises(SystemError):
        write_atomic(tmp_path / "a", b"1")
    monkeypatch.undo()
    (tmp_path / ".other.tmp").write_text("")
    clear_parts(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2, "another process may be writing it"
    clear_parts(tmp_path, every=True)
    assert [p.name for p in tmp_path.iterdir()] == [".other.tmp"]


# ── tensors ─────────────────────────────────────────────────────────────────────────────────────

TENSORS = {
    "a": torch.arange(6.0).reshape(2, 3),
    "b": torch.tensor(True),
    "half": torch.ones(3, dtype=torch.bfloat16),
    "none": torch.zeros(0, 4),
    "c": torch.arange(3),
}


def test_tensors_come_back_as_they_were_and_any_library_reads_them(tmp_path: Path) -> None:
    write_tensors(tmp_path / "t", TENSORS, {"steps": 3, "losses": [0.5]}, KEY)
    found, about = load_tensors(tmp_path / "t")
    assert about == {"steps": 3, "losses": [0.5]} and found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor)
    assert torch.equal(load_file(tmp_path / "t")["a"], TENSORS["a"])
    first = (tmp_path / "t").read_bytes()
    write_tensors(tmp_path / "t", dict(reversed(TENSORS.items())), {"losses": [0.5], "steps": 3}, KEY)
    assert (tmp_path / "t").read_bytes() == first


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    arrays = {"i": np.arange(4), "f": np.array([np.nan, -0.0, 1e300]), "b": np.array([[True], [False]])}
    write_arrays(tmp_path / "t", arrays, {}, KEY)
    found, _ = load_arrays(tmp_path / "t")
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype and found[name].tobytes() == array.tobytes()


def test_no_byte_can_be_changed_unseen(tmp_path: Path) -> None:
    """Every byte of a file turned over, one after another: it is refused, or says what it said."""
    path = tmp_path / "t"
    write_tensors(path, {"a": TENSORS["a"]}, {"k": 1}, KEY)
    whole = path.read_bytes()
    refused = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x20]) + whole[place + 1 :])
        try:
            found, about = load_tensors(path)
        except Damaged:
            refused += 1
        else:
            assert torch.equal(found["a"], TENSORS["a"]) and about == {"k": 1}
    assert refused > 0.9 * len(whole)


def test_no_byte_of_arrays_can_be_changed_unseen(tmp_path: Path) -> None:
    path = tmp_path / "t.npz"
    write_arrays(path, {"a/b": np.arange(5.0)}, {"k": 1}, KEY)
    whole = path.read_bytes()
    refused = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x20]) + whole[place + 1 :])
        try:
            found, about = load_arrays(path)
        except Damaged:
            refused += 1
        else:
            assert found["a/b"].tobytes() == np.arange(5.0).tobytes() and about == {"k": 1}
    assert refused > 0.4 * len(whole), "much of an archive is said twice, or is of no use"


@pytest.mark.parametrize("damage", [b"", b"short", bytes(100), None])
def test_a_damaged_file_is_set_aside_and_told_of(tmp_path: Path, told: list[Diagnostic], damage: bytes | None) -> None:
    path = tmp_path / "t"
    write_tensors(path, TENSORS, {}, KEY)
    bad = path.read_bytes()[:-3] if damage is None else damage
    for number in (1, 2):
        path.write_bytes(bad)
        assert take_tensors(path, "a thing", KEY) is None
        assert not path.exists() and len(told) == number
    assert {p.read_bytes() for p in tmp_path.glob("t.damaged*")} == {bad} and len(list(tmp_path.glob("t.*"))) == 2
    assert told[0].code == "W659" and told[0].title.startswith("a thing cannot be used and is made again")
    assert take_tensors(path, "a thing", KEY) is None and len(told) == 2, "what is not there is not damaged"


def test_a_safetensors_file_of_another_program_is_not_taken(tmp_path: Path, told: list[Diagnostic]) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, tmp_path / "t")
    assert take_tensors(tmp_path / "t", "a thing", KEY) is None and told[0].notes[0].startswith(
        "something else wrote it"
    )


@pytest.mark.parametrize("text", ["[]", "", "null", "{}", '{"a": 1}', "\x00", "[" * 100_000])
def test_documents_that_are_not_as_written_are_set_aside(tmp_path: Path, told: list[Diagnostic], text: str) -> None:
    path = tmp_path / "d.json"
    write_document(path, {"a": [1, 2.5, "ü"], "b": None})
    assert take_document(path, "it", lambda found: True) == {"a": [1, 2.5, "ü"], "b": None}
    whole = path.read_text()
    path.write_text(text)
    assert take_document(path, "it", lambda found: True) is None
    path.write_text(whole.replace("2.5", "2.6"))
    assert take_document(path, "it", lambda found: True) is None
    path.write_text(whole)
    assert take_document(path, "it", lambda found: "c" in found) is None
    assert [d.code for d in told] == ["W659"] * 3


# ── hashes ──────────────────────────────────────────────────────────────────────────────────────


def large(path: Path, last: bytes = b"\0") -> Path:
    path.write_bytes(bytes(2 << 20) + last)
    settled(path)
    return path


def settled(path: Path) -> None:
    """The file as if it had been there for an hour: its hash is remembered then."""
    before = time.time() - 3600
    os.utime(path, (before, before))


def test_a_hash_is_computed_once_and_anew_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = []
    plain = hashes.hashlib.file_digest
    monkeypatch.setattr(hashes.hashlib, "file_digest", lambda *a: computed.append(1) or plain(*a))
    monkeypatch.setattr(hashes, "SETTLED", -1.0)  # the change time of a file cannot be set back
    path = large(tmp_path / "w")
    first = hashes.of_file(path)
    assert hashes.of_file(path) == first and len(computed) == 1
    with hashes.rehashing(True):
        hashes.of_file(path)
    monkeypatch.setenv("CAUSAL_DSL_REHASH", "1")
    hashes.of_file(path)
    assert len(computed) == 3
    monkeypatch.setenv("CAUSAL_DSL_REHASH", "0")
    for memory in (tmp_path / "cache" / "hashes").iterdir():
        memory.write_text("[]")
    assert hashes.of_file(path) == first and len(computed) == 4


def test_another_content_of_the_same_size_and_time_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashes, "SETTLED", -1.0)
    path = large(tmp_path / "w")
    first = hashes.of_file(path)
    about = path.stat()
    with path.open("r+b") as file:
        file.write(b"1")
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert hashes.of_file(path) != first
    other = large(tmp_path / "v", b"\1")
    os.replace(other, path)
    assert hashes.of_file(path) != first


def test_what_was_just_written_is_not_remembered(tmp_path: Path) -> None:
    """A file written twice within a tick of its file system's clock has the same times for both contents."""
    hashes.of_file(large(tmp_path / "w"))
    assert not list((tmp_path / "cache").glob("hashes/*"))


def test_a_cache_that_cannot_be_written_costs_time_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashes, "SETTLED", -1.0)
    (tmp_path / "cache").write_text("a file where the folder should be")
    path = large(tmp_path / "w")
    assert hashes.of_file(path) == hashes.of_bytes(path.read_bytes())


def test_the_memory_names_what_it_remembers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashes, "SETTLED", -1.0)
    hashes.of_file(large(tmp_path / "w"))
    (memory,) = (tmp_path / "cache" / "hashes").iterdir()
    assert json.loads(memory.read_text())["path"] == str(tmp_path / "w")


@pytest.mark.parametrize("write", [write_tensors, write_arrays])
def test_a_whole_file_of_something_else_is_not_taken(tmp_path: Path, write: Any) -> None:
    path, take = tmp_path / "t", take_tensors if write is write_tensors else take_arrays
    content = TENSORS if write is write_tensors else {"a": np.arange(3.0)}
    write(path, content, {"k": 1}, "another key")
    with notices.collecting() as told:
        assert take(path, "a thing", KEY) is None
    assert [one.code for one in told] == ["W659"] and "another run" in told[0].notes[0] and not path.exists()
    write(path, content, {"k": 1}, KEY)
    found = take(path, "a thing", KEY)
    assert found is not None and found[0].keys() == content.keys() and found[1] == {"k": 1}
