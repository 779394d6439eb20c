"""Warnings about a prompt and a tokenizer, as `check` gives them for a network in a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

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


SPACED = """
causal m { a, b ~ {"Mary", "John"}  output answer := if a == b then YES else NO }
network net = hf("model")
align at : m -> net {
  prompt "{a} and {b}END"
  answer @ next_token(OPTIONS)
}
test one on at {
  base ~ m(exhaustive=true)
  report logit(answer)
}
"""


def spaced(folder: Path, yes: str, no: str, end: str = " met", options: str = "") -> api.Spec:
    text = SPACED.replace("YES", f'"{yes}"').replace("NO", f'"{no}"').replace("END", end).replace("OPTIONS", options)
    (folder / "spec.causal").write_text(text)
    return api.load(folder / "spec.causal")


def test_an_answer_that_begins_with_a_space_has_no_second_one(tmp_path: Path) -> None:
    """Its logit is the one that the network gives to the token of the word with its space; two spaces are told of."""
    torch.manual_seed(0)
    tokenizer = byte_level()
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=420, n_layer=1, n_embd=8, n_head=2, n_positions=32, bos_token_id=0, eos_token_id=1)
    ).eval()
    model.save_pretrained(tmp_path / "model")
    tokenizer.save(str(tmp_path / "model" / "tokenizer.json"))
    found = api.check(spaced(tmp_path, " Mary", " John"))
    assert not [d for d in found.diagnostics if d.code == "W514" or d.is_error]
    (cell,) = api.run(spaced(tmp_path, " Mary", " John"), api.Options(trust=True)).tests[0].cells
    prompts = [(a, b) for a in ("Mary", "John") for b in ("Mary", "John")]
    with torch.no_grad():
        logits = [model(torch.tensor([tokenizer.encode(f"{a} and {b} met").ids])).logits[0, -1] for a, b in prompts]
    words = [tokenizer.encode(" Mary" if a == b else " John").ids for a, b in prompts]
    assert all(len(word) == 1 for word in words)
    by_hand = [float(own[word[0]]) for own, word in zip(logits, words, strict=True)]
    assert cell.scores["logit(answer)"].value == pytest.approx(sum(by_hand) / 4, rel=1e-5)

    for end, options, title in [
        (" met ", "", "the prompt ends in a space, and the answer ` Mary` begins with one"),
        (" met", 'prefix=" "', "`prefix` ends in white space, and the answer ` Mary` begins with some"),
    ]:
        found = api.check(spaced(tmp_path, " Mary", " John", end, options))
        assert [d.title for d in found.diagnostics if d.code == "W514"] == [title]
    found = api.check(spaced(tmp_path, "Mary", " Mary"))
    (fault,) = [d for d in found.diagnostics if d.code == "E540"]
    assert '" Mary" is [ĠMary]' in fault.notes[1] and "a space is put before an answer" in fault.notes
    found = api.check(spaced(tmp_path, "Mary", "John", options='prefix=" x"'))
    (fault,) = [d for d in found.diagnostics if d.code == "E610"]
    assert '" xMary" is' in fault.notes[1] and fault.notes[2] == '`prefix` puts " x" before an answer'
