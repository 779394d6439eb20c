"""The command line: exit codes, JSON alone on stdout, faults that point at what was typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from causal_dsl import api
from causal_dsl.base import faults
from causal_dsl.base.faults import OwnFault
from causal_dsl.running import running, scored_tests
from causal_dsl.tools.cli import main
from causal_dsl.tools.command_line import memory_size
from causal_dsl.tools.explained_words import explained, words_by_kind
from causal_dsl.vocabulary.called_words import DRAW
from causal_dsl.vocabulary.findings import FINDINGS
from causal_dsl.vocabulary.measures import MEASURES

MODEL = "causal m {\n  a ~ 0..3\n\n  output b := a == 1\n}\n"
ROOT = Path(__file__).parents[2]
FAULTY = MODEL.replace("a == 1", "c == 1")
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "good.causal").write_text(MODEL, encoding="utf-8")
    (tmp_path / "in" / "bad.causal").write_text(FAULTY, encoding="utf-8")
    return tmp_path


def test_check_of_folders_tells_of_every_file(folder: Path, capsys: Captured) -> None:
    assert main(["check", "--json", "."]) == 2
    specs = json.loads(capsys.readouterr().out)["specs"]
    assert [spec["path"] for spec in specs] == ["good.causal", "in/bad.causal"]
    assert specs[0]["diagnostics"] == []
    assert {d["line"] for d in specs[1]["diagnostics"]} == {4}
    assert main(["check", "good.causal"]) == 0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["check", "empty"], "E705"),
        (["check", "good.causal", "--network", "lm"], "E706"),
        (["check", "good.causal", "--network", "lm=nowhere"], "E706"),
        (["explain", "E999"], "E707"),
        (["run", "good.causal", "--out", "good.causal/out"], "E708"),
    ],
)
def test_faults_of_the_command_line(folder: Path, capsys: Captured, words: list[str], code: str) -> None:
    (folder / "empty").mkdir()
    assert main(words) == 2
    told = capsys.readouterr()
    assert f"[{code}]" in told.err
    assert "<command line>:1:" in told.err
    assert told.out == ""


def test_explain_knows_a_code_in_any_spelling(capsys: Captured) -> None:
    assert main(["explain", "error[e113]"]) == 0
    assert capsys.readouterr().out.startswith("# E113: ")
    assert main(["explain"]) == 0
    assert "E799  a defect of causal_dsl" in capsys.readouterr().out


def test_fmt(folder: Path, capsys: Captured) -> None:
    loose = folder / "loose.causal"
    loose.write_text(MODEL.replace("  a ~", "a   ~"), encoding="utf-8")
    assert main(["fmt", "--check", "loose.causal", "good.causal"]) == 1
    assert "a   ~" in loose.read_text(encoding="utf-8")
    assert main(["fmt", "loose.causal"]) == 0
    assert loose.read_text(encoding="utf-8") == MODEL
    assert main(["fmt", "--check", "loose.causal"]) == 0


def test_an_unforeseen_exception_is_a_diagnostic(
    folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(api, "check", broken)
    assert main(["check", "--json", "good.causal"]) == 2
    (found,) = json.loads(capsys.readouterr().out)["specs"][0]["diagnostics"]
    assert found["code"] == "E799"
    assert "ZeroDivisionError: of all things" in found["notes"]
    assert found["path"] == "good.causal"
    assert main(["check", "good.causal"]) == 2
    assert "Traceback" not in capsys.readouterr().err
    monkeypatch.setenv("CAUSAL_DSL_DEBUG", "1")
    assert main(["check", "good.causal"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_exits_with_130(folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "run_files", stopped)
    assert main(["run", "good.causal", "--out", "kept"]) == 130
    assert "what was finished is in kept" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "size"), [("8GB", 8 * 10**9), ("512MiB", 512 * 2**20), ("2e9", 2 * 10**9), ("1.5g", 15 * 10**8)]
)
def test_sizes(text: str, size: int) -> None:
    assert memory_size(text) == size


@pytest.mark.parametrize("words", [["run", "x", "--batch-memory", "much"], ["run", "x", "--seed", "-1"], ["rnu"], []])
def test_argparse_exits_with_2(words: list[str], capsys: Captured) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2


def test_zoo_lists_its_networks(capsys: Captured) -> None:
    assert main(["zoo"]) == 0
    assert "equality-relu" in capsys.readouterr().out
    assert main(["zoo", "fetch", "equality-rleu"]) == 2
    assert "equality-relu" in capsys.readouterr().err


@pytest.mark.parametrize("word", [*MEASURES, *FINDINGS])
@pytest.mark.thinned(always=30)
def test_explain_knows_every_measure_and_finding(word: str, capsys: Captured) -> None:
    assert main(["explain", word]) == 0
    found = capsys.readouterr().out
    record = MEASURES[word] if word in MEASURES else FINDINGS[word]
    assert found.startswith(f"# `{word}") and record.says in found


def test_explain_knows_every_word_of_the_language(capsys: Captured) -> None:
    assert main(["explain"]) == 0
    listed = capsys.readouterr().out
    for kind, words in words_by_kind().items():
        assert f"\n{kind}: {', '.join(words)}\n" in listed
        for word in words:
            page = explained(word)
            assert page.startswith(f"# `{word}"), (kind, word)
            assert len(page.partition("\n")[2].split()) > 4 and "None" not in page, (kind, word, page)
    for word in ("clamp", "rotation", "resid_post", "balance", "eap_ig", "recovered", "noop", "output_only", "hf"):
        assert main(["explain", word]) == 0
    told = capsys.readouterr().out
    assert "limited to the bounds" in told and "by Adam" not in told and DRAW["balance"].says in told
    assert main(["explain", "clmap"]) == 2
    told = capsys.readouterr().err
    assert "no such word of the language" in told and "did you mean `clamp`" in told


def test_results_beside_specs_are_no_specs(folder: Path, capsys: Captured) -> None:
    """`--out` inside the folder of the specs: the kept copies are not run with them, but where they are asked for."""
    (folder / "in" / "bad.causal").unlink()
    for _ in range(2):
        assert main(["run", ".", "--out", "kept", "--json"]) == 0
        assert [spec["path"] for spec in json.loads(capsys.readouterr().out)["specs"]] == ["good.causal"]
    assert sorted(entry.name for entry in (folder / "kept").iterdir()) == ["good"]
    assert main(["check", "kept/good", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["specs"]


@pytest.mark.slow
def test_a_mistake_of_the_package_in_one_test_loses_nothing_of_the_others(
    folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each test is then run by itself: the numbers of the others are those of a run without it."""
    spec = (ROOT / "specs" / "equality_relu.causal").read_text(encoding="utf-8")
    test = "\ntest NAME on halves {\n  base, source ~ equality(n=8, controls=none)\n  do(left <- source)\n  report iia\n}\n"
    name, text = "whole", spec[: spec.index("\ntest ")]
    (folder / "two.causal").write_text(
        text + test.replace("NAME", name) + test.replace("NAME", "broken"), encoding="utf-8"
    )
    assert main(["run", "--json", "two.causal"]) in (0, 1)
    whole = json.loads(capsys.readouterr().out)["specs"][0]["tests"]
    real = scored_tests.with_attributions

    def broken(scored: object, test: Any, *more: Any) -> object:
        if test.name == "broken":
            raise OwnFault("of all things")
        return real(scored, test, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(scored_tests, "with_attributions", broken)
    with pytest.raises(OwnFault):
        running.run_specs([api.load("two.causal")], api.Options())
    monkeypatch.setattr(faults, "fall_back", True)
    assert main(["run", "--json", "two.causal"]) == 2
    (found,) = json.loads(capsys.readouterr().out)["specs"]
    tests = {test["name"]: test for test in found["tests"]}
    assert tests[name]["cells"][0]["scores"] == whole[0]["cells"][0]["scores"]
    assert not tests["broken"]["cells"]
    (told,) = [one for one in found["diagnostics"] if one["code"] == "E799"]
    assert "OwnFault: of all things" in told["notes"] and told["line"] > 1


def test_a_fault_in_the_run_of_one_test_ends_that_test_alone(folder: Path, capsys: Captured) -> None:
    """The others on the same network have the numbers of a run without it, and what was computed of them is not computed again."""
    spec = (ROOT / "specs" / "equality_relu.causal").read_text(encoding="utf-8")
    test = "\ntest NAME on halves {\n  base, source ~ equality(n=8, controls=none)\n  do(ACTION)\n  report iia\n}\n"
    first = test.replace("NAME", "first").replace("ACTION", "left <- source")
    last = test.replace("NAME", "last").replace("ACTION", "right <- source")
    text = spec[: spec.index("\ntest ")]
    (folder / "two.causal").write_text(text + first + last, encoding="utf-8")
    assert main(["run", "--json", "two.causal"]) in (0, 1)
    whole = {one["name"]: one for one in json.loads(capsys.readouterr().out)["specs"][0]["tests"]}
    zero = test.replace("NAME", "zero").replace("ACTION", "layer[1].out = 1 / (current - current)").replace("iia", "kl")
    (folder / "two.causal").write_text(text + first + zero + last, encoding="utf-8")
    assert main(["run", "--json", "two.causal"]) == 2
    (found,) = json.loads(capsys.readouterr().out)["specs"]
    tests = {one["name"]: one for one in found["tests"]}
    assert list(tests) == ["first", "zero", "last"]
    for name, one in whole.items():
        assert tests[name]["cells"][0]["scores"] == one["cells"][0]["scores"]
    assert not tests["zero"]["cells"]
    (told,) = [one for one in found["diagnostics"] if one["code"] == "E686"]
    assert told["line"] > 1


PRINTS = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.Linear(4, 2, bias=False)])
        self.layers[0].weight.data = torch.tensor([[0.0, 1.0, 0.0, 0.0], [0.5, -0.5, 0.5, 0.5]])
    def forward(self, x):
        print("as it runs")
        return self.layers[0](x)

def make():
    print("as it is made")
    return Net()
"""


@pytest.mark.parametrize("words", [["run", "--json"], ["plan", "--load", "--json"]])
@pytest.mark.thinned(always=1)
def test_what_code_of_a_network_prints_is_in_no_document(words: list[str], folder: Path, capsys: Captured) -> None:
    (folder / "net.py").write_text(PRINTS, encoding="utf-8")
    align = "align al : m -> net {\n  a @ input[0:4] via onehot()\n  b @ logits\n}\ntest t on al {\n  base ~ m(n=4)\n  report accuracy\n}\n"
    text = MODEL + 'network net = torch("net.py:make")\n' + align
    (folder / "good.causal").write_text(text, encoding="utf-8")
    main([*words, "--trust", "good.causal"])
    said = capsys.readouterr()
    assert json.loads(said.out)["specs"][0]["path"] == "good.causal"
    assert "as it is made" in said.err and "as it runs" in said.err
