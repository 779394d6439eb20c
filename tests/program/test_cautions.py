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


VALUES = """
domain Word = {VALUES}
causal m { a, b ~ Word  same := a == b  output answer := if same then "Mary" else "John" }
network net = hf("model")
align at : m -> net {
  prompt "{a} and {b}" where a == FIRST
  prompt "{b} with {a}" where a != FIRST
  prompt "{a} {b} to"
  same @ layer[0].resid_post[last]
  answer @ next_token(OPTIONS)
}
test one on at {
  base, source ~ m(exhaustive=true)
  do(same <- source)
  report iia
}
"""


@pytest.mark.parametrize(
    ("ending", "options", "code", "word"),
    [
        ("\\n", "", "W514", "newline"),
        (" ", "", "W514", "space"),
        (" (", "", "W519", "opening"),
        ("\\n", 'prefix=""', "", ""),
        (".", "", "", ""),
    ],
)
def test_values_that_end_a_prompt(tmp_path: Path, ending: str, options: str, code: str, word: str) -> None:
    """Told of the prompts that are run: of a line whose rows all have another value nothing is said."""
    (tmp_path / "model").mkdir()
    byte_level().save(str(tmp_path / "model" / "tokenizer.json"))
    (tmp_path / "model" / "config.json").write_text(json.dumps(CONFIG))
    text = VALUES.replace("{VALUES}", f'{{"no", "yes{ending}"}}').replace("FIRST", '"no"').replace("OPTIONS", options)
    (tmp_path / "spec.causal").write_text(text)
    found = [d for d in api.check(api.load(tmp_path / "spec.causal")).diagnostics if d.code in ("W514", "W519")]
    told = [(d.code, d.span.line, d.title.partition(" prompts")[0], word in d.title) for d in found]
    # the first line reads `b` last, which is either; the second `a`, which is the other value in all of its rows
    assert told == ([(code, 6, "1 of the 2", True), (code, 7, "2 of the 2", True)] if code else [])
