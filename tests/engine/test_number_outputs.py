"""Outputs that are real numbers, read by a metric, against hooks, formulas and chance levels that are written out by hand."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas
import pytest

import causal_dsl as cd
from causal_dsl import api
from tests.engine.byhand import ByHand
from tests.engine.tiny import folder_of

SPEC = """
domain W = {"w10", "w11", "w12"}
causal m {
  x, y, z ~ W
  same := x == y
  near := x == z
  output ld : real(-20, 20) := (if same then 0.5 else -0.25) + (if near then 0.125 else 0.0)
}
network net = hf("FOLDER")
align at(l in 0:3) : m -> net {
  prompt "{x} w1 {y} w2 {z} w3"
  same @ layer[l].resid_post[PLACE]
  ld   @ METRIC
}
test moved on at {
  base, source ~ m(n=80, seed=2) where base.same != source.same
  do(same <- source)
  report change(prob("w20")), mse
}
"""
METRIC = 'logit(y) - 0.5 * logit("w40")'


def score(said: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    return {
        "mse": float(np.mean((said - wanted) ** 2)),
        "r2": 1 - float(np.sum((said - wanted) ** 2) / np.sum((wanted - wanted.mean()) ** 2)),
        "corr": float(np.corrcoef(said, wanted)[0, 1]),
    }


def ld(same: bool, near: bool) -> float:
    return (0.5 if same else -0.25) + (0.125 if near else 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_number_is_read_by_its_metric(name: str) -> None:
    text = SPEC.replace("FOLDER", folder_of(name)).replace("METRIC", METRIC).replace("PLACE", "y")
    result = cd.run(cd.parse(text)).tests[0]
    plan = cd.check(cd.parse(text)).plan
    assert plan is not None
    drawn, model, hand = plan.draw_of(plan.tests[0]), plan.tests[0].model, ByHand(name)
    for layer in range(3):
        before, after, own, wanted = [], [], [], []
        for row in range(drawn.n):
            (x, y, z), (s, t, u) = (
                [int(model.decode(v, [drawn.values[role][v][row]])[0][1:]) for v in "xyz"]  # type: ignore[index]
                for role in ("base", "source")
            )
            vector = hand.vector((s, 1, t, 2, u, 3), "resid_post", layer)[2]
            prompt = (x, 1, y, 2, z, 3)
            runs = hand.logits(prompt)[-1].double(), hand.patched(prompt, "resid_post", layer, 2, vector)[-1].double()
            for run, found in zip(runs, (before, after), strict=True):
                found.append(float(run[y] - 0.5 * run[40]))
            own.append(ld(x == y, x == z))
            wanted.append(ld(s == t, x == z))
        scores = result.cells[layer].scores
        for measure, value in score(np.array(after), np.array(wanted)).items():
            assert scores[measure].value == pytest.approx(value, rel=1e-4), measure
        assert scores["r2_unpatched"].value == pytest.approx(score(np.array(before), np.array(own))["r2"], rel=1e-4)
        low, high = scores["r2"].low, scores["r2"].high
        assert low is not None and high is not None and low <= scores["r2"].value <= high  # type: ignore[operator]
        assert result.cells[layer].verdict is not None


def test_chance_levels_of_numbers_are_those_of_all_pairs() -> None:
    text = SPEC.replace("FOLDER", folder_of("gpt2")).replace("METRIC", METRIC).replace("PLACE", "y")
    ceilings = cd.check(cd.parse(text)).ceilings["moved"]
    inputs = list(itertools.product(range(3), repeat=3))
    rows = []
    for (x, y, z), (s, t, u) in itertools.product(inputs, repeat=2):
        if (x == y) != (s == t):
            rows.append((ld(s == t, x == z), ld(x == y, x == z), ld(s == t, s == u)))
    wanted, base, source = np.array(rows).T
    assert {name: ceiling.value for name, ceiling in ceilings.items()} == pytest.approx(
        {"constant": 0.0, "base_value": score(base, wanted)["r2"], "source_value": score(source, wanted)["r2"]}
    )
    assert all(ceiling.exact for ceiling in ceilings.values())
    drawn = text.replace("x, y, z ~ W", "x, y, z ~ W\n  r ~ real(0, 1)").replace("near := x == z", "near := r > 0.5")
    sampled = cd.check(cd.parse(drawn.replace("if near then 0.125 else 0.0", "0.25 * r"))).ceilings["moved"]
    assert not any(ceiling.exact for ceiling in sampled.values())
    ceiling = sampled["base_value"]
    assert ceiling.low < ceiling.value < ceiling.high


VECTOR = """
causal halves {
  a, b, c, d ~ 0..3
  left  := a == b
  right := c == d
  output same : real(0, 1) := if left == right then LOW else HIGH
}
network mlp = zoo("equality-relu")
align at : halves -> mlp {
  a..d @ input via onehot()
  left @ layer[1].out[0:2]
  same @ READ
}
test t on at {
  base, source ~ halves(n=400, seed=0)
  do(left <- source)
  report r2, corr, mse
}
"""


def run(read: str, low: str = "0.75", high: str = "0.25", out: Path | None = None) -> cd.TestResult:
    text = VECTOR.replace("READ", read).replace("LOW", low).replace("HIGH", high)
    return api.run(cd.parse(text), api.Options(out=out)).tests[0]


def test_a_number_that_is_where_it_is_said_is_supported() -> None:
    prob = run("prob(1)", "0.73", "0.27")
    assert prob.verdict is not None and prob.verdict.code == "supported", prob.verdict
    assert prob.cells[0].scores["r2"].value > 0.9  # type: ignore[operator]
    assert prob.cells[0].scores["corr"].value == pytest.approx(1)
    other = run("prob(0)", "0.73", "0.27")
    assert other.verdict is not None and other.verdict.code == "unsolved"
    assert other.cells[0].scores["corr"].value == pytest.approx(-1)


def test_a_logit_is_a_number_and_the_table_of_pairs_has_it(tmp_path: Path) -> None:
    result = run("logits[1]", out=tmp_path)
    assert result.cells[0].scores["corr"].value == pytest.approx(1)
    (folder,) = tmp_path.iterdir()
    table = pandas.read_parquet(folder / "pairs.parquet")
    numbers, wanted = table["logit(1)"].to_numpy(), table["label"].astype(float).to_numpy()
    assert result.cells[0].scores["mse"].value == pytest.approx(np.mean((numbers - wanted) ** 2))


def test_a_number_that_is_placed_in_python_is_the_same_text() -> None:
    spec = cd.parse(VECTOR.replace("READ", "logit(1) - logit(0)").replace("LOW", "1.0").replace("HIGH", "0.0"))
    model = cd.Causal("halves")
    a, b = model.draw("a", "b", domain=cd.between(0, 3))
    same = model.output("same", cd.if_(a == b, 1.0, 0.0))
    at = cd.align("at", model, cd.zoo("equality-relu", name="mlp"))
    at.place(same, cd.logit(1) - cd.logit(0))
    assert "same @ logit(1) - logit(0)" in cd.spec(at).source()
    assert "same @ logit(1) - logit(0)" in spec.source()
    assert cd.parse(spec.source()).source() == spec.source()


OWN = """
import torch


class Own(torch.nn.Module):
    def __init__(self, logits):
        super().__init__()
        self.in_features = 2
        self.layers = torch.nn.ModuleList([torch.nn.Linear(2, 2, bias=False)])
        self.head = torch.nn.Linear(2, logits, bias=False)
        self.layers[0].weight.data = torch.eye(2)
        self.head.weight.data = torch.zeros(logits, 2)
        self.head.weight.data[-1] = torch.tensor([3.0, 1.0])

    def forward(self, x):
        return self.head(self.layers[0](x))


def one():
    return Own(1)


def three():
    return Own(3)
"""
OWN_SPEC = """
causal m {
  a, b ~ 0..3
  k := a
  output y : real(-50, 50) := 3.0 * k + b
}
network net = torch("own.py:FACTORY")
align al : m -> net {
  a @ input[0:1] via scalar()
  b @ input[1:2] via scalar()
  k @ layer[0].out[0]
  y @ READ
}
test moved on al {
  base, source ~ m(n=32, seed=0)
  do(k <- source)
  expect r2 >= 99%
}
"""


@pytest.mark.parametrize(
    ("factory", "read"), [("one", "logits"), ("one", "logits[0]"), ("three", "logits[2]"), ("three", "logits")]
)
@pytest.mark.thinned(always=1)
def test_a_network_of_code_gives_a_number(factory: str, read: str, tmp_path: Path) -> None:
    """Nothing is known of its logits until it is loaded: `check` refuses none, and `run` those that are not one number."""
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    file = tmp_path / "own.causal"
    file.write_text(OWN_SPEC.replace("FACTORY", factory).replace("READ", read), encoding="utf-8")
    trusting = api.Options(trust=True)
    assert cd.check(cd.load(file), trusting).errors == []
    if (factory, read) == ("three", "logits"):
        with pytest.raises(cd.SpecError) as refused:
            cd.run(file, trusting)
        assert [(fault.code, "logits[0]" in (fault.help or "")) for fault in refused.value.diagnostics] == [
            ("E678", True)
        ]
        return
    result = cd.run(file, trusting).tests[0]
    assert (result.cells[0].scores["r2"].value, result.cells[0].scores["mse"].value) == (1, 0)
