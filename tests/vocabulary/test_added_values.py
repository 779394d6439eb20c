"""A kind of written value that an installed package adds: that of docs/extending.md."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest
import torch

import causal_dsl as cd
from causal_dsl.diagnostics import SpecError
from causal_dsl.network.zoo.equality_relu import build
from tests.equality import relu
from tests.vocabulary.installed import build_and_install

SPEC = relu(
    tests="""
test t on halves {
  base ~ equality(exhaustive=true)
  do(layer[1].out[0:4] = SOFT)
  report mean(logit(same))
}
"""
)


def test_a_package_adds_a_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError) as caught:
        cd.run(cd.parse(SPEC.replace("SOFT", "soft(0.25)")))
    assert [d.code for d in caught.value.diagnostics] == ["E687"]
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)
    build_and_install(tmp_path, "soft_values")
    found = cd.run(cd.parse(SPEC.replace("SOFT", "soft(0.25)")))["t"].cell().scores["mean(logit(same))"].value
    model = build()
    inputs = list(itertools.product(range(4), repeat=4))
    one = torch.eye(4, dtype=torch.float64)
    with torch.no_grad():
        hidden = model.layers[1](model.layers[0](torch.stack([one[list(values)].flatten() for values in inputs])))
        logits = model.logits(model.layers[2](torch.nn.functional.softshrink(hidden, 0.25)))
    label = torch.tensor([int((a == b) == (c == d)) for a, b, c, d in inputs])
    assert found == pytest.approx(float(logits.gather(1, label[:, None]).mean()), rel=1e-9)
    assert repr(cd.soft(1)) == "soft(1)"
    assert "write layer[1].out[0:4]: soft(0.25)" in cd.plan(cd.parse(SPEC.replace("SOFT", "soft(0.25)"))).text()
    (fault,) = cd.check(cd.parse(SPEC.replace("SOFT", "soft(0.25, 2)"))).errors
    assert (fault.code, fault.title) == ("E210", "`soft` takes 1 setting without a name: `by`")
    with pytest.raises(SpecError) as caught:
        cd.run(cd.parse(SPEC.replace("SOFT", "soft(-1)")))
    assert [d.code for d in caught.value.diagnostics] == ["E213"]
