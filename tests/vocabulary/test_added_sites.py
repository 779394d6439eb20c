"""A new site is one file: a copy of the package with a module more reads it, writes it and proves it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import causal_dsl
from causal_dsl.vocabulary.components import COMPONENTS

ROOT = Path(__file__).parents[2]
#: what the gate of llama's MLP gives, before the activation
GATE = """
from causal_dsl.vocabulary.components.component import Component


def _projected(layer):
    gate = layer.read["gate"]
    yield "gate_proj(mlp_in) = gate", layer.through("gate", layer.read["mlp_in"]), HELD, ("gate",)


FAMILY = (
    Component(
        "gate", 12.6, "what the gate of the MLP gives, before the activation", 11, 11,
        width=lambda facts, site: facts.mlp_width,
        place=lambda architecture: "mlp.gate_proj>",
        absent=lambda facts, architecture: None if architecture.name == "llama" else "it has no gate",
        identity=_projected,
    ),
)
"""
SCRIPT = """
import sys
sys.path.append(ROOT)
import torch
from causal_dsl.network.known_of_network import proof_of
from tests.engine.byhand import ByHand
from tests.engine.tiny import execution_of, network_of, spec_of
from causal_dsl.engine.sweep import Sweep
from causal_dsl.planning import graph as g

text = spec_of("llama", "test t0 on a { base, source ~ m(n=3, seed=4) do(layer[1].gate[1] = 2 * current - source) report mean(kl) }",
               layers="[0]", positions="[x]")
network = network_of(text.split("align ")[0])
proof = proof_of(network)
print("gate" in proof.ok, proof.refused.get("gate", ""), proof.errors.get("gate_proj(mlp_in) = gate"))
if "gate" in proof.ok:
    execution, _ = execution_of(text)
    plan = execution.plan
    (step,) = plan.steps
    assert not step.why
    with torch.no_grad():
        got = Sweep(execution.contexts[step.network]).logits(step, step.blocks[0])
    (key, inputs), = plan.inputs.items()
    score = plan.scores["t0"][0]
    resume = score.read("patched").run
    hand = ByHand("llama")
    hand.places = {**hand.places, "gate": ("model.layers.{l}.mlp.gate_proj", "out", None, 1.0)}
    runs = [[inputs.ids(i) for i in plan.rows[g.Forward(key, score.label.draw, role)].tolist()] for role in ("base", "source")]
    for row, (base, source) in enumerate(zip(*runs)):
        here, there = (hand.vector(ids, "gate", 1)[1] for ids in (base, source))
        wanted = hand.patched(base, "gate", 1, 1, 2 * here - there)[len(base) - 1]
        assert (got[resume][row] - wanted).abs().max() < 1e-4
    print("as by hand")
"""


def _run(folder: Path, held: str) -> list[str]:
    package = folder / "causal_dsl"
    shutil.copytree(Path(causal_dsl.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("grammar", "docs"):
        shutil.copytree(Path(causal_dsl.__file__).parents[1] / name, folder / name)
    (package / "vocabulary" / "components" / "gate.py").write_text(GATE.replace("HELD", held), encoding="utf-8")
    script = f"ROOT = {str(ROOT)!r}\n{SCRIPT}"
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


@pytest.mark.slow
def test_a_site_is_one_file(tmp_path: Path) -> None:
    first, *rest = _run(tmp_path, "gate")
    ok, error = first.split(maxsplit=1)
    assert ok == "True" and float(error) < 1e-5
    assert rest == ["as by hand"]


@pytest.mark.slow
def test_a_site_that_is_not_where_its_file_says_is_refused_at_load(tmp_path: Path) -> None:
    (told,) = _run(tmp_path, "gate + 1")
    assert told.startswith("False `gate_proj(mlp_in) = gate` does not hold at layer 0")


@pytest.mark.parametrize("name", list(COMPONENTS))
def test_every_component_is_told_and_has_a_line_of_its_own(name: str) -> None:
    about = COMPONENTS[name]
    assert about.meaning and 0 <= about.rank <= 90
    assert [other.name for other in COMPONENTS.values() if other.rank == about.rank] == [name]
