"""Warnings about a prompt and a tokenizer, as `check` gives them for a network in a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from causal_dsl import api
from tests.program.test_tokens import byte_level

SPEC = """
causal who { a, b ~ {"Mary", "John"} where a != b  output answer := a }
network net = hf("model")
align at : who -> net {
  prompt "{a} and {b} met, and {a} went toEND"
  a @ layer[0].resid_post[last]
  answer @ next_token
}
test one on at {
  base, source ~ who(n=8)
  do(a <- source)
  report iia
}
test two on at {
  base ~ who(n=8)
  report accuracy
}
"""
CONFIG = {"model_type": "gpt2", "n_layer": 2, "n_head": 2, "n_embd": 8, "vocab_size": 400, "n_positions": 64}


@pytest.mark.parametrize("eos", [True, False])
@pytest.mark.parametrize("end", ["", " "])
def test_warnings_of_check(tmp_path: Path, eos: bool, end: str) -> None:
    """Each once, however many tests there are."""
    (tmp_path / "model").mkdir()
    byte_level(eos=eos).save(str(tmp_path / "model" / "tokenizer.json"))
    (tmp_path / "model" / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "spec.causal").write_text(SPEC.replace("END", end))
    found = [d.code for d in api.check(api.load(tmp_path / "spec.causal")).diagnostics]
    assert found.count("W512") == eos and found.count("W514") == bool(end), found
