"""`run --reference`: whole forward passes, cell by cell, give what the one pass gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from causal_dsl.engine.sweep import Sweep
from causal_dsl.tools.cli import main
from tests.engine.tiny import spec_of

TESTS = """
test swap on a { base, source ~ m(n=24, seed=3) do(same <- source)
  report iia  report mean(kl)  report mean(logit(o))  report change(logit(o)) }
test ablation on a { base ~ m(n=24, seed=4) do(layer[1].mlp_out[y] = mean, layer[2].attn_out[last] = 0)
  report mean(kl)  report moved }
test plain on a { base ~ m(n=24, seed=5) report accuracy }
"""
Captured = pytest.CaptureFixture[str]


def run(spec: Path, capsys: Captured, *words: str) -> dict[str, Any]:
    assert main(["run", str(spec), "--json", *words]) == 0
    (found,) = json.loads(capsys.readouterr().out)["specs"]
    return found


def codes(found: dict[str, Any]) -> list[str]:
    return [d["code"] for d in found["diagnostics"]]


def values(found: dict[str, Any]) -> dict[tuple[str, int, str], float]:
    return {
        (test["name"], number, name): score["value"]
        for test in found["tests"]
        for number, cell in enumerate(test["cells"])
        for name, score in cell["scores"].items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "bert"])
def test_whole_forwards_find_what_the_one_pass_finds(
    family: str, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, out = tmp_path / "s.causal", tmp_path / "out"
    spec.write_text(spec_of(family, TESTS), encoding="utf-8")
    kept = ("--trust", "--out", str(out))
    fast = run(spec, capsys, *kept)
    (path,) = out.glob("*/pairs.parquet")
    fast_pairs = pandas.read_parquet(path)
    monkeypatch.setattr(Sweep, "run", lambda *_: pytest.fail("a pass of several interventions"))
    slow = run(spec, capsys, *kept, "--reference")
    slow_pairs = pandas.read_parquet(path)

    assert fast["networks"]["net"]["executor"].startswith("sweep")
    assert slow["networks"]["net"]["executor"] == "reference: it was asked for"
    assert "W655" not in codes(slow)
    assert (fast["identity"]["reference"], slow["identity"]["reference"]) == (False, True)
    assert fast["identity"]["key"] != slow["identity"]["key"]
    assert "W658" in codes(slow)  # the blocks of the other run are not taken

    one, other = values(fast), values(slow)
    assert list(one) == list(other) and len(one) > 6 * 4
    np.testing.assert_allclose(list(other.values()), list(one.values()), rtol=1e-4, atol=1e-4)
    assert list(fast_pairs.columns) == list(slow_pairs.columns) and len(fast_pairs) == len(slow_pairs)
    for name in fast_pairs:
        if fast_pairs[name].dtype.kind == "f":
            np.testing.assert_allclose(slow_pairs[name], fast_pairs[name], rtol=1e-4, atol=1e-4)
        else:  # of some runs the pass reads the answers alone: what else they would say is not known
            known = fast_pairs[name].notna() & slow_pairs[name].notna()
            assert known.any() and (fast_pairs[name] == slow_pairs[name])[known].all(), name

    again = run(spec, capsys, *kept, "--reference")  # now they are its own
    assert values(again) == other and "W658" not in codes(again)


def test_a_network_that_no_pass_fits_is_not_warned_of_where_it_was_asked_for(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "odd.py").write_text(
        "import torch\n"
        "def make():\n"
        "    torch.manual_seed(0)\n"
        "    return Odd()\n"
        "class Odd(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.first, self.second = torch.nn.Linear(2, 4), torch.nn.Linear(4, 2)\n"
        "    def forward(self, x):\n"
        "        return self.second(torch.tanh(self.first(x)))\n",
        encoding="utf-8",
    )
    spec = tmp_path / "s.causal"
    spec.write_text(
        "causal m { a, b ~ 0..1  both := a == b  output o := both }\n"
        'network net = torch("odd.py:make")\n'
        'align al : m -> net { a @ input[0:1] via scalar()  b @ input[1:2] via scalar()  both @ module("first")  o @ logits }\n'
        "test t on al { base, source ~ m(n=8) do(both <- source) report iia }\n",
        encoding="utf-8",
    )
    plainly = run(spec, capsys, "--trust")
    asked = run(spec, capsys, "--trust", "--reference")
    assert values(plainly) == values(asked)
    assert plainly["networks"]["net"]["executor"].startswith("reference: ") and "W655" in codes(plainly)
    assert asked["networks"]["net"]["executor"] == "reference: it was asked for" and "W655" not in codes(asked)
