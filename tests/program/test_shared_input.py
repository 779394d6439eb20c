"""``a..d @ input via onehot()``: several variables in one line, which share an input in the order of their declaration."""

from __future__ import annotations

import itertools

import pytest

import causal_dsl as cd

MODEL = """
domain Shape = 0..3

causal equality {
  a, b, c, d ~ Shape
  left  := a == b
  right := c == d
  output same := left == right
}

network mlp = zoo("equality-relu")
"""
REST = """
  left  @ layer[1].out[0:2]
  right @ layer[1].out[2:4]
  same  @ logits
}

test swap on halves {
  base, source ~ equality(n=128, seed=0)
  do(left <- source)
  report iia, kl
}
"""
APART = "\n".join(f"  {name} @ input[{4 * n}:{4 * n + 4}] via onehot()" for n, name in enumerate("abcd"))
SPELLED = {
    "all": "  a..d @ input via onehot()",
    "a stretch that is named": "  a..d @ input[0:16] via onehot()",
    "two and two": "  a..b @ input[0:8] via onehot()\n  c..d @ input[8:16] via onehot()",
    "three and one": "  a @ input[0:4] via onehot()\n  b..d @ input[4:16] via onehot()",
    "one alone": "  a..a @ input[0:4] via onehot()\n  b..d @ input[4:16] via onehot()",
}


def results(lines: str) -> object:
    spec = cd.parse(MODEL + "\nalign halves : equality -> mlp {\n" + lines + REST)
    (test,) = list(cd.run(spec))
    return {name: (score.value, score.n) for name, score in test.cell().scores.items()}


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("how", SPELLED)
def test_it_is_the_lines_written_apart(how: str) -> None:
    assert results(SPELLED[how]) == results(APART)


def test_each_takes_what_its_own_values_need() -> None:
    """Of domains of three sizes the stretches lie side by side, each as wide as its domain."""
    text = """
causal sizes {
  a ~ 0..2
  b ~ 0..4
  c ~ 0..7
  output o := a == b and b == c
}

network mlp = zoo("equality-relu")

align one : sizes -> mlp {
  a..c @ input via onehot()
  o @ logits
}

test t on one {
  base ~ sizes(n=8)
  report accuracy
}
"""
    checked = cd.check(cd.parse(text))
    checked.raise_errors()
    assert checked.program is not None
    inputs = checked.program.alignments["one"].inputs
    assert [(p.variable, p.start, p.stop) for p in inputs] == [("a", 0, 3), ("b", 3, 8), ("c", 8, 16)]
    for one, other in itertools.pairwise(inputs):
        assert one.stop == other.start


def test_python_writes_the_same() -> None:
    model = cd.Causal("m")
    a, b = model.draw("a", "b", domain=cd.between(0, 7))
    model.output("o", a == b)
    net = cd.zoo("equality-relu", name="net")
    tau = cd.align("tau", model, net)
    tau.place(a, cd.input, via=cd.name("onehot")(), to=b)
    tau.place("o", cd.logits)
    assert "a..b @ input via onehot()" in cd.spec(tau).source()
