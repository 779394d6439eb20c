"""Folders of results: one for each spec, held by one run, nothing of others replaced or removed; the kept spec runs where it lies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import causal_dsl as cd
from causal_dsl.diagnostics import Diagnostic, SpecError
from causal_dsl.store import out
from causal_dsl.store.documents import write_document
from causal_dsl.store.out import folder_of, opened
from tests.store.small import ROTATION, Ran, add_to, language, swap, vector
from tests.thinning import some

# ── folders ─────────────────────────────────────────────────────────────────────────────────────


def used(base: Path, spec: str) -> Path:
    with opened(base, spec) as held:
        held.write("results.json", spec.encode())
        return held.folder


def test_two_specs_of_one_name_have_a_folder_each_whoever_came_first(tmp_path: Path) -> None:
    one, two, three = (f"{folder}/s.causal" for folder in ("a", "b", "c"))
    base = tmp_path / "out"
    found = {spec: used(base, spec) for spec in (one, two, three)}
    assert len(set(found.values())) == 3 and found[one].name == "s"
    assert all(folder.name.startswith("s-") for folder in (found[two], found[three]))
    for spec in (three, one, two):
        assert folder_of(base, spec) == found[spec] == used(base, spec)
        assert (found[spec] / "results.json").read_text() == spec


def test_the_same_spec_from_another_working_directory_has_the_same_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = used(tmp_path / "out", "deep/s.causal")
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    assert used(Path("../out"), "s.causal").resolve() == first.resolve()


def test_odd_names_of_specs_stay_below_the_folder(tmp_path: Path) -> None:
    for name in (
        "<text>",
        "..causal",
        ".causal",
        "a b/ü ß.causal",
        "x" * 300 + ".causal",
        "é\udce9.causal",
        "..x.causal",
    ):
        assert folder_of(tmp_path, name).parent == tmp_path and folder_of(tmp_path, name).name.strip(".")


@pytest.mark.parametrize("there", ["folder", "file", "link"])
def test_what_is_not_ours_is_refused_and_left_alone(tmp_path: Path, there: str) -> None:
    home = tmp_path / "out" / "s"
    if there == "folder":
        (home / "blocks").mkdir(parents=True)
        (home / "blocks" / "thesis.txt").write_text("two years")
    elif there == "file":
        home.parent.mkdir()
        home.write_text("two years")
    else:
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "thesis.txt").write_text("two years")
        home.parent.mkdir()
        home.symlink_to(tmp_path / "elsewhere")
    before = sorted((p, p.is_file() and p.read_bytes()) for p in tmp_path.rglob("*"))
    with pytest.raises(SpecError) as caught, opened(tmp_path / "out", "s.causal"):
        pass
    assert caught.value.diagnostics[0].code == "E755"
    assert sorted((p, p.is_file() and p.read_bytes()) for p in tmp_path.rglob("*")) == before


def test_an_empty_folder_may_be_used(tmp_path: Path) -> None:
    (tmp_path / "out" / "s").mkdir(parents=True)
    assert used(tmp_path / "out", "s.causal") == tmp_path / "out" / "s"


def test_what_someone_else_put_in_the_place_of_a_file_is_set_aside(tmp_path: Path, told: list[Diagnostic]) -> None:
    folder = used(tmp_path, "s.causal")
    used(tmp_path, "s.causal")
    assert not told, "what we wrote is replaced"
    (folder / "results.json").write_text("my notes")
    used(tmp_path, "s.causal")
    assert [d.code for d in told] == ["W659"]
    assert (folder / "results.json.damaged").read_text() == "my notes"


@pytest.mark.parametrize(
    "marker", ["[]", "{}", "null", '{"spec": 3}', '{"spec": "../s.causal", "wrote": {}}', "", "[" * 100_000]
)
def test_a_folder_whose_marker_cannot_be_read_is_not_ours(tmp_path: Path, marker: str) -> None:
    folder = used(tmp_path, "s.causal")
    (folder / out.MARKER).write_text(marker)
    with pytest.raises(SpecError) as caught:
        used(tmp_path, "s.causal")
    (fault,) = caught.value.diagnostics
    assert fault.code == "E755" and f"`{out.MARKER}`" in fault.title and "damaged" in fault.title
    assert "no `" not in "".join(fault.notes), "the file is there"


def test_no_bit_of_a_marker_can_be_turned_over(tmp_path: Path) -> None:
    folder = used(tmp_path, "s.causal")
    whole = (folder / out.MARKER).read_bytes()
    for at in range(0, len(whole), 7):
        (folder / out.MARKER).write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(SpecError) as caught:
            used(tmp_path, "s.causal")
        assert caught.value.diagnostics[0].code == "E755", at
    (folder / out.MARKER).write_bytes(whole)
    assert used(tmp_path, "s.causal") == folder


def _put(path: Path, kind: str) -> None:
    """Something that is not a file of ours in the place of one."""
    if path.is_dir() and not path.is_symlink():
        path.rename(path.with_name(path.name + "-before"))
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "nowhere":
        path.symlink_to("nothing-is-here")
    elif kind == "link to a file":
        path.with_name("mine").write_text("mine")
        path.symlink_to("mine")
    else:
        path.mkdir()


@pytest.mark.slow
@pytest.mark.parametrize("kind", some(["pipe", "device", "nowhere", "link to a file", "folder"], ["link to a file"]))
def test_what_is_no_file_in_the_place_of_one(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused or set aside, whatever it is: nothing waits for its end, and the numbers are the same."""
    spec = vector(tmp_path)
    before = Ran(spec, monkeypatch, out=tmp_path / "out")
    home = tmp_path / "out" / "v"
    block = next((home / "blocks").glob("step*.npz"))
    names = ["blocks/run.json", f"blocks/{block.name}", "results.json", "pairs.parquet", "spec.causal"]
    names += ["blocks", "features"] * (kind != "folder")
    for name in names:
        _put(home / name, kind)
        again = Ran(spec, monkeypatch, out=tmp_path / "out")
        assert again.numbers == before.numbers, name
        if not (kind == "nowhere" and name.startswith("blocks/")):  # as if nothing were there
            assert "W659" in again.codes, name
    whole = (home / out.MARKER).read_bytes()
    _put(home / out.MARKER, kind)
    with pytest.raises(SpecError) as caught:
        Ran(spec, monkeypatch, out=tmp_path / "out")
    assert [d.code for d in caught.value.diagnostics] == ["E755"]
    assert whole


@pytest.mark.thinned(always=2, values=True, slow=2)
@pytest.mark.parametrize("kind", ["nowhere", "link to a file", "folder"])
def test_what_is_no_file_in_the_place_of_the_lock(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = vector(tmp_path)
    Ran(spec, monkeypatch, out=tmp_path / "out")
    _put(tmp_path / "out" / "v" / ".lock", kind)
    with pytest.raises(SpecError) as caught:
        Ran(spec, monkeypatch, out=tmp_path / "out")
    (told,) = caught.value.diagnostics
    assert told.code == "E708" and "`.lock`" in told.notes[0]


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("name", ["results.json", "pairs.parquet", "spec.causal", "source/v.causal"])
def test_damaged_results_are_told(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = vector(tmp_path)
    Ran(spec, monkeypatch, out=tmp_path / "out")
    path = tmp_path / "out" / "v" / name
    path.write_text("my notes")
    again = Ran(spec, monkeypatch, out=tmp_path / "out")
    (told,) = [d for d in again.spec.warnings if d.code == "W659"]
    assert f"`{name}`" in told.title and path.with_name(path.name + ".damaged").read_text() == "my notes"


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("kind", ["my notes", "", "folder"])
def test_a_fit_in_the_results_that_is_another_is_set_aside(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = vector(tmp_path, ROTATION)
    before = Ran(spec, monkeypatch, out=tmp_path / "out")
    path = sorted((tmp_path / "out" / "v" / "features").iterdir())[0]
    whole = path.read_bytes()
    path.unlink()
    path.mkdir() if kind == "folder" else path.write_text(kind)
    again = Ran(spec, monkeypatch, out=tmp_path / "out")
    assert again.numbers == before.numbers and again.codes.count("W659") == 1
    assert path.read_bytes() == whole and path.with_name(path.name + ".damaged").exists()
    assert "W659" not in Ran(spec, monkeypatch, out=tmp_path / "out").codes


@pytest.mark.parametrize("wrote", ["3", '{"results.json": 1}', '{"results.json": [1]}', "{}"])
def test_a_marker_that_does_not_say_what_we_wrote_lets_nothing_be_replaced(
    tmp_path: Path, told: list[Diagnostic], wrote: str
) -> None:
    folder = used(tmp_path / "out", "s.causal")
    write_document(folder / out.MARKER, {"spec": "../s.causal", "wrote": json.loads(wrote)})
    assert used(tmp_path / "out", "./s.causal") == folder
    assert (folder / "results.json.damaged").read_text() == "s.causal" and [d.code for d in told] == ["W659"]


def test_a_run_that_is_second_says_who_is_first(tmp_path: Path) -> None:
    """Held by another process; when that is killed, the folder is free."""
    script = (
        "import sys, time; from pathlib import Path; from causal_dsl.store.out import opened\n"
        "with opened(Path('out'), 's.causal'):\n  print('in', flush=True); time.sleep(60)\n"
    )
    other = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None and other.stdout.readline() == "in\n"
    with pytest.raises(SpecError) as caught, opened(Path("out"), "s.causal"):
        pass
    (found,) = caught.value.diagnostics
    assert found.code == "E756" and f"process {other.pid} on" in found.notes[0]
    other.kill()
    other.wait()
    with opened(Path("out"), "s.causal"):
        pass


# ── runs ────────────────────────────────────────────────────────────────────────────────────────


def test_foreign_files_stay_whatever_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = vector(tmp_path / "p")
    Ran(spec, monkeypatch, out=tmp_path / "out")
    blocks = tmp_path / "out" / "v" / "blocks"
    names = ("thesis.txt", "step0-of-my-plan.npz", "step1.safetensors", "sub/step2.npz")
    (blocks / "sub").mkdir()
    for name in names:
        (blocks / name).write_text("mine")
    Ran(spec, monkeypatch, out=tmp_path / "out", seed=1)
    assert {(blocks / name).read_text() for name in names} == {"mine"}


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize(
    "text",
    [
        '{"identity": {"files": [1]}, "tests": [1]}',
        *(
            pytest.param(text, marks=pytest.mark.slow)
            for text in (
                "[]",
                "[" * 100_000,
                '{"identity": 3, "tests": []}',
                '{"identity": {"spec": 1}, "tests": [3]}',
                '{"identity": {"spec": 1}, "tests": [{"name": [1]}]}',
                '{"identity": {"files": {"..": 3}}, "tests": [{}]}',
            )
        ),
    ],
)
def test_damaged_results_of_an_earlier_run_are_no_reason_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    spec = vector(tmp_path)
    before = Ran(spec, monkeypatch, out=tmp_path / "out")
    (tmp_path / "out" / "v" / "results.json").write_text(text)
    again = Ran(spec, monkeypatch, out=tmp_path / "out")
    assert again.numbers == before.numbers and "W659" in again.codes


@pytest.mark.parametrize("text", ["[]", "", "null", '{"inputs": {}, "cut": [], "halved": []}'])
def test_a_damaged_list_of_blocks_costs_time_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    spec = vector(tmp_path / "p")
    first = Ran(spec, monkeypatch, out=tmp_path / "out")
    (tmp_path / "out" / "v" / "blocks" / "run.json").write_text(text)
    again = Ran(spec, monkeypatch, out=tmp_path / "out")
    assert again.numbers == first.numbers and "W659" in again.codes and again.steps["sweep"] == first.steps["sweep"]


@pytest.mark.slow
def test_a_block_with_ten_bytes_turned_over_is_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = language(tmp_path / "p")
    first = Ran(spec, monkeypatch, out=tmp_path / "out", memory=60_000)
    blocks = sorted((tmp_path / "out" / "s" / "blocks").glob("step*.npz"))
    assert len(blocks) == first.steps["sweep"] > 2
    data = bytearray(blocks[1].read_bytes())
    data[-200:-190] = bytes(byte ^ 0x55 for byte in data[-200:-190])
    blocks[1].write_bytes(bytes(data))
    again = Ran(spec, monkeypatch, out=tmp_path / "out", memory=60_000)
    assert again.numbers == first.numbers and again.steps["sweep"] == 1 and again.codes.count("W659") == 1


@pytest.mark.slow
def test_the_kept_spec_is_run_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what it imports and reads as it was then, whatever became of the originals."""
    language(tmp_path / "p" / "deep" / "one")
    spec = tmp_path / "p" / "deep" / "one" / "s.causal"
    (tmp_path / "p" / "deep" / "one" / "likes.csv").rename(tmp_path / "p" / "deep" / "likes.csv")
    (tmp_path / "p" / "deep" / "one" / "model").rename(tmp_path / "p" / "model")
    swap(spec, '"likes.csv"', '"../likes.csv"')
    swap(spec, 'hf("model")', 'hf("../../model")')
    first = Ran(spec, monkeypatch, out=tmp_path / "out")
    kept = tmp_path / "out" / "s" / "spec.causal"
    assert kept.read_text() == spec.read_text()
    add_to(spec.parent / "steer.safetensors", "v", 0, 9.0)
    (tmp_path / "p" / "deep" / "likes.csv").unlink()
    for name in ("lib/names.txt", "lib/roles.causal", "code/pick.py", "s.causal"):
        (spec.parent / name).unlink()
    again = Ran(kept, monkeypatch, out=tmp_path / "elsewhere")
    assert again.numbers == first.numbers
    (tmp_path / "moved").mkdir()
    (tmp_path / "out").rename(tmp_path / "moved" / "out")
    (tmp_path / "p").rename(tmp_path / "moved" / "p")
    assert Ran(tmp_path / "moved" / "out" / "s" / "spec.causal", monkeypatch).numbers == first.numbers


def test_nothing_is_written_through_a_link(tmp_path: Path, told: list[Diagnostic]) -> None:
    """Where a network was linked before, a file is kept now; and where someone else put a link."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.txt").write_text("mine")
    with opened(tmp_path / "out", "s.causal") as held:
        held.link("source/data", tmp_path / "mine")
        (held.folder / "features").symlink_to(tmp_path / "mine")
        held.write("source/data/a.txt", b"theirs")
        held.write("features/a.txt", b"theirs")
        assert (held.folder / "source" / "data" / "a.txt").read_bytes() == b"theirs"
    assert [p.read_text() for p in (tmp_path / "mine").iterdir()] == ["mine"] and [d.code for d in told] == ["W659"]


def test_an_edited_kept_spec_is_what_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Ran(vector(tmp_path / "p"), monkeypatch, out=tmp_path / "out")
    kept = tmp_path / "out" / "v" / "spec.causal"
    swap(kept, "n=16", "n=12")
    assert Ran(kept, monkeypatch).spec.tests[0].n == 12


@pytest.mark.slow
def test_a_network_that_is_gone_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = language(tmp_path / "p")
    Ran(spec, monkeypatch, out=tmp_path / "out")
    (tmp_path / "p" / "model").rename(tmp_path / "p" / "else")
    with pytest.raises(SpecError) as caught:
        cd.run(cd.load(tmp_path / "out" / "s" / "spec.causal"), cd.Options(trust=True))
    assert caught.value.diagnostics[0].code in ("E630", "E634")


def test_results_of_another_schema_or_command_are_told_apart(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from causal_dsl.tools.cli import main

    spec = vector(tmp_path / "p")
    words = ["run", str(spec), "--trust", "--json", "--out", str(tmp_path / "out"), "--seed", "3"]
    assert main(words) == 0
    printed = json.loads(capfd.readouterr().out)
    assert printed["schema"] == 2 and printed["specs"][0]["identity"]["command"] == ["causal-dsl", *words]
    stored = json.loads((tmp_path / "out" / "v" / "results.json").read_text())
    assert stored["identity"] == printed["specs"][0]["identity"] and stored["identity"]["seed"] == 3
    assert oct(os.stat(tmp_path / "out" / "v" / "results.json").st_mode & 0o777) == oct(0o666 & ~umask())


def umask() -> int:
    now = os.umask(0)
    os.umask(now)
    return now
