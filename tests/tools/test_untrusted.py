"""Python code in a mechanism, without ``--trust``: it is asked for, the code is not run, and what needs no trust is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from causal_dsl import api
from causal_dsl.base import faults
from causal_dsl.base.faults import OwnFault
from causal_dsl.checked import Checked
from causal_dsl.running import running
from causal_dsl.tools.cli import main
from causal_dsl.units import shards
from tests.equality import relu

Captured = pytest.CaptureFixture[str]
TEST = """
test NAME on halves {
  base, source ~ MODEL(n=16, seed=0)
  do(left <- source)
  report iia
}
"""
GOOD = relu("left @ layer[1].out[0:2]", tests=TEST.replace("NAME", "holds").replace("MODEL", "equality"))
BAD = 'from "alike.py" import alike\n' + GOOD.replace("left  := a == b", "left  := alike(a, b)")
#: A test of another model beside it, which needs trust.
BOTH = (
    'from "alike.py" import alike\n'
    + GOOD
    + GOOD[GOOD.index("causal") : GOOD.index("network")]
    .replace("equality", "other")
    .replace("left  := a == b", "left  := alike(a, b)")
    + GOOD[GOOD.index("align") : GOOD.index("test")].replace("halves", "others").replace("equality", "other")
    + TEST.replace("NAME", "untrusted").replace("halves", "others").replace("MODEL", "other")
)
CODE = """
open("RAN", "w").close()

def alike(x: int, y: int) -> bool:
    return x == y
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("alike.py").write_text(CODE)
    for name, text in {"good": GOOD, "bad": BAD, "both": BOTH}.items():
        Path(f"{name}.causal").write_text(text)
    return tmp_path


def scores(capsys: Captured) -> dict[str, object]:
    """The numbers of each test in what ``run --json`` printed; of one without them, the code of its fault."""
    tests = [test for spec in json.loads(capsys.readouterr().out)["specs"] for test in spec["tests"]]
    return {test["name"]: test["cells"][0]["scores"] if test["cells"] else test["fault"] for test in tests}


@pytest.mark.parametrize(
    "words", ["run bad.causal", "plan bad.causal", "plan --load bad.causal", "run --shard 1/2 --out kept bad.causal"]
)
def test_trust_is_asked_for_where_a_function_is_imported(words: str, capsys: Captured) -> None:
    assert main(words.split()) == 2
    told = "".join(capsys.readouterr())
    assert "error[E346]: `alike` is Python code" in told and "bad.causal:1:24" in told and "--trust" in told
    assert told.count("error[") == 1
    assert main(["check", "bad.causal"]) == 0
    assert not Path("RAN").exists()


@pytest.mark.slow
def test_with_trust_it_is_the_same_model(capsys: Captured) -> None:
    assert main(["run", "--json", "good.causal"]) == 0
    good = scores(capsys)
    assert main(["run", "--json", "--trust", "bad.causal"]) == 0
    assert scores(capsys) == good and Path("RAN").exists()
    assert main(["plan", "--trust", "bad.causal"]) == 0


@pytest.mark.parametrize(
    "words", ["bad.causal good.causal", pytest.param("good.causal bad.causal", marks=pytest.mark.slow)]
)
def test_the_other_specs_are_run_and_printed(words: str, capsys: Captured) -> None:
    assert main(["run", "--json", "good.causal"]) == 0
    (good,) = scores(capsys).values()
    assert main(["run", "--json", "--out", "kept", *words.split()]) == 2
    found = {spec["path"]: spec for spec in json.loads(capsys.readouterr().out)["specs"]}
    assert found["good.causal"]["tests"][0]["cells"][0]["scores"] == good
    (lost,) = found["bad.causal"]["tests"]
    assert (lost["status"], lost["fault"], lost["cells"]) == ("interrupted", "E346", [])
    assert [one["code"] for one in found["bad.causal"]["diagnostics"] if one["code"][0] == "E"] == ["E346"]
    assert not Path("RAN").exists()


def test_the_other_tests_of_a_spec_are_run(capsys: Captured) -> None:
    assert main(["run", "--json", "good.causal"]) == 0
    (good,) = scores(capsys).values()
    assert main(["run", "--json", "both.causal"]) == 2
    assert scores(capsys) == {"holds": good, "untrusted": "E346"}


@pytest.mark.parametrize(("words", "code"), [("", "E646"), ("--trust", "E639")])
def test_tests_on_other_networks_of_a_spec_are_run(words: str, code: str, capsys: Captured) -> None:
    """Those of one that cannot be loaded are listed with its fault, wherever they stand in the file."""
    Path("factory.py").write_text("def build():\n    raise ValueError('no such weights')\n")
    declared = GOOD[GOOD.index("network") : GOOD.index("align")].split("=")[0].replace("mlp", "lost")
    other = GOOD[GOOD.index("align") :].replace("-> mlp", "-> lost").replace("halves", "places")
    mixed = GOOD.replace("align", f'{declared}= torch("factory.py:build")\n\nalign', 1) + other.replace(
        "holds", "unloaded"
    )
    Path("mixed.causal").write_text(mixed)
    assert main(["run", "--json", "good.causal"]) == 0
    (good,) = scores(capsys).values()
    assert main(["run", "--json", "mixed.causal", *words.split(), "--out", "kept"]) == 2
    assert scores(capsys) == {"holds": good, "unloaded": code}
    (kept,) = Path("kept").glob("*/results.json")
    assert {test["name"]: test["status"] for test in json.loads(kept.read_text())["tests"]} == {
        "holds": "finished",
        "unloaded": "interrupted",
    }
    assert main(["run", "--json", "mixed.causal", *words.split(), "--test", "unloaded"]) == 2


@pytest.mark.parametrize("words", ["broken.causal good.causal", "good.causal broken.causal"])
def test_a_mistake_of_this_package_in_one_spec_keeps_no_other_from_being_printed(
    words: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    real = running.run_spec

    def broken(spec: api.Spec, checked: Checked, *more: object) -> object:
        if spec.name == "broken.causal":
            raise OwnFault("of all things")
        return real(spec, checked, *more)  # type: ignore[arg-type]

    Path("broken.causal").write_text(GOOD)
    monkeypatch.setattr(faults, "fall_back", True)
    monkeypatch.setattr(running, "run_spec", broken)
    assert main(["run", "--json", *words.split()]) == 2
    found = {spec["path"]: spec for spec in json.loads(capsys.readouterr().out)["specs"]}
    assert found["good.causal"]["tests"][0]["cells"]
    assert found["broken.causal"]["tests"][0]["fault"] == "E799"
    (told,) = [one for one in found["broken.causal"]["diagnostics"] if one["code"] == "E799"]
    assert "OwnFault: of all things" in told["notes"]
    assert main(["run", "broken.causal"]) == 2
    assert "error[E799]" in capsys.readouterr().err


@pytest.mark.slow
def test_shards_of_the_other_specs_are_made_and_united(capsys: Captured) -> None:
    assert main(["run", "--json", "good.causal"]) == 0
    (good,) = scores(capsys).values()
    assert main(["run", "--json", "--shard", "1/1", "--out", "kept", "bad.causal", "good.causal"]) == 2
    printed = capsys.readouterr()
    assert [spec["path"] for spec in json.loads(printed.out)["specs"]] == ["good.causal"]
    assert "error[E346]" in printed.err and printed.err.count("error[") == 1
    assert main(["merge", "--json", "kept", "--out", "whole"]) == 0
    assert scores(capsys) == {"holds": good}


def test_a_mistake_of_this_package_in_one_shard_keeps_no_other_from_being_made(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    real = shards.run_shard

    def broken(spec: api.Spec, *more: object) -> object:
        if spec.name == "broken.causal":
            raise OwnFault("of all things")
        return real(spec, *more)  # type: ignore[arg-type]

    Path("broken.causal").write_text(GOOD)
    monkeypatch.setattr(faults, "fall_back", True)
    monkeypatch.setattr(shards, "run_shard", broken)
    assert main(["run", "--json", "--shard", "1/1", "--out", "kept", "broken.causal", "good.causal"]) == 2
    printed = capsys.readouterr()
    assert [spec["path"] for spec in json.loads(printed.out)["specs"]] == ["good.causal"]
    assert "error[E799]" in printed.err and "broken.causal" in printed.err and "of all things" in printed.err


def test_check_says_that_ceilings_need_trust(capsys: Captured) -> None:
    """Where the code of a model may not be run, nothing is known of its rules; of the other model's test all is."""
    assert main(["check", "both.causal"]) == 0
    said = capsys.readouterr().out
    assert "  holds: noop " in said
    assert "  untrusted: known only with --trust, since the model calls `alike` of alike.py" in said
    assert main(["check", "both.causal", "--json"]) == 0
    holds, untrusted = json.loads(capsys.readouterr().out)["specs"][0]["tests"]
    assert holds["ceilings"] and "untrusted" not in holds
    assert untrusted["ceilings"] == {} and untrusted["untrusted"] == ["alike"]
    assert main(["check", "both.causal", "--json", "--trust"]) == 0
    holds, untrusted = json.loads(capsys.readouterr().out)["specs"][0]["tests"]
    assert untrusted["ceilings"] == holds["ceilings"] and "untrusted" not in untrusted


def test_check_says_that_no_variable_is_interchanged(capsys: Captured) -> None:
    Path("plain.causal").write_text(
        GOOD.replace("base, source", "base").replace("  do(left <- source)\n", "").replace("iia", "accuracy")
    )
    assert main(["check", "plain.causal"]) == 0
    assert "  holds: no variable is interchanged" in capsys.readouterr().out
