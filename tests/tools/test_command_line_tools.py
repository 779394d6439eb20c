"""The command line as people use it: in a shell that completes, in a hook of git, in CI, while a spec is edited."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

import causal_dsl as cd
from causal_dsl.cluster.this_machine import automatic
from causal_dsl.diagnostics import Diagnostic, Source, Span, SpecError
from causal_dsl.report.which_progress import in_lines
from causal_dsl.tools.annotations import workflow_command
from causal_dsl.tools.cli import main
from causal_dsl.tools.terminal import painted
from tests.equality import relu

ROOT = Path(__file__).parents[2]
SPEC = cd.parse(
    relu(
        "left @ layer[1].out[0:2]",
        "right @ layer[1].out[2:4]",
        tests="\ntest solves on halves {\n  base ~ equality(n=64, seed=0)\n  expect accuracy >= 99%\n}\n"
        "\ntest fails on halves {\n  base ~ equality(n=64, seed=0)\n  expect accuracy <= 10%\n}\n",
    )
).source()
Captured = pytest.CaptureFixture[str]
CLI = f"{sys.executable} -m causal_dsl.tools.cli"
ENV = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("NO_COLOR", "FORCE_COLOR", "GITHUB_ACTIONS", "GITHUB_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "s.causal").write_text(SPEC, encoding="utf-8")
    return tmp_path


def test_version_names_what_computes(capsys: Captured) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    told = capsys.readouterr().out
    assert stopped.value.code == 0
    assert f"torch {version('torch')}" in told and f"transformers {version('transformers')}" in told


@pytest.mark.slow
def test_version_does_not_import_what_it_names() -> None:
    script = (
        "import sys; from causal_dsl.tools.cli import main\ntry: main(['--version'])\n"
        "except SystemExit: sys.exit(any(n in sys.modules for n in ('torch', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", script], env=ENV, timeout=60).returncode == 0


def test_fmt_diff_changes_nothing(folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    loose = SPEC.replace("  base ~", "    base   ~", 1)
    Path("loose.causal").write_text(loose, encoding="utf-8")
    assert main(["fmt", "--diff", "loose.causal", "s.causal"]) == 1
    told = capsys.readouterr().out
    assert "-    base   ~ equality(n=64, seed=0)" in told and "+  base ~ equality(n=64, seed=0)" in told
    assert "s.causal" not in told.replace("loose.causal", "") and Path("loose.causal").read_text() == loose
    done = subprocess.run(["patch", "-p0"], input=told.replace(" (formatted)", ""), text=True, capture_output=True)
    assert done.returncode == 0 and Path("loose.causal").read_text() == SPEC
    assert main(["fmt", "--diff", "loose.causal"]) == 0 and capsys.readouterr().out == ""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(loose.encode())))
    assert main(["fmt", "--diff", "-"]) == 1 and "+  base ~" in capsys.readouterr().out


# ── colours, quiet, verbose ─────────────────────────────────────────────────────────────────────


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_are_where_they_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    told = cd.check(cd.parse(SPEC.replace("a == b", "a == e"), "s.causal")).text()
    plain, terminal = io.StringIO(), Terminal()
    assert painted(told, plain) == told
    coloured = painted(told, terminal)
    assert "\x1b[1;31merror[E" in coloured and re.sub(r"\x1b\[[0-9;]*m", "", coloured) == told
    monkeypatch.setenv("NO_COLOR", "1")
    assert painted(told, terminal) == told
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert painted(told, plain) == told, "NO_COLOR counts more"
    monkeypatch.delenv("NO_COLOR")
    assert painted(told, plain) == coloured
    monkeypatch.delenv("FORCE_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert painted(told, terminal) == told
    assert painted("error: none of ours\n  | x", terminal) == "error: none of ours\n  | x"


def test_a_run_of_stored_blocks_says_so(capsys: Captured, tmp_path: Path) -> None:
    told, costs = [], []
    for _ in range(2):
        try:
            main(["run", "-v", "s.causal", "--out", str(tmp_path / "kept")])
        finally:
            in_lines(False)
        told.append("taken from the store, not run by this process" in capsys.readouterr().err)
        costs.append(json.loads((tmp_path / "kept" / "s" / "results.json").read_text(encoding="utf-8"))["cost"])
    assert told == [False, True]
    assert costs[0]["blocks"] >= 1
    assert [cost["stored_blocks"] for cost in costs] == [0, costs[0]["blocks"]]


def test_quiet_and_verbose(capsys: Captured) -> None:
    assert main(["check", "-q", "s.causal"]) == 0 and capsys.readouterr().out == ""
    assert main(["check", "-v", "s.causal"]) == 0 and "s.causal: 1 files" in capsys.readouterr().err
    assert main(["run", "-q", "s.causal"]) == 1
    told = capsys.readouterr().out
    assert told.startswith("failed[F701]") and told.endswith("2 tests, 1 of 2 expectations passed\n")
    assert "test solves" not in told
    try:
        assert main(["run", "-v", "s.causal"]) == 1
    finally:
        in_lines(False)
    told, beside = capsys.readouterr()
    assert "test solves" in told
    assert re.search(r"\d\.\d s  s\.causal", beside) and "s.causal: key " in beside and "layer-tokens" in beside
    with pytest.raises(SystemExit):
        main(["run", "-q", "-v", "s.causal"])


# ── CI ──────────────────────────────────────────────────────────────────────────────────────────


def test_junit(capsys: Captured) -> None:
    assert main(["run", "s.causal", "--junit", "ci/report.xml"]) == 1
    root = ElementTree.parse("ci/report.xml").getroot()
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("2", "1", "0")
    (suite,) = root
    assert suite.get("name") == "s.causal" and suite.find("properties/property[@name='key']") is not None
    solves, fails = suite.findall("testcase")
    assert solves.find("failure") is None and fails.find("failure").get("type") == "F701"
    assert "--> s.causal:" in fails.find("failure").text
    accuracy = solves.find("properties/property[@name='accuracy']").get("value")
    assert float(accuracy) == cd.run("s.causal")["solves"].cells[0].scores["accuracy"].value
    nothing = "base, source ~ equality(n=8, seed=0) where solved(base)\n  do(left <- source)\n  report iia"
    wrong = SPEC.replace("left == right", "left != right")  # what the network says is never right
    assert wrong != SPEC
    Path("s.causal").write_text(f"{wrong}test none on halves {{\n  {nothing}\n}}\n", encoding="utf-8")
    assert main(["run", "s.causal", "--junit", "ci/report.xml"]) == 1
    none = ElementTree.parse("ci/report.xml").getroot()[0].findall("testcase")[-1]
    told = {one.get("name"): one.get("value") for one in none.iter("property")}
    assert told["pairs"] == "0" and "nan" not in told.values() and "ceiling.noop" not in told
    assert (told["ceiling.noop.low"], told["ceiling.noop.high"]) == ("0.0", "1.0")
    Path("s.causal").write_text(SPEC.replace("a == b", "a == e"), encoding="utf-8")
    assert main(["run", "s.causal", "--junit", "ci/report.xml"]) == 2
    root = ElementTree.parse("ci/report.xml").getroot()
    assert root.get("errors") == "1" and "error[E" in root.find(".//error").text
    assert main(["run", "s.causal", "--junit", "s.causal/report.xml"]) == 2
    assert "[E708]" in capsys.readouterr().err


def test_annotations_are_for_github_alone(folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    main(["run", "s.causal", "--github"])
    assert "::error" not in "".join(capsys.readouterr())
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(folder.parent))
    main(["run", "s.causal"])
    assert "::error" not in "".join(capsys.readouterr())
    main(["run", "s.causal", "--github", "--json"])
    told, beside = capsys.readouterr()
    assert told.startswith("{")
    (line,) = [line for line in beside.splitlines() if line.startswith("::")]
    number = SPEC.splitlines().index("  expect accuracy <= 10%") + 1
    assert line.startswith(f"::error file={folder.name}/s.causal,line={number},endLine={number},col=3,")
    assert ",title=F701%3A `accuracy`" in line and "10%25" in line
    Path("s.causal").write_text(SPEC.replace("a == b", "a == e"), encoding="utf-8")
    for command in ("check", "run"):
        main([command, "s.causal", "--github"])
        assert f"::error file={folder.name}/s.causal,line=5," in capsys.readouterr().err


def test_annotations_escape_what_github_reads() -> None:
    source = Source("a,b:c%.causal", "one\ntwo\n")
    told = workflow_command(
        Diagnostic("W231", "50%: a, b", Span(source, 0, 6), notes=("first\r\nsecond 100%",), help="::x::")
    )
    assert told.startswith("::warning file=a%2Cb%3Ac%25.causal,line=1,endLine=2,title=W231%3A 50%25%3A a%2C b::")
    assert told.count("\n") == 0 and "\r" not in told and told.endswith("second 100%25%0Ahelp: ::x::")


# ── shells, hooks, watching ─────────────────────────────────────────────────────────────────────


def completed(words: list[str], folder: Path) -> list[str]:
    """What bash offers for the last of the words."""
    script = folder / "completion.bash"
    line = " ".join(words)
    said = f"""source {script}
    COMP_WORDS=({" ".join(shlex.quote(word) for word in words)}); COMP_CWORD={len(words) - 1}
    COMP_LINE={shlex.quote(line)}; COMP_POINT={len(line)}
    $(complete -p causal-dsl | sed 's/.*-F \\([^ ]*\\) .*/\\1/') causal-dsl {shlex.quote(words[-1])} {shlex.quote(words[-2])}
    printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "--norc", "-c", said], capture_output=True, text=True, timeout=30, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_bash_completes(folder: Path, capsys: Captured) -> None:
    assert main(["completion", "bash"]) == 0
    (folder / "completion.bash").write_text(capsys.readouterr().out, encoding="utf-8")
    (folder / "specs").mkdir()
    assert completed(["causal-dsl", "ch"], folder) == ["check"]
    assert {"--seed", "--json", "--junit", "--watch"} <= set(completed(["causal-dsl", "run", "--"], folder))
    assert "--watch" not in completed(["causal-dsl", "check", "--"], folder)
    assert {"specs", "s.causal"} <= set(completed(["causal-dsl", "run", "s"], folder))
    (folder / "s.txt").write_text("")
    assert "s.txt" not in completed(["causal-dsl", "run", "s"], folder)
    assert completed(["causal-dsl", "completion", "z"], folder) == ["zsh"]
    assert completed(["causal-dsl", "run", "--dtype", "bf"], folder) == ["bfloat16"]
    assert completed(["causal-dsl", "run", "--dtype", "=", "bf"], folder) == ["bfloat16"]  # as bash breaks `--dtype=bf`
    assert completed(["causal-dsl", "run", "--workers", "="], folder) == ["auto"]
    assert completed(["causal-dsl", "run", "--workers", ""], folder) == ["auto"]
    assert completed(["causal-dsl", "explain", "iia_s"], folder) == ["iia_star"]
    assert completed(["causal-dsl", "zoo", "fetch", "equality-g"], folder) == ["equality-gpt2"]
    assert main(["run", "--dtype", "another", "nothing.causal"]) == 2  # what is offered refuses nothing
    assert "E706" not in capsys.readouterr().err


#: Types a line into an interactive zsh and a tab behind it, and prints the line that it makes of it.
_ZSH = """
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z "PS1=; autoload -Uz compinit; compinit -u -d $3; $4; bindkey '^I' complete-word; print re''ady"
until [[ $seen == *ready* ]]; do zpty -r z more && seen+=$more; done
zpty -w -n z "$2"$'\\t'; sleep 0.3; zpty -w z " #end"
until [[ $typed == *'#end'* ]]; do zpty -r z more && typed+=$more; done
print -r -- "$typed"
zpty -d z
"""


def typed(shell: str, line: str, folder: Path, sourced: bool = False) -> str:
    """What a real shell makes of a line when tab is pressed behind it: the line, or what it offers."""
    script = folder / f"completion.{shell}"
    if shell == "fish":
        words = ["fish", "--no-config", "-c", f"source {script}; complete -C {shlex.quote(line)}"]
    else:
        load = f"source {script}" if sourced else f'eval "$(cat {script})"'
        words = ["zsh", "-f", "-c", _ZSH, "zsh", str(script), line, str(folder / "zcompdump"), load]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, cwd=folder)
    assert done.returncode == 0, done.stderr
    return re.sub(r"\x1b\[[\x30-\x3f]*[\x20-\x2f]*[\x40-\x7e]|.\x08", "", done.stdout)


@pytest.mark.tools
@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_complete(shell: str, folder: Path, capsys: Captured) -> None:
    assert main(["completion", shell]) == 0
    (folder / f"completion.{shell}").write_text(capsys.readouterr().out, encoding="utf-8")
    (folder / "notes.txt").write_text("")
    (folder / "notes").mkdir()
    assert "--dtype" in typed(shell, "causal-dsl run --dt", folder)
    assert "bfloat16" in typed(shell, "causal-dsl run --dtype bf", folder, sourced=True)
    assert "iia_informative" in typed(shell, "causal-dsl explain iia_i", folder)
    assert "equality-gpt2" in typed(shell, "causal-dsl zoo fetch equality-g", folder)
    told = typed(shell, "causal-dsl run not", folder)
    assert "notes/" in told and "notes.txt" not in told  # specs and folders alone
    assert "s.causal" in typed(shell, "causal-dsl check s.", folder)


@pytest.mark.parametrize("shell", ["zsh", "tcsh", "fish"])
def test_other_shells_get_their_script(shell: str, capsys: Captured) -> None:
    assert main(["completion", shell]) == 0
    told = capsys.readouterr().out
    assert "causal-dsl" in told and "junit" in told
    if shutil.which(shell):
        assert subprocess.run([shell, "-n"], input=told, text=True, timeout=30).returncode == 0


#: The ways into the tools, each with the extra that it needs ("": what is always installed).
WAYS: dict[str, tuple[str, ...]] = {
    "completion": ("main(['completion', 'bash'])",),
    "watch": ("main(['run', 's.causal', '--watch'])",),
    "lsp": ("main(['lsp'])",),
    "mcp": ("main(['mcp'])",),
    "report": (
        "main(['run', 's.causal', '--html', 'page.html'])",
        "main(['run', 's.causal', '--figures', 'figures'])",
        "main(['report', 'kept', '--html', 'page.html'])",
        "main(['report', 'kept', '--figures', 'figures'])",
        "main(['diff', 'kept', 'kept', '--html', 'page.html'])",
    ),
    "ray": ("main(['run', 's.causal', '--workers', '2', '--out', 'kept'])",),
    "zarr": ("main(['run', 'zarr.causal', '--out', 'kept'])",),
    "": ("cd.check('s.causal')._repr_html_()",),
}
#: Extras that no way into a tool needs: `[notebook]` makes progress a widget in place of a line, `[docs]` builds the site;
#: that of `[adapters]` is tested with adapters.
NO_WAY = {"adapters", "notebook", "docs", "test", "tools", "dev"}
_WITHOUT = """
import sys
from causal_dsl.tools.cli import main
import causal_dsl as cd
sys.modules.update(dict.fromkeys({missing}))
for way in {ways}:
    try:
        exec(way)
    except cd.SpecError as error:
        print(error, file=sys.stderr)
    print("----", file=sys.stderr)
"""


@pytest.mark.slow
@pytest.mark.parametrize("extra", WAYS)
def test_a_missing_extra_is_named(extra: str, folder: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["optional-dependencies"]) == {*filter(None, WAYS), *NO_WAY}
    packages = project["optional-dependencies"][extra] if extra else ["jinja2"]
    missing = [re.match(r"[\w-]+", one)[0].replace("-", "_") for one in packages]  # type: ignore[index]
    missing = [name.removesuffix("_python") for name in missing]
    script = _WITHOUT.format(missing=missing, ways=WAYS[extra])
    written_beside(extra, folder)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=folder, env=ENV)
    told = done.stderr.split("----")
    assert len(told) == len(WAYS[extra]) + 1 and "Traceback" not in done.stderr and "E799" not in done.stderr, done
    install = f"causal-dsl[{extra}]" if extra else "pip install jinja2"
    for way, one in zip(WAYS[extra], told, strict=False):
        assert install in one and not (folder / "page.html").exists(), (way, one)


def written_beside(extra: str, folder: Path) -> None:
    """The kept results that a way needs, or its spec."""
    if extra == "report":
        assert main(["run", str(folder / "s.causal"), "--out", str(folder / "kept"), "-q"]) in (0, 1)
    elif extra == "zarr":
        text = (
            (folder / "s.causal")
            .read_text()
            .replace("expect accuracy >= 99%", "report save(format=zarr) @ layer[1].out")
        )
        (folder / "zarr.causal").write_text(text)


@pytest.mark.slow
def test_the_hooks_of_pre_commit_stop_a_commit(folder: Path) -> None:
    """Each entry is called as pre-commit calls it, with the staged files that match, in a hook of a real repository."""
    hooks = {hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}
    assert set(hooks) == {"causal-dsl-check", "causal-dsl-fmt"}
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*git, *words], capture_output=True, text=True, timeout=60, env=ENV, cwd=folder)

    call("init")
    (folder / "other.txt").write_text("no spec", encoding="utf-8")
    for id, spec in (
        ("causal-dsl-check", SPEC.replace("a == b", "a == e")),
        ("causal-dsl-fmt", SPEC.replace("  base ~", " base ~")),
    ):
        entry, pattern = hooks[id]["entry"].replace("causal-dsl", CLI, 1), hooks[id]["files"]
        hook = folder / ".git" / "hooks" / "pre-commit"
        # as pre-commit does: the files that match are appended, and a hook that changed a file has failed
        hook.write_text(
            "#!/bin/bash\nset -e\n"
            f"files=$(git diff --cached --name-only | grep -E '{pattern}') || exit 0\n{entry} $files\n"
            "git diff --exit-code --quiet || { echo files were modified by this hook; exit 1; }\n"
        )
        hook.chmod(0o755)
        (folder / "s.causal").write_text(spec, encoding="utf-8")
        call("add", "-A")
        done = call("commit", "-m", "faulty")
        assert done.returncode == 1, (id, done.stdout, done.stderr)
        assert ("error[E" if "check" in id else "files were modified") in done.stdout + done.stderr
        if "check" in id:
            (folder / "s.causal").write_text(SPEC, encoding="utf-8")
        call("add", "-A")
        assert call("commit", "--allow-empty", "-m", "fine").returncode == 0


@pytest.mark.slow
def test_watching_runs_again_after_each_change_and_leaves_cleanly(folder: Path) -> None:
    (folder / "shapes.causal").write_text("domain Shape = 0..3\n", encoding="utf-8")
    imported = 'from "shapes.causal" import Shape\n' + SPEC.removeprefix("domain Shape = 0..3\n")
    (folder / "s.causal").write_text(imported, encoding="utf-8")
    log = folder / "log.txt"
    with log.open("w") as out:
        words = [*CLI.split(), "run", "s.causal", "--watch", "-q"]
        process = subprocess.Popen(words, cwd=folder, env=ENV, stdout=out, stderr=out, start_new_session=True)
    try:

        def wait(count: int) -> str:
            for _ in range(600):
                told = log.read_text()
                if told.count("Ctrl-C ends") >= count:
                    return told
                assert process.poll() is None, told
                time.sleep(0.1)
            pytest.fail(log.read_text())

        assert "1 of 2 expectations passed" in wait(1)
        time.sleep(0.5)
        (folder / "beside.txt").write_text("not read", encoding="utf-8")
        time.sleep(1)
        other = folder / "new"  # as editors write: another file takes its place
        other.write_text(imported.replace("accuracy <= 10%", "accuracy >= 10%"), encoding="utf-8")
        other.replace(folder / "s.causal")
        assert "s.causal changed" in wait(2) and "2 of 2 expectations passed" in log.read_text()
        time.sleep(0.5)
        (folder / "shapes.causal").write_text("domain Shape = 0..\n", encoding="utf-8")
        assert "shapes.causal changed" in wait(3) and "error[E" in log.read_text()
        time.sleep(0.5)
        (folder / "shapes.causal").write_text("domain Shape = 0..3  # back\n", encoding="utf-8")
        assert wait(4).count("2 of 2 expectations passed") == 2
        time.sleep(0.5)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(20) == 130
        told = log.read_text()
        assert "Traceback" not in told and "KeyboardInterrupt" not in told and "beside.txt" not in told
        assert "watching 2 files; " in told
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    for _ in range(50):
        if not subprocess.run(["pgrep", "-g", str(process.pid)], capture_output=True).stdout:
            break
        time.sleep(0.1)
    assert not subprocess.run(["pgrep", "-g", str(process.pid)], capture_output=True).stdout, (
        "a process was left behind"
    )


@pytest.mark.parametrize(
    "when",
    [
        pytest.param("as the run reads it", marks=pytest.mark.nightly),
        pytest.param("as the run ends", marks=pytest.mark.slow),
    ],
)
def test_an_edit_before_files_are_watched_is_not_lost(folder: Path, when: str) -> None:
    """The function of the spec edits the spec: once while the run reads it, or as its process ends."""
    (folder / "edits.py").write_text(
        "import os, pathlib\nfrom multiprocessing.util import Finalize\n"
        "def edit():\n"
        "    spec = pathlib.Path('s.causal')\n"
        "    if not os.path.exists('edited'):\n"
        "        open('edited', 'w').close()\n"
        "        spec.write_text(spec.read_text().replace('accuracy <= 10%', 'accuracy >= 10%'))\n"
        + ("edit()\n" if when == "as the run reads it" else "Finalize(None, edit, exitpriority=0)\n")
        + "def plain(a: int) -> int:\n    return a\n",
        encoding="utf-8",
    )
    model = "\ncausal other {\n  a ~ 0..3\n  output b := plain(a)\n}\n"
    taken = 'from "edits.py" import plain\n' + SPEC + model
    (folder / "s.causal").write_text(taken, encoding="utf-8")
    log = folder / "log.txt"
    with log.open("w") as out:
        words = [*CLI.split(), "run", "s.causal", "--watch", "-q", "--trust"]
        process = subprocess.Popen(words, cwd=folder, env=ENV, stdout=out, stderr=out, start_new_session=True)
    try:
        for _ in range(600):
            if log.read_text().count("Ctrl-C ends") >= 2:
                break
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(20) == 130
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    told = log.read_text()
    assert (folder / "edited").exists() and told.count("s.causal changed") == 1, told
    assert "2 of 2 expectations passed" in told.partition("s.causal changed")[2], told


@pytest.mark.slow
def test_watching_a_folder_with_json_writes_a_line_for_each_run(folder: Path) -> None:
    """Also when a spec comes into a folder that was made meanwhile."""
    (folder / "specs").mkdir()
    (folder / "specs" / "s.causal").write_text(SPEC, encoding="utf-8")
    out, log = folder / "out.jsonl", folder / "log.txt"
    with out.open("w") as lines, log.open("w") as said:
        words = [*CLI.split(), "run", "specs", "--watch", "--json"]
        process = subprocess.Popen(words, cwd=folder, env=ENV, stdout=lines, stderr=said, start_new_session=True)
    try:
        edits = [("s", SPEC), ("s", SPEC.replace("accuracy <= 10%", "accuracy >= 10%")), ("new/deep/other", "causal {")]
        for count, (name, text) in enumerate(edits, 1):
            file = folder / "specs" / f"{name}.causal"
            if count > 1:
                time.sleep(0.5)
                file.parent.mkdir(parents=True, exist_ok=True)
                time.sleep(1)
                file.write_text(text, encoding="utf-8")
            for _ in range(600):
                if log.read_text().count("Ctrl-C ends") >= count:
                    break
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(30)
    assert "watching 1 file; " in log.read_text()
    first, second, third = map(json.loads, out.read_text().splitlines())
    assert [test["status"] for test in first["specs"][0]["tests"]] != [t["status"] for t in second["specs"][0]["tests"]]
    assert first["specs"][0]["tests"] and "E1" in json.dumps(third) and "other.causal" in json.dumps(third)


#: Words that are refused as they would be ignored, the code, and what is said.
IGNORED = [
    (["run", "s.causal", "--watch", "--shard", "1/2", "--out", "o"], "E875", "`--shard` does not go with `--watch`"),
    (["run", "s.causal", "--reference", "--compile"], "E875", "`--compile` does not go with `--reference`"),
    (["run", "s.causal", "--silence", "60"], "E875", "`--silence` needs `--workers` or `--cluster`"),
    (["run", "s.causal", "--json", "-q"], "E875", "`--quiet` does not go with `--json`"),
    (["check", "s.causal", "--json", "--quiet"], "E875", "`--quiet` does not go with `--json`"),
    (["plan", "s.causal", "--mermaid", "--workers", "2"], "E875", "`--workers` does not go with `--mermaid`"),
    (["run", "s.causal", "--shard", "-1/2", "--out", "o"], "E900", "`-1/2` is not a shard"),
    (["run", "s.causal", "--shard", "1/1000000", "--out", "o"], "E900", "N is at most 100,000"),
    (["run", "s.causal", "--shard", "1/2", "--workers", "2"], "E901", "note: both say who runs which part"),
    (["run", "s.causal", "--shard", "1/2", "--html", "a.html"], "E901", "help: pass --html to `causal-dsl merge`"),
    (["run", "s.causal", "--shard", "1/2"], "E901", "note: a shard stores what it computes"),
]


@pytest.mark.parametrize(("words", "code", "said"), IGNORED)
def test_what_would_be_ignored_is_refused(words: list[str], code: str, said: str, capsys: Captured) -> None:
    assert main(words) == 2
    told = "".join(capsys.readouterr())
    assert code in told and said in told, told


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "s.causal", "--out", "s3:/b/c"], "write s3://b/c, or ./s3:/b/c"),
        (["run", "s.causal", "--out", "gs//b"], "write gs://b"),
        (["run", "s.causal", "--out", "file:/b"], "write file:///b"),
        (["merge", "parts", "--out", "s3://b"], "is an address, and a folder of this machine is needed here"),
    ],
)
def test_an_address_that_is_none_makes_no_folder(words: list[str], said: str, folder: Path, capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        main(words)
    assert said in capsys.readouterr().err
    assert not [path for path in folder.iterdir() if ":" in path.name or path.name == "gs"]


def test_the_package_is_the_command_and_keeps_nothing_in_a_memory_that_ends(folder: Path) -> None:
    words = [sys.executable, "-m", "causal_dsl", "run", "s.causal", "--out", "memory://x/y"]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ran.returncode == 2 and "[E921]: nothing would be kept under `memory://x/y`" in ran.stderr, ran.stderr


def test_a_value_below_zero_is_a_value(capsys: Captured) -> None:
    for words in (["run", "--batch-memory", "-8GB"], ["run", "--workers", "-1"], ["mcp", "--max-flops", "-1e9"]):
        with pytest.raises(SystemExit):
            main([*words, "s.causal"][: 3 if words[0] == "mcp" else None])
        assert f"{words[2]!r}" in capsys.readouterr().err


def test_a_plan_for_as_many_workers_as_run_starts(capsys: Captured) -> None:
    assert main(["plan", "s.causal", "--workers", "auto"]) == 0
    count = automatic()[0]
    assert f"estimated for {count} worker{'s' * (count != 1)}, one for each" in capsys.readouterr().out
    assert main(["plan", "s.causal", "--workers", "auto", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["specs"][0]["units"]["workers"]["workers"] == count


def test_more_workers_than_cores_are_not_estimated_to_be_faster(capsys: Captured) -> None:
    found = {}
    for count in (there := len(os.sched_getaffinity(0)), 1000):
        assert main(["plan", "s.causal", "--workers", str(count)]) == 0
        said = f"this machine has {there} core"
        assert (said in capsys.readouterr().out) == (count > there)
        assert main(["plan", "s.causal", "--workers", str(count), "--json"]) == 0
        found[count] = json.loads(capsys.readouterr().out)["specs"][0]["units"]["workers"]
    assert found[1000]["workers"] == 1000 and found[1000]["at_once"] == there == found[there]["at_once"]


@pytest.mark.parametrize(
    "asked",
    [{"workers": value} for value in (0, -1, "two", 2.0, True, 10**7)]
    + [{"cluster": value} for value in ("", 5, "ray://")]
    + [{"workers": 2, "silence": 1}],
)
def test_workers_that_cannot_be_asked_for_are_refused_in_python_as_on_the_command_line(asked: dict[str, Any]) -> None:
    name, value = list(asked.items())[-1]
    with pytest.raises(SpecError) as caught:
        cd.run("s.causal", cd.Options(**asked))
    assert [one.code for one in caught.value.diagnostics] == ["E926"] and repr(value) in str(caught.value)
    if value != 5:  # which is a text where it is typed
        with pytest.raises(SystemExit):
            main(["run", "s.causal", f"--{name}={'yes' if value is True else value}"])


def test_processes_that_share_nothing_are_told_so(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, told in (("0", True), ("1", False)):
        monkeypatch.setenv("RANK", rank)
        main(["run", "s.causal"])
        assert ("2 processes were started, and no network has shard=auto" in capsys.readouterr().err) == told


def test_carets_stand_under_the_word_that_is_meant(folder: Path, capsys: Captured) -> None:
    (folder / "r").mkdir()
    assert main(["history", "r/", "--figures", "r/hist"]) == 2
    told = capsys.readouterr().err
    typed, carets = (
        line.partition("| ")[2] for line in told.splitlines() if "causal-dsl history" in line or "^" in line
    )
    assert typed.index("r/") == carets.index("^") and carets.strip() == "^^", told
    assert "a folder that holds several of them" in told


def test_lists_of_the_skill_page_are_not_cut_within_a_citation(capsys: Captured) -> None:
    assert main(["skill"]) == 0
    told = capsys.readouterr().out
    assert "Huang et al. 2024" in told
    items = [line for line in told.splitlines() if line.startswith("- `")]
    assert items and not [line for line in items if line.endswith("et al") or line.count("(") > line.count(")")]
