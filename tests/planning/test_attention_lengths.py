"""Attention weights go between prompts of one length: what is refused, and that the sentence says what is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from causal_dsl import api
from causal_dsl.diagnostics import Diagnostic

SPEC = """
causal words {
  x, y ~ {"arrow", "heart"}
  long ~ bool
  output same := x == y
}
network gpt = zoo("equality-gpt2")
align at : words -> gpt {
  prompt "{x} {y} {x} {y} =" where not long
  prompt "{x} {y} {x} {y} {x} =" where long
  same @ next_token
}
test t on at {
  base, source ~ words(n=8, seed=0) where CONDITION
  do(layer[1].head[0].pattern[last] <- source)
  report moved
}
"""
CASES = {
    "any": ("base.x != source.x", True),
    "equally long in each pair": ("base.long == source.long", True),
    "all short": ("not base.long and not source.long", False),
    "all long": ("base.long and source.long", False),
}


@pytest.mark.parametrize("name", CASES)
def test_prompts_of_one_length(name: str, tmp_path: Path) -> None:
    condition, refused = CASES[name]
    (tmp_path / "spec.causal").write_text(SPEC.replace("CONDITION", condition))
    found: list[Diagnostic] = list(api.check(api.load(tmp_path / "spec.causal")).diagnostics)
    told = [d for d in found if d.code == "E543"]
    assert bool(told) == refused, found
    for d in told:
        assert (
            "one length" in d.title
            and "even if the two prompts of each pair" in d.notes[1]
            and "every such prompt" in d.help
        )
