"""Numbers that a spec states and the network's dtype does not hold: told, and never written as infinity."""

from __future__ import annotations

import pytest

import causal_dsl as cd

SPEC = """
causal copy {{
  x ~ 0..3
  y ~ 0..3
  output same := x == y
}}
network net = zoo("rotated-and", dtype={dtype})
align at : copy -> net {{
  x    @ input[0:4]   via onehot()
  y    @ input[10:14] via onehot()
  same @ logits
}}
test written on at {{
  base, source ~ copy(n=8, seed=0)
  do(layer[0].out[0:2] {written})
  report moved
}}
"""

TOO_LARGE = [
    "= 1e39",
    "= -1e39",
    "+= 1e39",
    "= [1, 1e39]",
    "= 1e39 * source",
    "= 1e38 * [100, 1]",
    "= -1e38 * noise(std=100)",
]


@pytest.mark.parametrize("written", TOO_LARGE)
def test_it_is_told_where_it_is_written(written: str) -> None:
    text = SPEC.format(written=written, dtype="float32")
    with pytest.raises(cd.SpecError) as told:
        cd.run(cd.parse(text))
    (diagnostic,) = told.value.diagnostics
    assert diagnostic.code == "E687"
    assert "do(" in text.split("\n")[diagnostic.span.line - 1] and diagnostic.span.text in written
    assert "3.403e+38" in diagnostic.notes[0]


@pytest.mark.parametrize("written", [written for written in TOO_LARGE if "noise" not in written])  # drawn as float32
def test_a_wider_dtype_holds_it(written: str) -> None:
    (cell,) = cd.run(cd.parse(SPEC.format(written=written, dtype="float64")))["written"].cells
    assert cell.scores["moved"].value is not None


def test_a_narrow_dtype_holds_less() -> None:
    assert cd.run(cd.parse(SPEC.format(written="= 60000", dtype="float16")))["written"].cells
    with pytest.raises(cd.SpecError, match=r"65500|6\.55e"):
        cd.run(cd.parse(SPEC.format(written="= 70000", dtype="float16")))
