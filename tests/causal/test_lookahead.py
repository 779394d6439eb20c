"""Candidates that are looked at before their turn give the rows, and the messages, that their turns give."""

from __future__ import annotations

from pathlib import Path

import pytest

from causal_dsl import api
from causal_dsl.causal import drawn_rows
from causal_dsl.causal.designs import Design
from causal_dsl.causal.draw import draw
from causal_dsl.diagnostics import Diagnostics

HEAD = """
domain W = 0..4
causal m {
  a, b, c, d ~ W
  u := a == b
  v := (a + d) mod 3
  output o := if u then v else (c + v) mod 3
}
network net = torch("n.py:f")
align al : m -> net {
  a @ input[0:1] via scalar()
  b @ input[1:2] via scalar()
  c @ input[2:3] via scalar()
  d @ input[3:4] via scalar()
  u @ layer[0].out[0:4]
  o @ logits
}
"""
DRAWS = {
    "condition": "base, source ~ m(n=40, seed=1) where base.u != source.u and base.a != 2 and source.c < base.d",
    "balance": "base, source ~ m(n=60, seed=2, balance=[base.u, source.v])",
    "both": "base, source ~ m(n=60, seed=3, balance=[base.u, source.u]) where base.a != source.a and base.c != source.d",
    "rare": "base, source ~ m(n=30, seed=4) where base.u and source.u and base.c == source.d and base.d == 4 and source.a == 1",
    "never": "base, source ~ m(n=30, seed=5) where base.a + source.a > 8 and base.b + source.b > 8 and base.d < source.a - 3",
    "after another": "base ~ m(n=30, seed=6)\n  source ~ m(n=30, seed=6, balance=[source.u]) where source.a != base.a",
    "part": "base, source ~ m(n=40, seed=7, split=test) where base.u != source.u",
}


@pytest.mark.parametrize("name", DRAWS)
def test_rows_are_those_of_candidates_in_turn(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "n.py").write_text("def f(): pass\n")
    text = HEAD + f"test t on al {{\n  {DRAWS[name]}\n  do(u <- source)\n  report iia\n}}\n"

    def found() -> tuple[str, object]:
        checked = api.check(api.parse(text, folder=tmp_path))
        assert checked.program is not None
        rows = [rows_of(test.design) for test in checked.program.tests]
        return checked.text(), rows

    ahead = found()
    monkeypatch.setattr(drawn_rows, "FIRST", 0)  # no row is few enough
    assert found() == ahead


def rows_of(design: Design) -> dict[str, dict[str, list[float]]] | None:
    drawn = draw(design, Diagnostics())
    if drawn is None:
        return None
    return {role: {name: codes.tolist() for name, codes in own.items()} for role, own in drawn.values.items()}
