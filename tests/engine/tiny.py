"""Tiny random language models on disk, and specs about them: what tests of the executors run on."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

from causal_dsl import api
from causal_dsl.api import Checked, Options
from causal_dsl.engine.execute import Execution
from causal_dsl.measures.quantities import SAID, Columns
from causal_dsl.network.network import Network
from causal_dsl.running import executing
from tests.network.families import BOTH_WAYS, CONFIGS, PLACES, model_of

WORDS = [f"w{number}" for number in range(60)]
SPEC = """
domain W = {"w10", "w11", "w12", "w13", "w14"}
causal m {
  x, y, z ~ W
  same := x == y
  output o := if same then x else z
}
network net = hf("FOLDER", padding=PADDING)
align a(l in LAYERS, p in POSITIONS) : m -> net {
  prompt "{x} w1 {y} w2 {z} w3"
  prompt "w4 {x} w1 {y} w5 w2 {z}"
  same @ layer[l].SITE[p]
  o    @ next_token(among=W)
}
"""


#: Of encoders: what is in the middle of a prompt is read, and what stands behind it matters.
MASKED = {
    'prompt "{x} w1 {y} w2 {z} w3"': 'prompt "{x} w1 {y} [MASK] w2 {z} w3"',
    'prompt "w4 {x} w1 {y} w5 w2 {z}"': 'prompt "w4 {x} [MASK] w1 {y} w5 w2 {z}"',
    "next_token(": "mask(",
}


def words() -> Tokenizer:
    """Sixty words."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate([*WORDS, "[UNK]"])}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def word_pieces() -> Tokenizer:
    """bert's kind: lower case, pieces of words, `[CLS]` and `[SEP]` around a text."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, ".", "##s", *WORDS[:50]]
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def marked_words() -> Tokenizer:
    """roberta's kind: spaces belong to the word after them, also that before `<mask>`."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = [*special, ".", "▁.", *(f"▁{word}" for word in WORDS[:50]), "<mask>"]
    tokenizer = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(pieces)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.add_special_tokens([*special, AddedToken("<mask>", lstrip=True, special=True)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


@cache
def folder_of(name: str) -> str:
    """A checkpoint of a family, with a tokenizer of some sixty words."""
    folder = Path(mkdtemp(prefix="tiny-"))
    model: Any = model_of(name)
    model.save_pretrained(folder)
    name = name.partition(":")[0]
    marked = CONFIGS[name].late
    made = marked_words() if marked else word_pieces() if name in BOTH_WAYS else words()
    made.save(str(folder / "tokenizer.json"))
    return str(folder)


def spec_of(
    name: str,
    tests: str,
    site: str = "resid_post",
    layers: str = "0:3",
    positions: str = "[x, last]",
    padding: str = "right",
) -> str:
    """The spec on a family's model, with ``tests`` behind it."""
    told = {"FOLDER": folder_of(name), "PADDING": padding, "LAYERS": layers, "POSITIONS": positions, "SITE": site}
    text = SPEC
    if name.partition(":")[0] in BOTH_WAYS:
        told = MASKED | told
    for word, value in told.items():
        text = text.replace(word, value)
    return text + tests


@cache
def network_of(text: str) -> Network:
    """The network of a spec, loaded and proved once."""
    return next(iter(api.networks(api.parse(text)).values()))


def execution_of(text: str, memory: int | None = None, **more: Any) -> tuple[Execution, Checked]:
    """A spec ready to be run; ``memory``: bytes that a pass may take."""
    checked = api.check(api.parse(text), Options(trust=True))  # vectors lie in a folder of the tests
    checked.raise_errors()
    assert checked.plan is not None
    network = network_of(text[: text.index("align ")])
    change = more.pop("change", None)
    plan = checked.plan if change is None else change(checked.plan)
    return executing.execution_of(plan, {network.name: network}, options=Options(memory=memory), **more), checked


def numbers_of(execution: Execution) -> dict[tuple[str, int, str, str], np.ndarray]:
    """Everything that a run found: one array a test, cell, run and quantity."""
    found = {}
    for name, run in execution.runs.items():
        for number, cell in enumerate(run.cells):
            assert cell.done.all()
            columns: Columns = cell.columns
            for kind, values in (("base", columns.base), ("patched", columns.patched), *columns.sources.items()):
                for quantity, array in values.items():
                    found[name, number, kind, str(quantity)] = array
    return found


def same(one: dict[Any, np.ndarray], other: dict[Any, np.ndarray], close: float = 1e-4) -> None:
    """Assert that two runs found the same."""
    assert one.keys() == other.keys()
    for key, mine in one.items():
        theirs = other[key]
        if key[3] == str(SAID):  # not looked at in every row by the one that computes the answers' logits alone
            looked = (mine >= 0) & (theirs >= 0)
            mine, theirs = mine[looked], theirs[looked]
        if mine.dtype.kind == "i":
            assert (mine == theirs).all(), key
        else:
            assert np.allclose(mine, theirs, atol=close, equal_nan=True), (key, np.abs(mine - theirs).max())


__all__ = [
    "BOTH_WAYS",
    "CONFIGS",
    "PLACES",
    "execution_of",
    "folder_of",
    "network_of",
    "numbers_of",
    "same",
    "spec_of",
]
