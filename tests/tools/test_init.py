"""``causal-dsl init``: what it writes passes `check` and runs; what cannot be a spec is told; it asks on a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from causal_dsl.tools.cli import main

ROOT = Path(__file__).parents[2]
TABLE = "shape,other,third\narrow,circle,moon\ncross,heart,moon\nmoon,ring,star\nstar,cross,ring\n"
NET = ["--network", "equality-gpt2"]
PROMPT = ["--prompt", "{shape} ="]
Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text(TABLE, encoding="utf-8")
    lines = ('{"shape": "arrow", "other": "circle"}', '{"shape": "cross", "other": "heart"}')
    (tmp_path / "t.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize(
    ("words", "file"),
    [
        (["--task", "t.csv"], "t.causal"),
        (["specs/mine.causal", "--task", "t.csv", "--answer", "third"], "specs/mine.causal"),
        (["--task", "t.jsonl"], "t.causal"),
    ],
)
def test_what_it_writes_passes_check_and_runs(words: list[str], file: str, capsys: Captured) -> None:
    Path("pyproject.toml").write_text("", encoding="utf-8")  # a project: specs may lie beside their tables
    assert main(["init", *words, *NET, *PROMPT]) == 0
    written = capsys.readouterr()
    assert f"causal-dsl run {file}" in written.out and "W628" in written.err
    assert "read off where iia rises" in Path(file).read_text(encoding="utf-8")
    assert main(["fmt", "--check", file]) == 0
    assert main(["check", file, "--json"]) == 0 and '"code": "E' not in capsys.readouterr().out
    assert main(["run", file]) == 0
    told = capsys.readouterr().out
    assert "test solves" in told and "test where_is_it" in told
    assert f"Facts[shape].{'third' if 'third' in words else 'other'}" in Path(file).read_text()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--task", "tt.csv", *NET, *PROMPT], "E873", "did you mean `t.csv`?"),
        (["--task", "t.txt", *NET, *PROMPT], "E873", "no .csv"),
        (["--task", "empty.csv", *NET, *PROMPT], "E873", "0 rows of 0 columns"),
        (["--task", "names.csv", *NET, *PROMPT], "E873", "the column `a b`"),
        (["--task", "taken.csv", *NET, *PROMPT], "E873", "the column `test`"),
        (["--task", "twice.csv", *NET, *PROMPT], "E873", "`twice.csv` has the column `other` twice"),
        (["--task", "torn.jsonl", *NET, *PROMPT], "E873", "cannot read the table"),
        (["--task", "t.csv", "--network", "equality-gtp2", *PROMPT], "E873", "did you mean `equality-gpt2`?"),
        (["--task", "t.csv", *NET, "--prompt", "what ="], "E873", "names none"),
        (["--task", "t.csv", *NET, "--prompt", "{shap} ="], "E873", "no column is called `shap`"),
        (["--task", "t.csv", *NET, *PROMPT, "--answer", "shape"], "E873", "not a column of answers"),
        (["--task", "t.csv", "--network", "equality-relu", *PROMPT], "E", "prompt"),
        (["there.causal", "--task", "t.csv", *NET, *PROMPT], "E874", "--force"),
        (["t.csv/x.causal", "--task", "t.csv", *NET, *PROMPT], "E708", "t.csv"),
        (["new/x.causal", "--task", "t.csv", *NET, *PROMPT], "E224", "lies outside"),
        (["--task", "t.csv", *NET], "E873", "--prompt"),
        ([], "E873", "--task"),
    ],
)
def test_what_cannot_be_a_spec(words: list[str], code: str, says: str, capsys: Captured, folder: Path) -> None:
    for name, text in (
        ("empty.csv", ""),
        ("twice.csv", TABLE.replace("third", "other")),
        ("names.csv", TABLE.replace("other", "a b").replace("third", "1st")),
        ("taken.csv", TABLE.replace("other", "test").replace("third", "align")),
    ):
        Path(name).write_text(text, encoding="utf-8")
    Path("torn.jsonl").write_text('{"a": 1}\n3\n', encoding="utf-8")
    Path("there.causal").write_text("mine", encoding="utf-8")
    before = sorted(folder.iterdir())
    assert main(["init", *words]) == 2
    told = capsys.readouterr()
    assert f"error[{code}" in told.err and says in told.err and "Traceback" not in told.err
    assert sorted(folder.iterdir()) == before and Path("there.causal").read_text() == "mine"


def test_force_replaces(capsys: Captured) -> None:
    Path("t.causal").write_text("mine", encoding="utf-8")
    assert main(["init", "--task", "t.csv", *NET, *PROMPT, "--force"]) == 0
    assert "causal task" in Path("t.causal").read_text()


@pytest.mark.slow
def test_it_asks_three_questions_and_again_where_an_answer_will_not_do(folder: Path) -> None:
    parent, child = pty.openpty()
    words = [sys.executable, "-m", "causal_dsl.tools.cli", "init"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    process = subprocess.Popen(
        words, stdin=child, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, cwd=folder
    )
    os.close(child)
    os.write(parent, b"nowhere.csv\nt.csv\nequality-gpt2\n{nothing} =\n{shape} =\n")
    told = process.communicate(timeout=60)[0].decode()
    os.close(parent)
    assert process.returncode == 0, told
    assert told.count("Table of facts") == 2 and told.count("Network") == 1 and told.count("Prompt, with one of") == 2
    assert "cannot read the table `nowhere.csv`" in told and (folder / "t.causal").is_file()


def test_a_column_that_is_not_used_may_be_called_anything(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "odd.csv").write_text('word,same,the "odd" one\nmoon,true,1\nstar,false,2\nring,true,3\n')
    words = ["init", "--task", "odd.csv", "--network", "equality-gpt2", "--prompt", "{word} ="]
    assert main(words) == 0, capsys.readouterr().err
    (tmp_path / "odd.csv").write_text('word,the "odd" one\nmoon,1\nstar,2\n')
    assert main([*words, "--force"]) == 2
    assert 'the column `the "odd" one`' in capsys.readouterr().err
