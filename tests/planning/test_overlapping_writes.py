"""Writes of one `do` that are at one token of a prompt: refused where they write one number, or along one edge."""

from __future__ import annotations

import pytest

import causal_dsl as cd

SPEC = """
domain Shape = {"arrow", "circle", "cross", "diamond"}
causal equality { a, b, c, d ~ Shape left := a == b output same := left == (c == d) }
network net = zoo("equality-gpt2")
align there : equality -> net {
  prompt "{a} {b} {c} {d} ="
  left @ layer[0].resid_post[b]
  same @ next_token
}
circuit known : net {
  early = layer[0].head[0:2], layer[0].mlp_out[b]
  late  = layer[1].head[2].z[last]
  EDGES
}
test claim on there {
  base, source ~ equality(n=8, seed=0)
  do(DO)
  report kl
}
"""


@pytest.mark.parametrize("edges", ["early -> late.v  late -> logits", "late -> logits", "early -> logits"])
def test_edges_of_one_sender_at_all_tokens_and_at_some(edges: str) -> None:
    found = cd.check(cd.parse(SPEC.replace("EDGES", edges).replace("DO", "outside(known) <- source"))).diagnostics
    assert "E461" not in {one.code for one in found}, found


def test_one_site_at_two_names_of_a_token() -> None:
    do = "layer[0].mlp_out[b] <- source, layer[0].mlp_out[1] = 0"
    found = cd.check(cd.parse(SPEC.replace("EDGES", "late -> logits").replace("DO", do))).diagnostics
    assert "E461" in {one.code for one in found}, found
