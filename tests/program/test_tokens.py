"""Tokenizers of several kinds: offsets, special tokens, continuations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from causal_dsl.diagnostics import NOWHERE, SpecError
from causal_dsl.program.tokens import Tokens

TEXTS = ["When Mary and John went to the store, John gave a drink to Mary", "Then Alice and Bob had a long argument"]


def byte_level(bos: bool = False, eos: bool = False) -> Tokenizer:
    """GPT-2's kind, trained on two sentences; spaces belong to the word after them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(TEXTS * 4, trainer)
    if bos or eos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=("<s> " if bos else "") + "$A" + (" </s>" if eos else ""), special_tokens=[("<s>", 0), ("</s>", 1)]
        )
    return tokenizer


def metaspace() -> Tokenizer:
    """sentencepiece's kind: a space is put before the text, and spaces are tokens' first letters."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=["<unk>", "<s>"])
    tokenizer.train_from_iterator(TEXTS * 4, trainer)
    return tokenizer


def words() -> Tokenizer:
    names = {word: index for index, word in enumerate(sorted({w for text in TEXTS for w in text.split()}))}
    tokenizer = Tokenizer(models.WordLevel({**names, "[UNK]": len(names)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def pieces(tokens: Tokens, text: str) -> list[str]:
    return [text[start:end].strip() for start, end in tokens.encode(text).offsets]


@pytest.mark.parametrize("make", [byte_level, metaspace, words])
def test_offsets_cover_the_text(make: object) -> None:
    tokens = Tokens(make())
    assert pieces(tokens, "When Mary and John") == ["When", "Mary", "and", "John"]


def test_special_tokens_are_the_tokenizers_own() -> None:
    plain, marked = Tokens(byte_level()), Tokens(byte_level(bos=True))
    assert marked.encode("When Mary").ids == (0, *plain.encode("When Mary").ids)
    assert marked.encode("When Mary").special == (True, False, False)
    assert marked.encode("When Mary").offsets[0] == (0, 0)


def test_continuations() -> None:
    for tokens in (Tokens(byte_level()), Tokens(byte_level(bos=True)), Tokens(byte_level(bos=True, eos=True))):
        mary = tokens.continuation("When John gave a drink to", " Mary")
        assert mary is not None
        assert tokens.decode(mary) == " Mary"
        assert len(mary) == 1
        assert tokens.continuation("When Joh", "n gave") is None  # "John" is one token
        assert tokens.continuation("When", "") == ()


def test_a_tokenizer_that_ends_every_text() -> None:
    assert Tokens(byte_level(eos=True)).appended() == 1
    assert Tokens(byte_level(bos=True)).appended() == 0


def test_nothing_is_cut_off_or_padded(tmp_path: Path) -> None:
    tokenizer = byte_level()
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=20)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    tokens = Tokens.from_folder(tmp_path, NOWHERE)
    assert pieces(tokens, TEXTS[1]) == TEXTS[1].split()


SETTINGS = (
    {},
    {"add_bos_token": False},
    {"add_bos_token": True},
    {"add_bos_token": True, "add_eos_token": True},
)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("bos", [False, True])
def test_the_same_ids_as_transformers(settings: dict, bos: bool, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    byte_level(bos=bos).save(str(tmp_path / "tokenizer.json"))
    config = {"bos_token": "<s>", "eos_token": "</s>", "tokenizer_class": "PreTrainedTokenizerFast", **settings}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    theirs = AutoTokenizer.from_pretrained(tmp_path)(TEXTS[0])["input_ids"]
    assert list(Tokens.from_folder(tmp_path, NOWHERE).encode(TEXTS[0]).ids) == theirs


@pytest.mark.parametrize("settings", SETTINGS)
def test_vocabulary_and_merges_alone(settings: dict, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    byte_level().model.save(str(tmp_path))
    config = {"bos_token": "<s>", "eos_token": "</s>", "tokenizer_class": "GPT2Tokenizer", **settings}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    theirs = AutoTokenizer.from_pretrained(tmp_path)(TEXTS[0])["input_ids"]
    assert list(Tokens.from_folder(tmp_path, NOWHERE).encode(TEXTS[0]).ids) == theirs


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model": {}}', "\0"])
def test_broken_files(text: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(SpecError) as caught:
        Tokens.from_folder(tmp_path, NOWHERE)
    assert caught.value.diagnostics[0].code == "E643"
    (tmp_path / "tokenizer.json").unlink()
    byte_level().model.save(str(tmp_path))
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(SpecError):
        Tokens.from_folder(tmp_path, NOWHERE)


def test_no_tokenizer_at_all(tmp_path: Path) -> None:
    assert Tokens.from_folder(tmp_path, NOWHERE) is None


def test_half_a_character_is_no_traceback() -> None:
    tokens = Tokens(byte_level())
    assert tokens.encode("When \ud83d Mary").offsets[-1][1] == 11


# ── the mask token ──────────────────────────────────────────────────────────────────────────────


def masked(name: str = "<mask>", **more: bool) -> Tokenizer:
    tokenizer = words()
    tokenizer.add_special_tokens([AddedToken(name, special=True, **more)])
    return tokenizer


@pytest.mark.parametrize("name", ["[MASK]", "<mask>", "<a much longer name>", "§"])
@pytest.mark.parametrize(
    "text", ["When [MASK] and", "[MASK]", "When Mary and [MASK]", "[MASK] and [MASK] went to [MASK]"]
)
def test_the_mask_is_written_alike_for_every_tokenizer(name: str, text: str) -> None:
    """Its offsets are those of what the prompt says, not of what the tokenizer is given."""
    tokens = Tokens(masked(name), name)
    encoded = tokens.encode(text)
    assert [text[start:end] for start, end in encoded.offsets] == text.split()
    assert [i for i, token in enumerate(encoded.ids) if token == tokens.mask_id] == [
        i for i, word in enumerate(text.split()) if word == "[MASK]"
    ]


def test_a_mask_that_takes_the_space_before_it() -> None:
    tokens = Tokens(masked("<m>", lstrip=True), "<m>")
    text = "When [MASK] and Mary"
    assert [text[start:end] for start, end in tokens.encode(text).offsets] == ["When", " [MASK]", "and", "Mary"]


def test_a_tokenizer_without_a_mask_leaves_the_text_as_it_is() -> None:
    assert Tokens(words()).mask is None
    assert Tokens(words()).mask_id is None
    assert Tokens(words(), "<nowhere>").mask is None
    assert Tokens(byte_level()).encode("[MASK]").ids == tuple(byte_level().encode("[MASK]").ids)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, "<mask>"),
        ({"tokenizer_config.json": {"mask_token": "Mary"}}, "Mary"),
        ({"tokenizer_config.json": {"mask_token": {"content": "Mary"}}}, "Mary"),
        ({"special_tokens_map.json": {"mask_token": "Mary"}}, "Mary"),
        ({"tokenizer_config.json": {}, "special_tokens_map.json": {"mask_token": "Mary"}}, "Mary"),
        ({"tokenizer_config.json": {"mask_token": None}}, "<mask>"),
        ({"tokenizer_config.json": {"mask_token": "<nowhere>"}}, "<mask>"),
    ],
)
def test_which_token_is_the_mask(files: dict, expected: str, tmp_path: Path) -> None:
    masked().save(str(tmp_path / "tokenizer.json"))
    for name, settings in files.items():
        (tmp_path / name).write_text(json.dumps(settings))
    tokens = Tokens.from_folder(tmp_path, NOWHERE)
    assert tokens.mask == expected
    assert tokens.encode("When [MASK] and").ids[1] == tokens.mask_id


def test_tokens_that_are_not_known() -> None:
    tokens = Tokens(words())
    assert tokens.encode("zebra").ids == (tokens.unknown_id,)
    assert Tokens(byte_level()).unknown_id is None
