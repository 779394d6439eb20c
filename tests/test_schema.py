"""What `run --json`, `check --json` and `plan --json` print is what the published schema says, and nothing else."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from causal_dsl.base.resources import resource
from causal_dsl.engine.execute import Execution
from causal_dsl.tools.cli import main
from tests.thinning import some

ROOT = Path(__file__).parents[1]
SCHEMA = json.loads(Path(resource("docs", "output.schema.json")).read_text(encoding="utf-8"))
SPECS = ["equality_relu", "equality", "logic", "equality_mlp", "equality_mlp_das", "attributes", "rotated_and", "train"]
Captured = pytest.CaptureFixture[str]


def valid(document: Any, name: str) -> None:
    whole = {"$defs": SCHEMA["$defs"], "$ref": f"#/$defs/{name}"}
    jsonschema.Draft202012Validator(whole).validate(document)


def printed(capsys: Captured, *words: str) -> Any:
    main([*words])
    return json.loads(capsys.readouterr().out)


def test_the_schema_is_that_of_the_shapes() -> None:
    found = runpy.run_path(str(ROOT / "docs" / "generate.py"))["schema_text"]()
    assert (ROOT / "docs" / "output.schema.json").read_text(encoding="utf-8") == found, "run docs/generate.py"
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for about in SCHEMA["$defs"].values():
        assert about["additionalProperties"] is False and about["description"]
        assert all(field["description"] for field in about["properties"].values())


@pytest.mark.parametrize("name", ["Run", "Check", "Plan"])
def test_another_field_is_refused(name: str) -> None:
    valid({"specs": []}, name)
    with pytest.raises(jsonschema.ValidationError):
        valid({"specs": [], "more": 1}, name)
    with pytest.raises(jsonschema.ValidationError):
        valid({"specs": [{"path": "x", "diagnostics": [], "tests": [], "more": 1}]}, name)


@pytest.mark.parametrize("name", some(SPECS, ["equality_relu"], slow_step=3))
def test_checks_and_plans_of_shipped_specs(name: str, capsys: Captured) -> None:
    spec = str(ROOT / "specs" / f"{name}.causal")
    valid(printed(capsys, "check", spec, "--json"), "Check")
    valid(printed(capsys, "plan", spec, "--json"), "Plan")


@pytest.mark.slow
def test_a_run_of_a_shipped_spec(capsys: Captured, tmp_path: Path) -> None:
    """Those of the others are in ``tests/test_specs.py``."""
    spec = str(ROOT / "specs" / "equality_relu.causal")
    found = printed(capsys, "run", spec, "--json", "--out", str(tmp_path))
    valid(found, "Run")
    assert found["specs"][0]["tests"]
    (kept,) = tmp_path.rglob("results.json")
    valid(json.loads(kept.read_text(encoding="utf-8")), "Spec")


SPEC = """causal m {
  a, b ~ 0..3
  both          := a == b
  output answer := both
}
network net = torch("net.py:make")
align al(l in 0:3) : m -> net {
  a @ input[0:4] via onehot()
  b @ input[4:8] via onehot()
  both @ layer[l].out
  answer @ logits(false, true)
}
test swept on al {
  base, source ~ m(n=40, seed=1)
  do(both <- source)
  report max(iia)
  expect min(iia) >= 99%
}
test chosen on al {
  base, source ~ m(n=40, seed=1)
  do(layer[l].out[0:2] = 0)
  expect argmax(moved).l == 7
}
test plain on al(l=0) {
  base ~ m(n=20, seed=2)
  expect accuracy >= 100%
}
"""


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A spec whose expectations fail, on a network that knows nothing."""
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(
        "import torch\nfrom torch import nn\n\n\ndef make():\n    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2))\n"
    )
    Path("s.causal").write_text(SPEC, encoding="utf-8")
    return "s.causal"


def test_failing(spec: str, capsys: Captured) -> None:
    found = printed(capsys, "run", spec, "--json", "--trust")
    valid(found, "Run")
    (of_file,) = found["specs"]
    assert "failed" in {test["status"] for test in of_file["tests"]}
    assert any(test["wrong_answers"] for test in of_file["tests"])


def test_interrupted(spec: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(self: Execution) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Execution, "run", stopped)
    found = printed(capsys, "run", spec, "--json", "--trust")
    valid(found, "Run")
    assert {test["status"] for test in found["specs"][0]["tests"]} == {"interrupted"}


@pytest.mark.parametrize("command", ["check", "plan", "run"])
@pytest.mark.parametrize("fault", ["causal m {", SPEC.replace("both <- source", "bath <- source"), ""])
def test_faults(command: str, fault: str, spec: str, capsys: Captured) -> None:
    Path(spec).write_text(fault, encoding="utf-8")
    found = printed(capsys, command, spec, "--json")
    valid(found, command.capitalize())
    if fault:
        assert found["specs"][0]["diagnostics"]


def test_a_file_that_is_not_there(capsys: Captured) -> None:
    for command in ("check", "plan", "run"):
        valid(printed(capsys, command, "nowhere.causal", "--json"), command.capitalize())


def test_every_definition_that_is_named_is_there() -> None:
    text = (Path(__file__).parents[1] / "docs" / "output.schema.json").read_text(encoding="utf-8")
    named = set(re.findall(r'"#/\$defs/(\w+)"', text))
    assert named and named <= set(json.loads(text)["$defs"])
