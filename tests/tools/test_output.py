"""A run is never lost to how it is printed, and nothing that a person names gets to a terminal as it is."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import pytest

from causal_dsl.tools.cli import main
from tests.equality import relu

ROOT = Path(__file__).parents[2]
SPEC = """
domain Shape = {"arrow", "circle"}
causal m {
  a, b, c, d ~ Shape
  left := a == b
  output same := left == (c == d)
}
network net = zoo("equality-gpt2")
align al : m -> net {
  prompt "{a} {b} {c} {d} ="
  left @ layer[0].resid_post[b]
  same @ next_token
}
test holds on al {
  base, source ~ m(n=16)
  do(left <- source)
  expect iia >= BOUND
}
"""


#: The same on a network of vectors: a process that runs it imports no transformers, which takes longer than all else.
VECTORS = relu(
    "left @ layer[1].out[0:2]",
    tests="\ntest holds on halves {\n  base, source ~ equality(n=16)\n  do(left <- source)\n  expect iia >= BOUND\n}\n",
)


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    path = tmp_path / "v.causal"
    path.write_text(VECTORS.replace("BOUND", "90%"))
    return path


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "s.causal"
    path.write_text(SPEC.replace("BOUND", "90%"))
    return path


def tool(words: list[str], shell: str = "", **more: object) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own; ``shell``: what a shell adds behind it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more.pop("env", {})}  # type: ignore[dict-item]
    command = " ".join([sys.executable, "-m", "causal_dsl.tools.cli", *words, shell])
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment, **more)  # type: ignore[call-overload]


def results_in(text: str) -> Path:
    """The file that a message says the results are in."""
    return Path(next(word for word in text.split() if word.endswith(".json")))


@pytest.mark.slow
def test_a_full_standard_output_loses_nothing(vectors: Path) -> None:
    done = tool(["run", str(vectors), "--json"], "> /dev/full")
    assert done.returncode == 2
    assert "E765" in done.stderr
    kept = results_in(done.stderr)
    assert json.loads(kept.read_text())["specs"][0]["tests"][0]["name"] == "holds"
    kept.unlink()


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(
            words.split(), marks=pytest.mark.slow if words in ("check", "plan --json") else pytest.mark.nightly
        )
        for words in ("check", "check --json", "plan", "plan --mermaid", "plan --json")
    ],
)
def test_a_full_standard_output_is_told_of_by_each_command(words: list[str], spec: Path) -> None:
    done = tool([*words, str(spec)], "> /dev/full")
    assert done.returncode == 2
    assert "E765" in done.stderr and "E799" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a file that is always full")
@pytest.mark.parametrize("words", ["--version", "--help", "run --help", "zoo --help", "explain E201"])
def test_texts_about_the_command_that_are_lost_are_told_of(
    words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open("/dev/full", "w") as full, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", full)
        assert main(words.split()) == 2
    told = capsys.readouterr().err
    assert told.startswith("error[E765]") and "Traceback" not in told


@pytest.mark.parametrize("words", ["--version", "--help", "run --help"])
@pytest.mark.slow
def test_texts_about_the_command_without_a_standard_output(words: str) -> None:
    done = tool(words.split(), ">&-")
    assert done.returncode == 2 and "E765" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("words", ["--version", "--help"])
def test_texts_about_the_command_that_are_printed_end_with_0(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([words])
    printed = capsys.readouterr()
    assert ended.value.code == 0 and "causal-dsl" in printed.out and not printed.err


@pytest.mark.nightly
def test_a_full_standard_output_with_out(vectors: Path, tmp_path: Path) -> None:
    done = tool(["run", str(vectors), "--out", str(tmp_path / "kept")], "> /dev/full")
    assert done.returncode == 2
    assert "E765" in done.stderr and "kept" in done.stderr
    assert list((tmp_path / "kept").rglob("results.json"))


@pytest.mark.parametrize(
    ("closed", "code"),
    [
        pytest.param(*case, marks=pytest.mark.slow if case == (">&-", 1) else pytest.mark.nightly)
        for case in product([">&-", "2>&-", ">&- 2>&- <&-"], [0, 1])
    ],
)
def test_closed_streams_lose_nothing(closed: str, code: int, vectors: Path, tmp_path: Path) -> None:
    if code:
        vectors.write_text(VECTORS.replace("expect iia >= BOUND", "expect accuracy <= 1%"))
    done = tool(["run", str(vectors), "--out", str(tmp_path / "kept")], closed)
    assert done.returncode == (2 if ">&-" in closed.split(" ")[0] and closed[0] == ">" else code)
    assert "E765" in done.stderr or closed != ">&-"
    written = next((tmp_path / "kept").rglob("results.json")).read_text()
    assert json.loads(written), "nothing that was printed got into a file"


@pytest.mark.slow
def test_a_reader_that_goes_keeps_the_exit_code(vectors: Path) -> None:
    vectors.write_text(VECTORS.replace("expect iia >= BOUND", "expect accuracy <= 1%"))
    done = tool(["run", str(vectors)], "| true; exit ${PIPESTATUS[0]}")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


ENCODINGS = ["ascii", "latin-1", "cp1252"]


@pytest.mark.parametrize(
    "encoding",
    [pytest.param(e, marks=pytest.mark.slow if e == "ascii" else pytest.mark.nightly) for e in ENCODINGS],
)
def test_another_encoding_of_a_process(encoding: str, spec: Path) -> None:
    spec.write_text(SPEC.replace("BOUND", "90%").replace("arrow", "каша 🜁"))
    for words in (["check", str(spec)], ["check", str(spec), "--json"], ["plan", str(spec)]):
        done = tool(words, env={"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"})
        assert "E799" not in done.stdout + done.stderr and "Traceback" not in done.stderr
        if "--json" in words:
            assert json.loads(done.stdout)["specs"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_another_encoding(encoding: str, spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from causal_dsl.tools.cli import main

    spec.write_text(SPEC.replace("BOUND", "90%").replace("arrow", "каша 🜁"))
    for words in (["check", str(spec)], ["check", str(spec), "--json"], ["plan", str(spec)]):
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True) for _ in range(2))
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        main(words)
        printed, told = (stream.buffer.getvalue().decode(stream.encoding) for stream in (out, err))
        assert printed + told and "E799" not in printed + told and "Traceback" not in told
        if "--json" in words:
            assert json.loads(printed)["specs"]


@pytest.mark.slow
def test_halves_of_characters_in_json(spec: Path) -> None:
    spec.write_bytes(SPEC.replace("BOUND", "90%").encode())
    odd = spec.with_name("s\udc80.causal")
    os.rename(spec, os.fsencode(str(odd)))
    done = subprocess.run(
        [sys.executable, "-m", "causal_dsl.tools.cli", "check", "--json", os.fsencode(str(odd))],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0
    assert json.loads(done.stdout)["specs"][0]["tests"]


ODD = "\x1b[31mred\x07\u202e"


def test_no_control_character_reaches_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from causal_dsl.tools.cli import main

    folder = tmp_path / f"odd{ODD}"
    folder.mkdir()
    spec = folder / "s.causal"
    text = SPEC.replace('"arrow"', json.dumps("arr\tow", ensure_ascii=False)[:-1] + ODD + '"')
    for body in (text, text.replace("BOUND", "90%"), text.replace("layer[0]", "layer[9]"), f'from "{ODD}" import x\n'):
        spec.write_text(body)
        for command in ("check", "fmt", "plan"):
            main([command, str(spec)])
            printed = capsys.readouterr()
            said = printed.out + printed.err
            assert "Traceback" not in said and "E799" not in said
            assert not [c for c in said if not c.isprintable() and c != "\n"], (command, said)


def test_no_control_character_in_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from causal_dsl.tools.cli import main

    folder = tmp_path / f"odd{ODD}"
    folder.mkdir()
    spec = folder / "s.causal"
    sweep = SPEC.replace("BOUND", "0%").replace("align al :", f'align al(w in ["x", "{ODD}"]) :')
    sweep = sweep.replace('"{a} {b} {c} {d} ="', '"{a} {b} {c} {d} ="')
    spec.write_text(sweep)
    main(["run", str(spec)])
    said = capsys.readouterr()
    assert not [c for c in said.out + said.err if not c.isprintable() and c != "\n"]


def test_a_full_disk_behind_out_tells_the_results_all_the_same(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from causal_dsl.running import ran
    from causal_dsl.tools.cli import main

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(ran, "save", full)
    assert main(["run", str(spec), "--json", "--out", str(tmp_path / "kept")]) == 2
    said = capsys.readouterr()
    document = json.loads(said.out)["specs"][0]
    assert document["tests"][0]["cells"][0]["scores"]["iia"]["n"] == 16
    assert [d["code"] for d in document["diagnostics"]] == ["E708"]
    assert "E708" in said.err


@pytest.mark.parametrize("folder", ["", " "])
def test_an_empty_name_of_a_folder_is_refused(
    spec: Path, folder: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from causal_dsl.tools.cli import main

    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(SystemExit) as stopped:
        main(["run", str(spec), "--out", folder])
    assert stopped.value.code == 2
    assert "names no folder" in capsys.readouterr().err
    assert not list((tmp_path / "here").iterdir())


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("where", ["begin", "put"])
def test_a_disk_that_fills_up_in_a_run_ends_the_keeping_alone(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    import errno

    from causal_dsl.store.blocks import Blocks
    from causal_dsl.store.files import CannotWrite
    from causal_dsl.tools.cli import main

    def full(self: Blocks, *_: object) -> None:
        raise CannotWrite(self.folder / "a block", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    assert main(["run", str(spec), "--json"]) == 0
    right = json.loads(capsys.readouterr().out)["specs"][0]["tests"]
    monkeypatch.setattr(Blocks, where, full)
    assert main(["run", str(spec), "--json", "--out", str(tmp_path / "kept")]) == 2
    document = json.loads(capsys.readouterr().out)["specs"][0]
    assert [cell["scores"] for cell in document["tests"][0]["cells"]] == [cell["scores"] for cell in right[0]["cells"]]
    assert [d["code"] for d in document["diagnostics"]] == ["E708"]


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_costs_no_result(
    spec: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from causal_dsl.fitting import stored
    from causal_dsl.store.files import CannotWrite
    from causal_dsl.tools.cli import main

    def refused(path: Path, *_: object) -> None:
        raise CannotWrite(path, OSError(errno.EROFS, os.strerror(errno.EROFS)))

    fitted = SPEC.replace("BOUND", "0%").replace(
        '"arrow", "circle"', '"arrow", "circle", "cross", "diamond", "heart", "moon"'
    )
    spec.write_text(fitted.replace("resid_post[b]", "resid_post[b] via rotation(dim=1, n=16, epochs=1, controls=none)"))
    monkeypatch.setattr(stored, "write_tensors", refused)
    assert main(["run", str(spec), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)["specs"][0]
    assert document["tests"][0]["cells"][0]["scores"]["iia"]["value"] is not None
    assert "W665" in [d["code"] for d in document["diagnostics"]]


@pytest.mark.slow
def test_a_cache_that_is_a_file_holds_nothing_that_is_damaged(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from causal_dsl.tools.cli import main

    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("CAUSAL_DSL_CACHE", str(tmp_path / "cache"))
    fitted = SPEC.replace("BOUND", "0%").replace(
        '"arrow", "circle"', '"arrow", "circle", "cross", "diamond", "heart", "moon"'
    )
    spec.write_text(fitted.replace("resid_post[b]", "resid_post[b] via rotation(dim=1, n=16, epochs=1, controls=none)"))
    assert main(["run", str(spec), "--json"]) == 0
    codes = [d["code"] for d in json.loads(capsys.readouterr().out)["specs"][0]["diagnostics"]]
    assert "W659" not in codes and "W665" in codes


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(s, marks=pytest.mark.slow if s in (0.2, 0.9, 2.0) else pytest.mark.nightly)
        for s in (0.05, 0.2, 0.5, 0.9, 1.4, 2.0)
    ],
)
def test_ctrl_c_at_any_moment_is_no_traceback(after: float, spec: Path) -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import causal_dsl.tools.cli as c, sys; print('in', flush=True); sys.exit(c.main())",
            "run",
            str(spec),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=120)
    assert "Traceback" not in errors and "E799" not in errors
    assert process.returncode in (130, -signal.SIGINT) or "expectations passed" in said
