"""A network that is trained towards a model with two algorithms: on the inputs of each, the circuit of that one is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from causal_dsl import api
from causal_dsl.api import Options

FACTORY = """
from torch import nn


def build():
    return nn.Sequential(
        nn.Sequential(nn.Linear(5, 24), nn.Tanh()),
        nn.Sequential(nn.Linear(24, 10), nn.Tanh()),
        nn.Sequential(nn.Linear(10, 16), nn.Tanh()),
        nn.Linear(16, 2),
    )
"""
INPUTS = "\n".join(
    f"  {name} @ input[{n}:{n + 1}] via scalar()" for n, name in enumerate(("a", "b", "c", "d", "other"))
)
PLACES = f"""{INPUTS}
  first  @ layer[1].out[0:4]
  second @ layer[1].out[4:8]
  o      @ logits
"""
SPEC = f"""
causal branches {{
  a, b, c, d, other ~ bool
  first  := a != b
  second := c != d
  output o := if other then second else first
}}

network blank = torch("net.py:build")

align parts : branches -> blank {{
{PLACES}}}

network net = train(parts, steps=2000, rate=0.01, seed=0)

align placed : branches -> net {{
{PLACES}}}

metric gap = logit(o) - logit(source.o)

circuit best : net = discover(nodes, method=exact, keep=60%, by=absolute, among=[unit])

circuit taught : net {{
  first  = layer[1].out[0:4]
  second = layer[1].out[4:8]
}}

test solved on placed {{
  base ~ branches(exhaustive=true)
  expect accuracy >= 100%
}}
"""
FOUND = """
test found_WHICH on placed {
  base, source ~ branches(n=400, seed=0, controls=none) where ON and base.o != source.o
  do(outside(best, among=[unit]) <- source)
  report faithfulness(gap)
}

test WHICH_by_PART on placed {
  base, source ~ branches(n=400, seed=0, controls=none) where ON and base.o != source.o
  do(taught.PART <- source)
  report change(gap)
}
"""
ON = {"first": "not base.other and not source.other", "second": "base.other and source.other"}


@pytest.mark.slow
def test_each_algorithm_has_a_circuit_of_its_own(tmp_path: Path) -> None:
    """Each circuit's units of the taught layer are those that its algorithm was put in; and these change the answer on its inputs alone."""
    (tmp_path / "net.py").write_text(FACTORY)
    tests = ""
    for which, on in ON.items():
        for part in ON:
            made = FOUND.replace("WHICH", which).replace("PART", part).replace("ON", on)
            tests += made if part == which else made[made.index(f"\ntest {which}_by") :]
    (tmp_path / "two.causal").write_text(SPEC + tests)
    results = {
        test.name: test.cells[0] for test in api.run(api.load(tmp_path / "two.causal"), Options(trust=True)).tests
    }
    assert results["solved"].scores["accuracy"].value == 1
    blocks = {"first": range(4), "second": range(4, 8)}
    layer: dict[str, dict[int, float]] = {}
    for which, units in blocks.items():
        circuit = results[f"found_{which}"].circuit
        assert circuit is not None
        scores = circuit.found[0].scores
        layer[which] = {unit: abs(scores[f"layer[1].out[{unit}]"]) for unit in range(10)}
        best = sorted(layer[which], key=lambda unit: -layer[which][unit])[:2]
        assert set(best) <= set(units)
        assert sum(layer[which][unit] for unit in units) > 0.7 * sum(layer[which].values())
        moved = {part: results[f"{which}_by_{part}"].scores["change(gap)"].value for part in blocks}
        other = next(part for part in blocks if part != which)
        own, strange = moved[which], moved[other]
        assert own is not None and strange is not None and own < 0 and abs(strange) < 0.1 * abs(own)
