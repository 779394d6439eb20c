"""Outputs that accept several answers on a tiny random network, against hooks and sums written out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import causal_dsl as cd
from tests.engine.byhand import ByHand
from tests.engine.tiny import folder_of

SPEC = """
domain N = 10..17
causal later {
  x, z ~ 10..14
  earlier := {y in N where y <= x}
  same    := {x, z}
  output after : N := {y in N where y > x}
}
network net = hf("FOLDER")
align at : later -> net {
  prompt "w1 w{x} w2 w{z} w3"
  x     @ layer[1].resid_post[x]
  after @ next_token(AMONGprefix=" w")
}
"""
TEST = """
test moved on at {
  base, source ~ later(n=60, seed=4)
  do(x <- source)
  report prob(after) - prob(earlier), log_prob(label), logit(same), cross_entropy(source.after), accuracy
  report change(prob(label)), iia_informative
}
"""


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("among", [False, True])
def test_a_set_is_right_with_any_of_its_values_and_its_probability_is_their_sum(among: bool) -> None:
    text = SPEC.replace("FOLDER", folder_of("gpt2")).replace("AMONG", "among=N, " if among else "") + TEST
    result = cd.run(cd.parse(text)).tests[0]
    scores = result.cells[0].scores
    spec = cd.check(cd.parse(text))
    assert spec.plan is not None
    drawn = spec.plan.draw_of(spec.plan.tests[0])
    hand = ByHand("gpt2")

    def prompt(x: int, z: int) -> tuple[int, ...]:
        return (1, x, 2, z, 3)

    def after(x: int) -> list[int]:
        return [y for y in range(10, 18) if y > x]

    numbers: dict[str, list[float]] = {}
    for row in range(drawn.n):
        (x, z), (s, t) = ((int(drawn.values[r]["x"][row]), int(drawn.values[r]["z"][row])) for r in ("base", "source"))
        vector = hand.vector(prompt(s, t), "resid_post", 1)[1]
        runs = {
            "patched": hand.patched(prompt(x, z), "resid_post", 1, 1, vector)[-1].double(),
            "base": hand.logits(prompt(x, z))[-1].double(),
        }
        p = {name: torch.softmax(logits, 0) for name, logits in runs.items()}
        seen = {name: logits[10:18] if among else logits for name, logits in runs.items()}
        said = {name: int(logits.argmax()) + (10 if among else 0) for name, logits in seen.items()}
        found = {
            "prob(after) - prob(earlier)": p["patched"][after(x)].sum() - p["patched"][list(range(10, x + 1))].sum(),
            "log_prob(label)": p["patched"][after(s)].sum().log(),
            "logit(same)": torch.logsumexp(runs["patched"][sorted({x, z})], 0),
            "cross_entropy(source.after)": -p["patched"][after(s)].sum().log(),
            "change(prob(label))": p["patched"][after(s)].sum() - p["base"][after(s)].sum(),
            "iia": said["patched"] in after(s),
            "accuracy": said["base"] in after(x),
        }
        for name, value in found.items():
            numbers.setdefault(name, []).append(float(value))
    for name, values in numbers.items():
        value = scores[name].value
        assert value is not None
        assert value == pytest.approx(np.mean(values), abs=1e-5), name
    assert scores["iia_informative"].value is None  # 15..17 are right whatever was said, so no pair is informative
    assert result.ceilings["noop"].value == 1
    assert "uninformative" not in [finding.code for finding in result.cells[0].findings]  # the sets themselves differ


SINGLE = """
test plain on at {
  base, source ~ later(n=60, seed=4)
  do(x <- source)
  report prob(after), prob(label)
}
"""


def test_a_set_of_one_value_is_that_value() -> None:
    plain = SPEC.replace("FOLDER", folder_of("gpt2")).replace("AMONG", "among=N, ")
    plain = plain.replace("  same    := {x, z}\n", "").replace("  earlier := {y in N where y <= x}\n", "")
    sets = [
        plain.replace("{y in N where y > x}", mechanism) + SINGLE for mechanism in ("x", "{x}", "{y in N where y == x}")
    ]
    results = [cd.run(cd.parse(text)).tests[0] for text in sets]
    for other in results[1:]:
        assert other.cells[0].scores == results[0].cells[0].scores
        assert other.ceilings == results[0].ceilings
        assert other.wrong == results[0].wrong or [w.count for w in other.wrong] == [w.count for w in results[0].wrong]


LEARNED = """
align learned : at {
  x @ layer[1].resid_post[x] via rotation(dim=2, epochs=2, n=64, seed=0)
}
test fitted on learned {
  base, source ~ later(n=40, seed=4)
  do(x <- source)
  report iia
}
"""


@pytest.mark.slow
def test_a_feature_is_fitted_on_a_set_of_one_value_as_on_the_value() -> None:
    plain = SPEC.replace("FOLDER", folder_of("gpt2")).replace("AMONG", "among=N, ")
    plain = plain.replace("  same    := {x, z}\n", "").replace("  earlier := {y in N where y <= x}\n", "")
    found = []
    for mechanism in ("x", "{x}"):
        results = cd.run(cd.parse(plain.replace("{y in N where y > x}", mechanism) + LEARNED))
        cell = results.tests[0].cells[0]
        assert cell.learned is not None
        found.append((cell.scores["iia"].value, [f.validation for f in cell.learned.features]))
    assert found[0] == found[1] and None not in found[0][1]


def _warned(expectation: str, kept: str) -> list[str]:
    text = SPEC.replace("FOLDER", folder_of("gpt2")).replace("AMONG", "among=N, ") + TEST
    text = text.replace("output after : N := {y in N where y > x}", f"output after : N := {kept}")
    text = text.replace("  report prob(after)", f"  expect {expectation}\n  report prob(after)")
    text = text.replace("log_prob(label), logit(same), cross_entropy(source.after), ", "").replace(
        " - prob(earlier)", ""
    )
    return [
        f"{d.title}: {d.label}; {'; '.join(d.notes)}" for d in cd.check(cd.parse(text)).diagnostics if d.code == "W620"
    ]


def test_a_rule_of_several_right_answers_can_pass_by_its_best_choice() -> None:
    (told,) = _warned("iia >= 60%", "{y in N where y > x}")
    assert "can pass this expectation: its iia can be" in told and "the best choice among several right answers" in told
    (told,) = _warned("iia >= 10%", "x")
    assert "passes this expectation: its iia is" in told and "choice" not in told
