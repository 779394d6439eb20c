"""A network without layers that are counted: the message names no layer from 0 to -1."""

from __future__ import annotations

from pathlib import Path

import pytest

import causal_dsl as cd
from causal_dsl.diagnostics import SpecError

CODE = """
import torch


def build():
    return Own()


class Own(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.only = torch.nn.Linear(2, 2)

    def forward(self, x):
        return self.only(x)
"""
SPEC = """
causal m {
  x ~ bool
  output o := x
}
network net = torch("net.py:build")
align a : m -> net {
  x @ input[0:2] via onehot()
  o @ logits
}
test t on a {
  base, source ~ m(n=4)
  do(SITE <- source)
  report kl
}
"""


@pytest.mark.parametrize("site", ["layer[0].out", "layer[0:2].out"])
def test_a_layer_of_none(site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.py").write_text(CODE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError) as caught:
        cd.run(cd.parse(SPEC.replace("SITE", site)), cd.Options(trust=True))
    (told,) = caught.value.diagnostics
    assert told.code in ("E454", "E457") and told.help is not None
    assert "no layers that are counted" in told.help and "-1" not in told.render()
