"""Answers that are read at any token of the prompt, on tiny random networks, against hooks written out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import causal_dsl as cd
from tests.engine.byhand import ByHand, hook
from tests.engine.tiny import folder_of
from tests.thinning import some, spread

SPEC = """
domain W = {"w10", "w11", "w12", "w13", "w14"}
causal m {
  x, y, z ~ W
  output o := if x == y then z else x
}
network net = hf("FOLDER")
align at(l in 0:3) : m -> net {
  prompt "{x} w1 {y} w2 {z} w3"
  prompt "w4 {x} w1 {y} w5 w2 {z}"
  x @ layer[l].resid_post[WRITTEN]
  o @ next_token(AMONG)READ
}
test moved on at {
  base, source ~ m(n=40, seed=2)
  do(x <- source)
  report iia, moved, logit(o), kl, change(prob(source.o))
}
"""

#: where it is written and read, in each of the two prompts
PLACES = {"x": (0, 1), "y": (2, 3), "z": (4, 6), "y + 1": (3, 4), "last": (5, 6), '"w2"': (3, 5), "-2": (4, 5)}


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("name", some(["gpt2", "llama"], ["gpt2"]))
@pytest.mark.parametrize(
    ("written", "read", "among"),
    spread(
        [
            ("x", "z", True),
            ("y", "y", True),
            ("x", "y + 1", False),
            ("z", "y", True),
            ("x", '"w2"', False),
            ("y", "-2", True),
        ],
        2,
    ),
)
def test_an_answer_is_read_at_its_token(name: str, written: str, read: str, among: bool) -> None:
    text = SPEC.replace("FOLDER", folder_of(name)).replace("WRITTEN", written).replace("READ", f"[{read}]")
    text = text.replace("AMONG", "among=W" if among else "").replace("next_token()", "next_token")
    result = cd.run(cd.parse(text)).tests[0]
    plan = cd.check(cd.parse(text)).plan
    assert plan is not None
    drawn, model, hand = plan.draw_of(plan.tests[0]), plan.tests[0].model, ByHand(name)

    def prompt(role: str, row: int) -> tuple[tuple[int, ...], int]:
        x, y, z = (int(model.decode(v, [drawn.values[role][v][row]])[0][1:]) for v in "xyz")  # type: ignore[index]
        line = int(drawn.values[role]["template"][row])
        return ((x, 1, y, 2, z, 3), (4, x, 1, y, 5, 2, z))[line], line

    for layer in range(3):
        numbers: dict[str, list[float]] = {}
        for row in range(drawn.n):
            (mine, line), (theirs, other) = prompt("base", row), prompt("source", row)
            vector = hand.vector(theirs, "resid_post", layer)[PLACES[written][other]]
            at = PLACES[read][line]
            before = hand.logits(mine)[at].double()
            after = hand.patched(mine, "resid_post", layer, PLACES[written][line], vector)[at].double()
            p, q = torch.log_softmax(before, 0), torch.log_softmax(after, 0)
            said = [int(run[10:15].argmax()) + 10 if among else int(run.argmax()) for run in (before, after)]
            values = {v: int(model.decode(v, [drawn.values["base"][v][row]])[0][1:]) for v in "yz"}  # type: ignore[index]
            x = int(model.decode("x", [drawn.values["source"]["x"][row]])[0][1:])  # type: ignore[index]
            label = values["z"] if x == values["y"] else x
            own, theirs_o = (int(model.decode("o", [drawn.values[r]["o"][row]])[0][1:]) for r in ("base", "source"))  # type: ignore[index]
            found = {
                "iia": said[1] == label,
                "moved": said[0] != said[1],
                "logit(o)": after[own],
                "kl": (p.exp() * (p - q)).sum(),
                "change(prob(source.o))": (q[theirs_o].exp() - p[theirs_o].exp()),
            }
            for measure, value in found.items():
                numbers.setdefault(measure, []).append(float(value))
        scores = result.cells[layer].scores
        for measure, values_of in numbers.items():
            assert scores[measure].value == pytest.approx(np.mean(values_of), abs=2e-5), (layer, measure)
    if (written, read) == ("z", "y"):  # what is read stands before it
        assert all(cell.scores["moved"].value == 0 for cell in result.cells)


def test_the_end_of_the_prompt_is_the_token_that_is_read_without_a_position() -> None:
    text = SPEC.replace("FOLDER", folder_of("gpt2")).replace("WRITTEN", "x").replace("AMONG", "among=W")
    plain, last = (cd.run(cd.parse(text.replace("READ", read))).tests[0] for read in ("", "[last]"))
    assert [cell.scores for cell in plain.cells] == [cell.scores for cell in last.cells]


BOTH = """
align early : at {
  o @ next_token(among=W)[y]
}
test early_moved on early {
  base, source ~ m(n=40, seed=2)
  do(x <- source)
  report iia, moved, logit(o), kl, change(prob(source.o))
}
"""


@pytest.mark.slow
def test_two_read_outs_of_one_prompt_do_not_share_a_run() -> None:
    text = SPEC.replace("FOLDER", folder_of("gpt2")).replace("WRITTEN", "x").replace("AMONG", "among=W")
    together = cd.run(cd.parse(text.replace("READ", "") + BOTH))
    apart = [cd.run(cd.parse(text.replace("READ", read))).tests[0] for read in ("", "[y]")]
    for mine, alone in zip(together.tests, apart, strict=True):
        for cell, other in zip(mine.cells, alone.cells, strict=True):
            for name, score in other.scores.items():
                assert cell.scores[name].value == pytest.approx(score.value, abs=1e-6), name


LEARNED = """
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
def test_features_are_fitted_on_what_is_read_at_the_token() -> None:
    """A prompt that is cut behind the token is the same experiment."""
    text = SPEC[: SPEC.index("test moved")].replace("FOLDER", folder_of("gpt2")).replace("WRITTEN", "x")
    text = text.replace('  prompt "w4 {x} w1 {y} w5 w2 {z}"\n', "").replace("AMONG", "among=W") + LEARNED
    whole = cd.run(cd.parse(text.replace("READ", "[z]"))).tests[0].cells[0]
    cut = cd.run(cd.parse(text.replace("READ", "").replace("{z} w3", "{z}"))).tests[0].cells[0]
    assert whole.learned is not None and cut.learned is not None
    assert whole.scores["iia"].value == cut.scores["iia"].value
    mine, theirs = whole.learned.features[0].validation, cut.learned.features[0].validation
    assert mine is not None
    assert mine == pytest.approx(theirs, abs=1e-4)


TWO_READOUTS = """
domain Letter = {"a", "b", "c"}
causal hist {
  a, b, c, d ~ Letter
  count := 1 + (if a == d then 1 else 0) + (if b == d then 1 else 0) + (if c == d then 1 else 0)
  output answer : 1..4 := count
}
network program = zoo("tracr-hist")
TESTS
"""
READ_AT = """
align at_NAME : hist -> program {
  prompt "BOS {a} {b} {c} {d}"
  count @ layer[0].resid_post[d, 0:5]
  answer @ next_tokenREAD
}
test NAME on at_NAME { base, source ~ hist(n=100, seed=1) do(count <- source) report iia, kl }
"""


@pytest.mark.parametrize("order", [("last", "inner"), ("inner", "last")])
@pytest.mark.thinned(always=1)
def test_one_prompt_is_read_at_two_tokens(order: tuple[str, str]) -> None:
    """In a network whose tokens look both ways, the tests of one spec read the same prompts, each at its own token."""
    own = {
        name: READ_AT.replace("NAME", name).replace("READ", "" if name == "last" else "[b]")
        for name in ("last", "inner")
    }

    def scores(names: tuple[str, ...]) -> dict[str, list[float | None]]:
        text = TWO_READOUTS.replace("TESTS", "".join(own[name] for name in names))
        return {
            test.name: [score.value for score in test.cells[0].scores.values()] for test in cd.run(cd.parse(text)).tests
        }

    together = scores(order)
    assert together == scores(order[:1]) | scores(order[1:])
    assert together["last"][0] == 1 and together["inner"][0] != 1


BEHIND = """
domain W = {"w10", "w11", "w12", "w13", "w14"}
causal m {
  x, y, z ~ W
  output o := if x == y then z else x
}
network net = hf("FOLDER")
align at : m -> net {
  prompt "{x} w1 {y} w2 {z} w3"
  o @ next_token(among=W)[y]
}
test measured on at {
  base, source ~ m(n=6, seed=2)
  do(layer[0].resid_post[last] = 0)
  report norm @ layer[0].resid_post[last], norm @ layer[1].resid_post[last], kl
}
test taken on at {
  base, source ~ m(n=6, seed=2)
  do(layer[1].resid_post[y] <- source(layer[0].resid_post[last] = 0).layer[1].resid_post[last])
  report kl
}
test taken_where_written on at {
  base, source ~ m(n=6, seed=2)
  do(layer[1].resid_post[y] <- source(layer[1].resid_post[last] = 0).layer[1].resid_post[last])
  report kl
}
"""


@torch.no_grad()
def test_what_is_written_behind_the_answer_is_there_where_it_is_read() -> None:
    """It cannot reach the answer: a measure at a place, and a run that vectors are taken from, are reached all the same."""
    text = BEHIND.replace("FOLDER", folder_of("gpt2"))
    checked = cd.check(cd.parse(text))
    assert checked.plan is not None
    hand, drawn = ByHand("gpt2"), checked.plan.draw_of(checked.plan.tests[0])
    layers = hand.model.transformer.h

    def ids(role: str, row: int) -> tuple[int, ...]:
        x, y, z = (int(checked.plan.tests[0].model.decode(v, [drawn.values[role][v][row]])[0][1:]) for v in "xyz")  # type: ignore[union-attr, index]
        return (x, 1, y, 2, z, 3)

    def after(prompt: tuple[int, ...]) -> Tensor:
        """The stream behind layer 1 at the last token, where that behind layer 0 is zero."""
        seen: list[Tensor] = []
        zeroed = torch.tensor([1.0] * 5 + [0.0])[None, :, None]
        handles = [
            hook(layers[0], "out", lambda tensor: tensor * zeroed),
            hook(layers[1], "out", lambda tensor: seen.append(tensor[0, -1].clone()) or tensor),
        ]
        hand.logits(prompt)
        for handle in handles:
            handle.remove()
        return seen[0]

    norms, kls, wheres = [], [], []
    for row in range(drawn.n):
        base, source = ids("base", row), ids("source", row)
        norms.append(float(after(base).norm()))
        before = torch.log_softmax(hand.logits(base)[2].double(), 0)
        for vector, into in ((after(source), kls), (torch.zeros(32), wheres)):
            patched = torch.log_softmax(hand.patched(base, "resid_post", 1, 2, vector)[2].double(), 0)
            into.append(float((before.exp() * (before - patched)).sum()))
    for options in (cd.Options(), cd.Options(reference=True)):
        measured, taken, there = (test.cell().scores for test in cd.run(cd.parse(text), options).tests)
        assert measured["kl"].value == pytest.approx(0, abs=1e-7)
        assert measured["norm @ layer[0].resid_post[last]"].value == 0
        assert measured["norm @ layer[1].resid_post[last]"].value == pytest.approx(np.mean(norms), rel=1e-4)
        assert taken["kl"].value == pytest.approx(np.mean(kls), rel=1e-4)
        assert there["kl"].value == pytest.approx(np.mean(wheres), rel=1e-4)
