"""The tokens of a checkpoint's ``tokenizer.json`` against those that transformers makes of the same folder.

``check`` reads ``tokenizer.json`` alone. ``AutoTokenizer`` heeds the settings of ``tokenizer_config.json`` too, and for
many classes builds the tokenizer anew from the vocabulary (another normaliser, a token at the beginning). A network is
said to be run on the tokens of its own tokenizer, so on the prompts at hand the two must agree.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from causal_dsl.diagnostics import Diagnostic, Span, fail, shown_path
from causal_dsl.network.compare import told
from causal_dsl.network.quiet import quiet, worth_telling
from causal_dsl.program.facts import record_of
from causal_dsl.program.tokens import MASK, SURROGATE, Tokens

#: Classes that take ``tokenizer.json`` as it is.
_PLAIN = ("TokenizersBackend", "PreTrainedTokenizerFast")


def compare_tokens(tokens: Tokens, folder: Path, texts: Sequence[str], span: Span) -> tuple[Diagnostic, ...]:
    """Raise E514 where a text has other tokens with ``AutoTokenizer``; W666 where that cannot be told, or where nothing
    beside ``tokenizer.json`` says which class it is of; W663 for what the library warns of."""
    config = folder / "tokenizer_config.json"
    if _taken_as_it_is(folder):
        return ()
    distinct = list(dict.fromkeys(texts))
    try:
        theirs, heard = _theirs(folder, _stamp(folder))
        every = theirs([_written(text, theirs) for text in distinct], verbose=False)["input_ids"] if distinct else []
    except Exception as error:
        note = (told(error), f"the tokens are those of {shown_path(folder / 'tokenizer.json')}")
        return (_unsure("the tokens of the prompts could not be compared with those of transformers", note, span),)
    for text, ids in zip(distinct, every, strict=True):
        ours, found = list(tokens.encode(text).ids), list(ids)
        if ours == found:
            continue
        notes = (
            f'the prompt is "{text if len(text) <= 60 else text[:59] + "…"}"',
            f"{shown_path(folder)} read by its tokenizer.json: {_shown(tokens, ours, found)}",
            f"by transformers, as a {type(theirs).__name__}: {_shown(tokens, found, ours)}",
        )
        if not config.is_file():
            title = "transformers would guess another tokenizer for this folder"
            return (_unsure(title, (*notes, "the run uses tokenizer.json"), span),)
        raise fail(
            "E514",
            "the tokenizer's files do not agree on the tokens of a prompt",
            span,
            notes=notes,
            help="write files that agree: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) keeps the tokens of "
            "transformers; a tokenizer_config.json of "
            + (
                "no added tokens"
                if type(theirs).__name__ in _PLAIN
                else '"tokenizer_class": "PreTrainedTokenizerFast" alone'
            )
            + " keeps those of tokenizer.json",
        )
    return tuple(
        Diagnostic(
            "W663",
            "transformers gives a warning when it loads this tokenizer",
            span,
            notes=(text,),
            help="fix the cause, or make sure that it does not affect the tokens of the prompts",
        )
        for text in worth_telling(heard)
    )


#: Settings of a tokenizer_config.json that change no token where the class takes tokenizer.json as it is.
_HARMLESS = frozenset(
    (
        "backend",
        "bos_token",
        "eos_token",
        "unk_token",
        "pad_token",
        "is_local",
        "local_files_only",
        "model_max_length",
        "tokenizer_class",
        "clean_up_tokenization_spaces",
        "chat_template",
        "padding_side",
    )
)


def _taken_as_it_is(folder: Path) -> bool:
    """Whether the files say so little that transformers can only read tokenizer.json: then nothing is built to compare."""
    try:
        said = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
        names = {path.name for path in folder.iterdir()}
    except (OSError, ValueError, AttributeError, RecursionError):
        return False
    beside = {"added_tokens.json", "special_tokens_map.json", "vocab.json", "merges.txt", "tokenizer.model"}
    return (
        isinstance(said, dict)
        and said.keys() <= _HARMLESS
        and said.get("tokenizer_class") in _PLAIN
        and isinstance(kind, str)
        and (record := record_of(kind)) is not None
        and record.obeyed
        and "tokenizer.json" in names
        and not names & beside
    )


def _unsure(title: str, notes: tuple[str, ...], span: Span) -> Diagnostic:
    return Diagnostic(
        "W666",
        title,
        span,
        notes=notes,
        help='say in tokenizer_config.json which it is: "tokenizer_class": "PreTrainedTokenizerFast" takes tokenizer.json as it is',
    )


@lru_cache(maxsize=8)
def _theirs(folder: Path, _: tuple[Any, ...]) -> tuple[Any, list[str]]:
    with quiet() as heard:
        from transformers import AutoTokenizer

        made = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    return made, heard


def _stamp(folder: Path) -> tuple[Any, ...]:
    """A mark that tells whether the files of a tokenizer are still those that were read."""
    found = []
    for path in sorted(folder.glob("*")):
        if path.suffix in (".json", ".txt", ".model", ".jinja") and path.is_file():
            about = path.stat()
            found.append((path.name, about.st_size, about.st_mtime_ns))
    return tuple(found)


def _written(text: str, theirs: Any) -> str:
    """A prompt as it is given to transformers: whole characters, with the mask token by its own name."""
    text = SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)
    return text.replace(MASK, theirs.mask_token) if getattr(theirs, "mask_token", None) else text


def _shown(tokens: Tokens, ids: list[int], other: list[int]) -> str:
    """The tokens around the first that differs."""
    at = next((i for i, (a, b) in enumerate(zip(ids, other, strict=False)) if a != b), min(len(ids), len(other)))
    shown = " ".join(f"[{tokens.token(i)}]" for i in ids[max(0, at - 1) : at + 3])
    return f"{len(ids)} tokens, {'… ' if at > 1 else ''}{shown}{' …' if at + 3 < len(ids) else ''}"


__all__ = ["compare_tokens"]
