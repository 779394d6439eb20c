"""Blocks that take long are cut: by the plan alone, into parts that are together no more work, and none of them short."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig

import causal_dsl as cd
from causal_dsl.planning.long_blocks import EACH_CPU, LONG_CPU, MORE
from causal_dsl.planning.work_units import WorkUnit, units_of_plan

SPEC = """domain W = {{{words}}}

causal m {{
  x, y, z ~ W
  same := x == y
  output o := if same then x else z
}}

network net = hf("{folder}"{more})

align a(l in [1, 6]) : m -> net {{
  prompt "w1 w2 {{x}} w3 w4 {{y}} w5 w6 {{z}} w7"
  o @ next_token(among=W)
}}

test t on a {{
  base, source ~ m(n={n}, seed=0)
  do(layer[l].resid_post[{position}] <- source)
  report kl
}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A llama of no weights: a plan needs its shape and its tokenizer."""
    found = tmp_path_factory.mktemp("llama")
    LlamaConfig(
        hidden_size=512, intermediate_size=1408, num_hidden_layers=8, num_attention_heads=8, vocab_size=1000
    ).save_pretrained(found)
    words = {word: number for number, word in enumerate([*(f"w{i}" for i in range(60)), "[UNK]"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(found / "tokenizer.json"))
    return found


def blocks(folder: Path, n: int, position: str = "2", more: str = "", words: int = 30) -> list[WorkUnit]:
    """The blocks of a sweep over distinct prompts of ``words`` words."""
    named = ", ".join(f'"w{i}"' for i in range(20, 20 + words))
    text = SPEC.format(words=named, folder=folder.as_posix(), n=n, position=position, more=more)
    checked = cd.check(cd.parse(text))
    checked.raise_errors()
    assert checked.plan is not None
    return [unit for unit in units_of_plan(checked.plan, "s.causal", {}) if unit.kind == "block"]


def test_long_sweeps_are_several_units(folder: Path) -> None:
    short, long = blocks(folder, 16), blocks(folder, 640)
    assert len(short) == 1 and len(long) >= 4
    least = max(LONG_CPU, 2 * EACH_CPU)
    whole = short[0].flops * 640 / 16
    assert sum(unit.flops for unit in long) == pytest.approx(whole, rel=2 * MORE)
    assert min(unit.flops for unit in long) > least / 2
    assert len(blocks(folder, 640)) == len(long)


def test_parts_that_share_prompts_are_not_cut(folder: Path) -> None:
    """Of two words there are eight prompts, which every part would run anew."""
    few = blocks(folder, 640, "last", words=2)
    assert len(few) == 1


def test_streamed_weights_are_read_once_a_block(folder: Path) -> None:
    assert len(blocks(folder, 640, more=", weights=stream")) < len(blocks(folder, 640))
