"""A residual stream that is set to zero between attention and MLP is zero: a norm makes much of what rounding would leave."""

from __future__ import annotations

import pytest

import causal_dsl as cd
from tests.engine.tiny import spec_of


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("family", ["llama", "qwen3"])
@pytest.mark.thinned(always=1)
def test_a_stream_of_zero_is_as_that_after_the_layer(family: str, reference: bool) -> None:
    # an MLP without biases adds nothing to a stream of zeros
    written = "base, source ~ m(n=16, controls=none) do(layer[1].{}[last] = 0) report mean(logit(o)) report kl"
    tests = "".join(f"test {site} on a(0, last) {{ {written.format(site)} }}\n" for site in ("resid_mid", "resid_post"))
    found = cd.run(cd.parse(spec_of(family, tests)), cd.Options(reference=reference))
    middle, after = ({k: e.value for k, e in found[site].cell().scores.items()} for site in ("resid_mid", "resid_post"))
    assert middle == pytest.approx(after, rel=1e-6, abs=1e-6)
