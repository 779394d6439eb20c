"""Files that would be read whole are refused before they are read, and names that can be no file's have a diagnostic."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from causal_dsl import api
from causal_dsl.diagnostics import SpecError
from causal_dsl.store import reads
from tests.store.small import language, swap, vector


def codes(spec: Path) -> list[str]:
    """The codes of the errors that `check` tells."""
    try:
        return [d.code for d in api.check(api.load(spec), api.Options()).errors]
    except SpecError as error:
        return [d.code for d in error.diagnostics]


def sparse(path: Path, size: int = 10**11) -> None:
    with path.open("wb") as file:
        file.truncate(size)


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return language(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "generation_config.json",
        "tokenizer_config.json",
        "tokenizer.json",
        "vocab.json",
        "merges.txt",
        "special_tokens_map.json",
        "chat_template.jinja",
        "model.safetensors.index.json",
        "anything.json",
    ],
)
def test_a_huge_file_of_a_checkpoint(spec: Path, name: str) -> None:
    path = spec.parent / "model" / name
    before = path.read_bytes() if path.exists() else None
    try:
        sparse(path)
        assert codes(spec) == ["E225"]
    finally:
        path.unlink() if before is None else path.write_bytes(before)
    assert codes(spec) == []


def test_no_reader_takes_what_has_no_end(tmp_path: Path) -> None:
    sparse(tmp_path / "huge.json")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "huge.json", tmp_path / "pipe", Path("/dev/zero")):
        for read in (reads.read_bytes, reads.read_text):
            with pytest.raises(OSError, match=r"too large|no end"):
                read(path)


PLACES = {'vector("steer.safetensors")': "E688", 'sae("sae",': "E721", 'subspace("directions.safetensors",': "E721"}


@pytest.mark.parametrize("written", [*PLACES, "file"])
@pytest.mark.parametrize(
    "name", ["x" * 5000, "x" * 300 + "/y", "", "a\0b"], ids=["long", "long folder", "empty", "nul"]
)
def test_a_name_that_no_file_can_have(tmp_path: Path, spec: Path, written: str, name: str) -> None:
    text = spec.read_text()
    if written == "file":
        new = text.replace("layer[l].resid_post[a]", f'layer[l].resid_post[a] via rotation(dim=2, file="{name}")')
    else:
        head = written.partition('"')[0]
        new = text.replace(written, f'{head}"{name}"' + written[written.rindex('"') + 1 :])
    assert new != text
    other = spec.with_name("other.causal")
    other.write_text(new)
    found = codes(other)
    assert found and "E799" not in found
    if "\0" not in name:
        assert found[0] == PLACES.get(written, "E729")


def test_code_that_is_not_there_is_told_at_check(tmp_path: Path) -> None:
    spec = vector(tmp_path)
    assert codes(spec) == []
    swap(spec, "net.py:build", "nothere.py:build")
    assert codes(spec) == ["E637"]


def test_a_pipe_is_called_a_pipe(tmp_path: Path, spec: Path) -> None:
    os.mkfifo(tmp_path / "s.causal")
    with pytest.raises(SpecError, match="it is a pipe"):
        api.load(tmp_path / "s.causal")
    pipe = spec.parent / "model" / "extra.json"
    os.mkfifo(pipe)
    try:
        checked = api.check(api.load(spec), api.Options())
    finally:
        pipe.unlink()
    (error,) = checked.errors
    assert error.code == "E613" and error.notes == ("it is a pipe, or leads to one",)
