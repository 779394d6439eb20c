"""A new measure is one file, and a new score of circuits one record: a copy of the package with them checks, runs and explains them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import causal_dsl
from tests.equality import relu

ROOT = Path(causal_dsl.__file__).parents[1]
#: How sure the network is of what it says most.
TOP = '''"""The largest probability."""

from causal_dsl.vocabulary.measures.measure import Measure

MEASURE = Measure(
    name="top",
    says="the largest probability that a run gives",
    unit="share",
    per="pair",
    needs=("distribution",),
    formula=lambda run: run.exp().max(dim=1).values,
    better=None,
    interval="mean",
    leads=4,
    asks=(2, "how sure the network is"),
)
'''
#: A score of circuits under another name, with what makes it in a module of its own.
SURPLUS = (
    'CircuitScore("surplus", "as `sufficiency`", "surplus_of_circuits:made"),\n        CircuitScore("sufficiency",'
)
MADE = "from causal_dsl.measures.made_circuit_scores import sufficiency as made\n"
SPEC = relu(tests="test t on halves {\n  base ~ equality(exhaustive=true, controls=none)\n  report mean(top)\n}\n")
SCRIPT = """
import json
import torch
import causal_dsl as cd
from causal_dsl.score.agreements import ASKS
from causal_dsl.tools.explained_words import explained
from causal_dsl.vocabulary.measures import leading

spec = cd.load("spec.causal")
cell = cd.run(spec)["t"].cell()
(network,) = cd.networks(spec).values()
every = torch.cartesian_prod(*[torch.arange(4)] * 4)
inputs = torch.nn.functional.one_hot(every, 4).reshape(256, 16).double()
with torch.no_grad():
    by_hand = network.model(inputs).softmax(dim=1).max(dim=1).values.mean()
print(json.dumps({
    "score": cell.scores["mean(top)"].value,
    "by_hand": float(by_hand),
    "page": explained("top"),
    "python": str(cd.top),
    "leads": leading(["top", "else"]),
    "asks": list(ASKS)[:3],
    "circuits": explained("surplus"),
    "function": str(cd.build.surplus),
}))
"""


@pytest.mark.slow
def test_a_measure_is_one_file_and_a_score_of_circuits_one_record(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("causal_dsl", "grammar", "docs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    vocabulary = tmp_path / "causal_dsl" / "vocabulary"
    (vocabulary / "measures" / "top.py").write_text(TOP, encoding="utf-8")
    records = vocabulary / "circuit_scores.py"
    text = records.read_text(encoding="utf-8")
    assert text.count('CircuitScore("sufficiency",') == 1
    records.write_text(text.replace('CircuitScore("sufficiency",', SURPLUS), encoding="utf-8")
    (tmp_path / "surplus_of_circuits.py").write_text(MADE, encoding="utf-8")
    (tmp_path / "spec.causal").write_text(SPEC, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["score"] == pytest.approx(found["by_hand"], abs=1e-6)
    assert 0.5 < found["score"] < 1
    assert "the largest probability that a run gives" in found["page"]
    assert found["python"] == "top" and found["leads"] == "top" and found["asks"] == ["accuracy", "iia", "top"]
    assert "as `sufficiency`" in found["circuits"] and found["function"] == "surplus"
