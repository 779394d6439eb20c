"""An input is what enters the network: variables that enter nowhere, distinct inputs, and what is fitted and judged on."""

from __future__ import annotations

import numpy as np
import pytest

from causal_dsl import api
from causal_dsl.score.chance import show_distinct

WORDS = '{"circle", "square", "star", "heart"}'
VECTOR = """
causal m {
  a, b, c, d ~ 0..3
  z ~ 0..9
  left := a == b
  output same := left == (c == d)
}
network mlp = zoo("equality-relu")
align at : m -> mlp {
  a @ input[0:4] via onehot()
  b @ input[4:8] via onehot()
  c @ input[8:12] via onehot()
  d @ input[12:16] via onehot()
  left @ layer[1].out[0]
  same @ logits
}
test t on at {
  base, source ~ m(n=512, seed=0)
  do(left <- source)
  expect iia >= 0%
}
"""
PROMPTS = f"""
causal m {{
  a, b, c, d ~ {WORDS}
  y, z ~ 0..4
  output same := (a == b) == (c == d)
}}
network gpt = zoo("equality-gpt2")
align at : m -> gpt {{
  prompt "{{a}} {{b}} {{c}} {{d}} ="
  prompt "{{a}} {{a}} {{c}} {{d}} =" where z > 2
  same @ next_token
}}
test t on at {{
  base ~ m(n=512, seed=0)
  expect accuracy >= 0%
}}
"""


def checked(text: str) -> api.Checked:
    found = api.check(api.parse(text))
    assert not found.errors, found.text()
    return found


def test_a_variable_that_enters_nowhere() -> None:
    found = checked(VECTOR)
    (warning,) = [d for d in found.diagnostics if d.code == "W335"]
    assert warning.title == "`z` enters no input of `at`"
    assert warning.span.text == "at" and warning.others[0][0].text == "z"
    # z says which prompt is used, so the network is shown something of it
    (warning,) = [d for d in checked(PROMPTS).diagnostics if d.code == "W335"]
    assert warning.title == "`y` enters no prompt of `at`"
    mended = VECTOR.replace("  z ~ 0..9\n", "")
    assert not [d for d in checked(mended).diagnostics if d.code == "W335"]


def test_what_a_mechanism_shows_of_a_variable_is_shown() -> None:
    text = VECTOR.replace("a, b, c, d ~ 0..3", "a, b, c, e ~ 0..3\n  d := (e + z) mod 4")
    text = text.replace("  z ~ 0..9\n", "").replace("  d :=", "  z ~ 0..9\n  d :=")
    assert not [d for d in checked(text).diagnostics if d.code == "W335"]


def test_distinct_inputs_stand_beside_the_pairs() -> None:
    found = checked(VECTOR)
    drawn = found.plan.draw_of(found.plan.tests[0])
    expected = {}
    for role, columns in drawn.values.items():
        rows = np.stack([columns[name] for name in "abcd"], axis=1)
        expected[role] = len(np.unique(rows, axis=0))
    assert found.to_json()["tests"][0]["distinct"] == expected
    assert show_distinct(expected) in found.text()
    result = api.run(api.parse(VECTOR))["t"]
    assert dict(result.distinct) == expected == result.to_json()["distinct"]


def test_prompts_of_the_same_tokens_are_one_input() -> None:
    found = checked(PROMPTS)
    values = found.plan.draw_of(found.plan.tests[0]).values["base"]
    shown = {
        (a, a if line else b, c, d)
        for a, b, c, d, line in zip(*(values[name] for name in "abcd"), values["template"], strict=True)
    }
    assert found.distinct["t"] == {"base": len(shown)}


@pytest.mark.parametrize("unseen", ["", "  z ~ 0..9\n"])
def test_parts_are_parts_of_what_is_shown(unseen: str) -> None:
    """A tenfold of settings, and the same inputs in each part: none is both fitted and judged on."""
    text = VECTOR.replace("  z ~ 0..9\n", unseen).replace("layer[1].out[0]", "layer[1].out via rotation(dim=1, n=256)")
    found = checked(text)
    plans = found.plan, found.fits.plan
    test, fitted = ({bytes(v) for inputs in plan.inputs.values() for v in inputs.vectors} for plan in plans)
    assert test and fitted and not test & fitted
    assert len(test) <= 52


def test_values_that_the_tokenizer_cannot_tell_apart() -> None:
    text = PROMPTS.replace(WORDS, "0..3").replace("  y, z ~ 0..4\n", "  left := a == b\n").replace(" where z > 2", "")
    text = text.replace('  prompt "{a} {a} {c} {d} ="\n', "  left @ layer[1].resid_post[b] via rotation(dim=2)\n")
    text = text.replace("base ~ m(n=512, seed=0)\n", "base, source ~ m(n=64)\n  do(left <- source)\n")
    (fault,) = api.check(api.parse(text)).errors
    assert fault.code == "E711" and "tokenizer" in fault.help
    assert any("its tokens are those of" in note for note in fault.notes)
