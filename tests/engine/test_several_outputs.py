"""Tests that read several outputs, at one token and at several, against hooks and shares that are written out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch

import causal_dsl as cd
from causal_dsl import api
from tests.engine.byhand import ByHand
from tests.engine.tiny import folder_of

SPEC = """
domain W = {"w10", "w11", "w12", "w13", "w14"}
domain V = {"w20", "w21", "w22"}
causal m {
  x, y, z ~ W
  output o := if x == y then z else x
  output v : V := if x == z then "w20" else if x == y then "w21" else "w22"
}
network net = hf("FOLDER")
align at(l in 0:3) : m -> net {
  prompt "{x} w1 {y} w2 {z} w3"
  x @ layer[l].resid_post[x]
  o @ next_token(among=W)[READ]
  v @ next_token(among=V)
}
test moved on at {
  base, source ~ m(n=60, seed=2) where FILTER base.x != source.x
  do(x <- source)
  report iia, iia(o), iia(v), moved, moved(v), kl(o), kl(v), logit(o), prob(label.v), change(logit(v) - logit(source.o))
  report iia(o) - iia(v), logit("w22", of=v), accuracy
}
"""
X, READS = 0, {"z": 4, "last": 5}


def kl(before: torch.Tensor, after: torch.Tensor, at: int) -> float:
    p, q = torch.log_softmax(before[at], 0), torch.log_softmax(after[at], 0)
    return float((p.exp() * (p - q)).sum())


def text_of(read: str, filtered: str = "") -> str:
    return SPEC.replace("FOLDER", folder_of("gpt2")).replace("READ", read).replace("FILTER", filtered)


def label(x: int, y: int, z: int) -> tuple[int, int]:
    return (z if x == y else x), (20 if x == z else 21 if x == y else 22)


@pytest.mark.thinned(slow=2)
@pytest.mark.slow
@pytest.mark.parametrize(("read", "filtered"), [("z", ""), ("last", ""), ("last", "solved(base) and")])
def test_each_output_is_scored_at_its_own_token_and_all_together(read: str, filtered: str) -> None:
    text = text_of(read, filtered)
    if filtered:
        text = text.replace("report iia,", "report iia_informative,")
    result = cd.run(cd.parse(text)).tests[0]
    plan = cd.check(cd.parse(text)).plan
    assert plan is not None
    drawn, model, hand = plan.draw_of(plan.tests[0]), plan.tests[0].model, ByHand("gpt2")
    at = READS[read]
    for layer in range(3):
        numbers: dict[str, list[float]] = {}
        for row in range(drawn.n):
            values = {
                role: [int(model.decode(v, [drawn.values[role][v][row]])[0][1:]) for v in "xyz"]  # type: ignore[index]
                for role in ("base", "source")
            }
            (x, y, z), (s, t, u) = values["base"], values["source"]
            mine, theirs = (x, 1, y, 2, z, 3), (s, 1, t, 2, u, 3)
            vector = hand.vector(theirs, "resid_post", layer)[X]
            before = hand.logits(mine).double()
            after = hand.patched(mine, "resid_post", layer, X, vector).double()

            def said(run: torch.Tensor) -> tuple[int, int]:
                return int(run[at, 10:15].argmax()) + 10, int(run[5, 20:23].argmax()) + 20

            wanted, own, other = label(s, y, z), label(x, y, z), label(s, t, u)
            if filtered and said(before) != own:
                continue
            right = [a == b for a, b in zip(said(after), wanted, strict=True)]
            moves = [a != b for a, b in zip(said(before), said(after), strict=True)]

            found = {
                "iia": all(right),
                "iia(o)": right[0],
                "iia(v)": right[1],
                "iia(o) - iia(v)": right[0] - right[1],
                "moved": any(moves),
                "moved(v)": moves[1],
                "kl(o)": kl(before, after, at),
                "kl(v)": kl(before, after, 5),
                "logit(o)": after[at, own[0]],
                "prob(label.v)": torch.softmax(after[5], 0)[wanted[1]],
                "change(logit(v) - logit(source.o))": (after[5, own[1]] - after[at, other[0]])
                - (before[5, own[1]] - before[at, other[0]]),
                'logit("w22", of=v)': after[5, 22],
                "accuracy": said(before) == own,
                "accuracy(o)": said(before)[0] == own[0],
            }
            for measure, value in found.items():
                numbers.setdefault(measure, []).append(float(value))
        scores = result.cells[layer].scores
        if filtered and not numbers:
            assert result.kept == 0 and scores["iia"].value is None
            continue
        assert scores["iia"].n == len(numbers["iia"]) == result.kept
        for measure, values_of in numbers.items():
            assert scores[measure].value == pytest.approx(np.mean(values_of), abs=2e-5), (layer, measure)
        for output in "ov":
            one = result.outputs[output].cells[layer].scores
            assert one["iia"].value == pytest.approx(np.mean(numbers[f"iia({output})"]))
            assert one["iia"] == scores[f"iia({output})"]


@pytest.mark.slow
def test_an_output_is_what_it_is_in_a_test_of_its_own() -> None:
    """Scores, intervals, ceilings, verdicts and findings of one output do not depend on which others are read."""
    both = cd.run(cd.parse(text_of("z"))).tests[0]
    for output, other in (("o", "v"), ("v", "o")):
        lines = [line for line in text_of("z").splitlines() if not line.startswith(f"  {other} @")]
        alone = "\n".join(line for line in lines if not line.startswith("  report"))
        alone = alone.replace("do(x <- source)", f"do(x <- source)\n  report iia({output}), kl({output})")
        mine, theirs = both.outputs[output], cd.run(cd.parse(alone)).tests[0]
        assert mine.ceilings == theirs.ceilings
        for cell, same in zip(mine.cells, theirs.cells, strict=True):
            assert cell.verdict == same.verdict
            assert {f.text for f in cell.findings} == {f.text for f in same.findings}
            for name, score in cell.scores.items():
                assert score == same.scores[name]
        for cell, same in zip(both.cells, theirs.cells, strict=True):
            assert cell.scores[f"iia({output})"] == same.scores[f"iia({output})"]
            assert cell.scores[f"kl({output})"].value == same.scores[f"kl({output})"].value


VECTOR = """
causal both {
  a, b, c, d ~ 0..3
  left  := a == b
  right := c == d
  output same := left == right
  output differ := left != right
  output one : 0..1 := if left then 1 else 0
}
network mlp = zoo("equality-relu")
align halves : both -> mlp {
  a..d @ input via onehot()
  left   @ layer[1].out[0:2]
  right  @ layer[1].out[2:4]
  same   @ logits
  differ @ logits
  one    @ logits
}
test t on halves {
  base, source ~ both(n=256, seed=0) where base.left != source.left
  do(left <- source)
  expect EXPECTED
  report accuracy
}
"""


def run(expected: str, out: Path | None = None) -> Any:
    spec = cd.parse(VECTOR.replace("EXPECTED", expected))
    return api.run(spec, api.Options(out=out)).tests[0]


def test_all_outputs_are_right_or_the_run_is_wrong() -> None:
    result = run("iia(same) >= 95% and iia(differ) <= 5% and iia <= 5%")
    assert result.passed
    scores = result.cells[0].scores
    assert (scores["iia(same)"].value, scores["iia(differ)"].value, scores["iia"].value) == (1, 0, 0)
    assert result.verdict is not None and result.verdict.code == "unsolved"
    assert {name: one.verdict.code for name, one in result.outputs.items() if one.verdict} == {
        "same": "vacuous",
        "differ": "unsolved",
        "one": "unsolved",
    }


def test_what_is_written_holds_each_output(tmp_path: Path) -> None:
    result = run("iia(same) >= 95%", out=tmp_path)
    (folder,) = tmp_path.iterdir()
    document = json.loads((folder / "results.json").read_text())["tests"][0]
    assert list(document["outputs"]) == ["same", "differ", "one"]
    assert document["outputs"]["same"]["cells"][0]["scores"]["iia"]["value"] == 1
    table = pandas.read_parquet(folder / "pairs.parquet")
    assert set(table["test"]) == {"t"} and set(table["output"]) == {"same", "differ", "one"}
    right = (table["network_answer"] == table["label"]).groupby(table["pair"]).all()
    assert right.mean() == result.cells[0].scores["iia"].value
    for name in result.outputs:
        own = table[table["output"] == name]
        assert (own["network_answer"] == own["label"]).mean() == result.cells[0].scores[f"iia({name})"].value


FITTED = """
align learned : at(l=1) {
  x @ layer[1].resid_post[x] via rotation(dim=8, epochs=3, n=64, seed=0)
}
test fitted on learned {
  base, source ~ m(n=40, seed=2)
  do(x <- source)
  report iia
}
"""


@pytest.mark.slow
def test_a_feature_is_fitted_on_all_outputs_that_are_read() -> None:
    text = text_of("last")[: text_of("last").index("test moved")] + FITTED
    checked = cd.check(cd.parse(text))
    assert checked.fits is not None
    (unit,) = [unit for unit in checked.fits.units if not unit.maps[0].variant]
    assert len(unit.experiments) == 2
    result = cd.run(cd.parse(text)).tests[0]
    maps = [one.cells[0].learned.features for one in result.outputs.values() if one.cells[0].learned is not None]
    assert len(maps) == 2 and maps[0] == maps[1]
    assert {"above_controls", "not_above_controls"} & {f.code for f in result.outputs["o"].cells[0].findings}
