"""The width of a module is known once the network runs: a value of another width is refused there, at its place."""

from __future__ import annotations

import pytest

import causal_dsl as cd
from tests.equality import gpt2

SPEC = gpt2(
    tests="""
test t on at {
  base, source ~ equality(n=8, seed=0)
  do(WRITE)
  report moved
}
"""
)
HEAD = 'source.module("lm_head")[first]'


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize(
    "write", [f'embed["="] <- {HEAD}', f'embed["="] = 2 * current - {HEAD}', f'embed["="] += {HEAD}']
)
def test_a_module_of_another_width(write: str, reference: bool) -> None:
    with pytest.raises(cd.SpecError) as caught:
        cd.run(cd.parse(SPEC.replace("WRITE", write)), cd.Options(reference=reference))
    (fault,) = caught.value.diagnostics
    assert fault.code == "E460" and fault.span.text == HEAD
    assert fault.title == 'module("lm_head")[first] has 14 numbers, and embed["="] has 64'
