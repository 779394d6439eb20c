"""``plan`` through the command line says what a run does: on networks that are loaded, in units, and in memory."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import causal_dsl as cd
from causal_dsl.tools.cli import main
from causal_dsl.units import units_of
from tests.equality import gpt2

FITTED = gpt2(
    "left @ layer[1].resid_post[b] via rotation(dim=1, n=8, epochs=1, restarts=1)",
    tests="test fitted on at {\n  base, source ~ equality(n=8, seed=0)\n  do(left <- source)\n  report iia\n}\n",
)
#: Means over all pairs are taken within a pass that is whole, and in passes of their own before one that is cut.
MEANS = (
    gpt2(
        "left @ layer[1].resid_post[b]",
        tests="test ablated on at {\n  base ~ equality(n=200, seed=3)\n  do(layer[0:3].resid_post[b] = mean)\n  report moved\n}\n",
    )
    .replace("layer[0:3]", "layer[l]")
    .replace("align at :", "align at(l in 0:3) :")
    .replace("layer[1]", "layer[l]")
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fitted.causal").write_text(FITTED)
    (tmp_path / "means.causal").write_text(MEANS)
    return tmp_path


def test_a_loaded_plan_has_the_networks_of_controls(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "fitted.causal", "--load", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["specs"]
    assert {"net", "net (untrained)"} <= {step["network"] for step in told["steps"]}


@pytest.mark.parametrize("load", [[], ["--load"]])
@pytest.mark.parametrize("memory", [14_000_000, 24_000_000, 10**9])
@pytest.mark.thinned(always=3)
def test_a_plan_counts_the_units_that_a_run_has(
    folder: Path, load: list[str], memory: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "means.causal", "--json", "--batch-memory", str(memory), *load]) == 0
    (told,) = json.loads(capsys.readouterr().out)["specs"]
    assert told["units"]["blocks"] == len(units_of(cd.load("means.causal"), cd.Options(memory=memory)))


@pytest.mark.parametrize("megabytes", [11, 16, 24, 30])
@pytest.mark.thinned(always=1)
def test_a_plan_keeps_to_the_memory_that_it_is_given_or_says_that_it_does_not(
    folder: Path, megabytes: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "means.causal", "--batch-memory", f"{megabytes}MB"]) == 0
    told = capsys.readouterr().out
    (process,) = re.findall(r"\((\d+) MB of a CPU process\)", told)
    beyond = (
        f"a CPU process takes more than the {megabytes} MB that it was given: a process takes 10 MB beside its tensors"
    )
    assert (int(process) > megabytes) == (beyond in told) == (megabytes < 20)
