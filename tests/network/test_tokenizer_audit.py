"""The tokens of a run are those of transformers, or the run is refused: classes and settings of tokenizer_config.json."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

from causal_dsl import api
from causal_dsl.diagnostics import NOWHERE, Diagnostic, SpecError
from causal_dsl.network.tokenizer_audit import compare_tokens
from causal_dsl.program.tokens import Tokens
from tests.network.families import model_of
from tests.thinning import spread

torch.set_num_threads(1)
CORPUS = ["Now Ann and Bob went to the shop, Bob gave a cup to Ann", "12 + 34 = 46 and 5 + 6 = 11"] * 4
TEXTS = ["Ann and Bob went to the shop", "12 + 34 =", "Now Bob saw Ann"]


def byte_level(mark: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>", "<unk>"],
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    if mark:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return tokenizer


def sentence_piece(mark: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    tokenizer.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=500, special_tokens=special, show_progress=False)
    )
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    if mark:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


CLASSES: dict[str, Callable[[bool], Tokenizer]] = {
    "PreTrainedTokenizerFast": byte_level,
    "GPT2Tokenizer": byte_level,
    "GPTNeoXTokenizerFast": byte_level,
    "Qwen2Tokenizer": byte_level,
    "RobertaTokenizerFast": byte_level,
    "LlamaTokenizer": sentence_piece,
    "GemmaTokenizer": sentence_piece,
    "CodeLlamaTokenizerFast": sentence_piece,
}
SETTINGS: list[dict[str, object]] = [
    {},
    {"add_bos_token": True},
    {"add_bos_token": False},
    {"add_prefix_space": True},
    {"add_prefix_space": False},
    {"legacy": True},
    {"add_eos_token": True},
    {"split_special_tokens": True},
    {"model_max_length": 4},
    {
        "added_tokens_decoder": {
            "3": {
                "content": "Bob",
                "special": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "single_word": False,
            }
        }
    },
    {"additional_special_tokens": ["shop"]},
]


def write(folder: Path, kind: str | None, made: Tokenizer, said: dict[str, object]) -> None:
    made.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    if kind is not None:
        names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
        (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kind, **names, **said}))


def judged(folder: Path, texts: list[str] = TEXTS) -> Diagnostic | None:
    try:
        said = compare_tokens(Tokens.from_folder(folder, NOWHERE), folder, texts, NOWHERE)  # type: ignore[arg-type]
    except SpecError as error:
        return error.diagnostics[0]
    return said[0] if said else None


def agree(folder: Path) -> bool:
    """By hand: text by text."""
    ours, theirs = Tokens.from_folder(folder, NOWHERE), AutoTokenizer.from_pretrained(folder)
    assert ours is not None
    return all(list(ours.encode(text).ids) == theirs(text)["input_ids"] for text in TEXTS)


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("kind", spread(CLASSES, 3))
def test_what_differs_is_refused_and_either_help_mends_it(kind: str, tmp_path: Path) -> None:
    differing = 0
    for mark in (False, True):
        made = CLASSES[kind](mark)
        for number, said in enumerate(SETTINGS):
            folder = tmp_path / f"{mark}{number}"
            folder.mkdir()
            write(folder, kind, made, said)
            told = judged(folder)
            assert (told is None) == agree(folder), (mark, said)
            if told is None:
                continue
            differing += 1
            assert told.code == "E514" and "tokens" in told.notes[1] and told.help
            saved = tmp_path / f"{mark}{number}saved"
            AutoTokenizer.from_pretrained(folder).save_pretrained(saved)
            shutil.copy(folder / "config.json", saved)
            assert judged(saved) is None, "the files that transformers writes agree"
            (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
            assert judged(folder) is None, "or tokenizer.json is taken as it is"
    assert differing or kind == "PreTrainedTokenizerFast"


def test_a_folder_that_does_not_say_its_class(tmp_path: Path) -> None:
    write(tmp_path, None, byte_level(False), {})
    assert judged(tmp_path) is None and agree(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    told = judged(tmp_path)
    assert told is not None and told.code == "W666" and "tokenizer.json" in told.notes[-1]


def test_a_tokenizer_that_transformers_cannot_read(tmp_path: Path) -> None:
    write(tmp_path, "NoSuchTokenizer", byte_level(False), {"auto_map": {"AutoTokenizer": ["a.B", None]}})
    told = judged(tmp_path)
    assert told is not None and told.code == "W666" and told.help


def test_half_characters_and_masks_are_compared_as_they_are_read(tmp_path: Path) -> None:
    write(tmp_path, "GPT2Tokenizer", byte_level(False), {"mask_token": "<unk>"})
    assert judged(tmp_path, ["Ann \ud83d saw", "Ann [MASK] Bob", ""]) is None


def test_the_tokenizer_of_a_function_is_compared_too(tmp_path: Path) -> None:
    write(tmp_path, "GPT2Tokenizer", byte_level(False), {})
    assert Tokens.from_file(tmp_path / "tokenizer.json", NOWHERE).folder == tmp_path
    model_of("llama").save_pretrained(tmp_path / "net")
    words = {word: i for i, word in enumerate(["<unk>", "Ann", "Bob", "saw", ".", "It", "was"])}
    made = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.save(str(tmp_path / "net" / "tokenizer.json"))
    (tmp_path / "net" / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    (tmp_path / "net.py").write_text(
        "from pathlib import Path\nfrom transformers import AutoModelForCausalLM\nHERE = Path(__file__).parent / 'net'\n"
        "def make():\n    return AutoModelForCausalLM.from_pretrained(HERE), str(HERE / 'tokenizer.json')\n"
    )
    (tmp_path / "spec.causal").write_text(SPEC.replace('hf("NET")', 'torch("net.py:make")'))
    with pytest.raises(SpecError) as caught:
        api.run(api.load(tmp_path / "spec.causal"), api.Options(trust=True))
    assert [d.code for d in caught.value.diagnostics] == ["E514"]


SPEC = """
causal who {
  a, b ~ {"Ann", "Bob"}
  output answer := a
}
network net = hf("NET")
align at : who -> net {
  prompt "{a} saw {b} . It was"
  a      @ layer[1].resid_post[a]
  answer @ next_token
}
test plain on at {
  base ~ who(n=4, seed=0)
  report logit(answer)
}
"""


@pytest.mark.slow
def test_a_run_is_refused_at_its_network(tmp_path: Path) -> None:
    words = ["<unk>", "<s>", "Ann", "Bob", "saw", ".", "It", "was", "▁Ann", "▁Bob", "▁saw", "▁.", "▁It", "▁was"]
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    model_of("llama").save_pretrained(tmp_path)
    spec = api.parse(SPEC.replace("NET", str(tmp_path)))
    made.save(str(tmp_path / "tokenizer.json"))
    config = tmp_path / "tokenizer_config.json"
    config.write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    assert [d.code for d in api.run(spec).specs[0].warnings] == []
    config.write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    with pytest.raises(SpecError) as caught:
        api.run(spec)
    (told,) = caught.value.diagnostics
    assert told.code == "E514" and told.span.text == f'hf("{tmp_path}")'


def test_answers_are_compared_too(tmp_path: Path) -> None:
    """Digits of a qwen2 tokenizer go one by one: a prompt without any is the same, its answer is not."""
    write(tmp_path, "Qwen2Tokenizer", byte_level(False), {})
    assert judged(tmp_path, ["Ann and Bob went to the"]) is None
    assert judged(tmp_path, ["Ann and Bob went to the 12"]) is not None
