"""A tokenizer as the rest of the language sees it: ids, and which characters each token covers.

Made from ``tokenizer.json`` by the ``tokenizers`` library, without transformers: ``check`` and ``run`` see the same
tokens. As in transformers, that file alone says which special tokens are put around a text (``add_bos_token`` of
``tokenizer_config.json`` counts only where there is no such file). Nothing is ever cut off or padded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from copy import copy
from functools import lru_cache
from pathlib import Path
from typing import Any

from tokenizers import ByteLevelBPETokenizer, Tokenizer, models, pre_tokenizers, processors

from causal_dsl.base.faults import foreign
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Span, fail, shown_path
from causal_dsl.store import reads

#: How a prompt writes the tokenizer's mask token, whatever it is called there.
MASK = "[MASK]"
#: What tokenizers call it whose files do not say.
_MASKS = (MASK, "<mask>")
#: Half a character: it has no UTF-8 form, and the tokenizer would raise. One stands for one, so offsets hold.
SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Encoded:
    """A text as tokens: ``ids``, and for each token the characters it covers, [start, end) of the text.

    ``special`` marks those that the tokenizer adds (a beginning-of-sequence token, say); they cover no characters.
    """

    ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]
    special: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.ids)


class Tokens:
    """``tokenizers.Tokenizer``, without truncation and padding; what it is asked often is remembered.

    ``mask`` is what the tokenizer calls its mask token, None where it has none; ``[MASK]`` in a text is that token.
    ``rows`` is how many tokens the network has embeddings for, whatever the tokenizer knows; None where that is not known.
    ``words`` is the vocabulary that a spec gives, in the order of its ids: a word that is not in it has the id after the last.
    ``folder`` is where its files lie, None where it came without any.
    """

    rows: int | None = None
    words: tuple[str, ...] = ()

    def __init__(self, tokenizer: Tokenizer, mask: str | None = None, folder: Path | None = None):
        self.tokenizer = tokenizer
        self.folder = folder
        self.mask = _mask(tokenizer, mask)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._encode = lru_cache(maxsize=1 << 16)(self._encode_now)

    @classmethod
    def from_file(cls, path: Path, span: Span) -> Tokens:
        """The tokenizer of a ``tokenizer.json``; raises E643 where it cannot be read."""
        try:
            reads.refuse_large(path)
            reads.note(path)
            with foreign:
                tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise fail(
                "E643",
                f"cannot read the tokenizer {shown_path(path)}",
                span,
                notes=((str(error) or type(error).__name__).splitlines()[0][:200],),
                help="is the download whole? The file is written by `save_pretrained` of a fast tokenizer",
            ) from error
        return cls(tokenizer, _named_mask(path.parent), path.parent)

    @classmethod
    def from_folder(cls, folder: Path, span: Span) -> Tokens | None:
        """The tokenizer of a checkpoint's folder: ``tokenizer.json``, or GPT-2's ``vocab.json`` and ``merges.txt``.

        None where the folder has neither; raises E643 where what it has cannot be read.
        """
        if (folder / "tokenizer.json").is_file():
            return cls.from_file(folder / "tokenizer.json", span)
        vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
        if not (vocabulary.is_file() and merges.is_file()):
            return None
        try:
            reads.refuse_large(vocabulary)
            reads.refuse_large(merges)
            reads.note(vocabulary)
            reads.note(merges)
            with foreign:
                tokenizer = ByteLevelBPETokenizer.from_file(str(vocabulary), str(merges))._tokenizer
        except Exception as error:  # the library raises bare Exception
            raise fail(
                "E643",
                f"cannot read the tokenizer in {shown_path(folder)}",
                span,
                notes=((str(error) or type(error).__name__).splitlines()[0][:200],),
            ) from error
        _heed_settings(tokenizer, folder / "tokenizer_config.json", span)
        return cls(tokenizer, _named_mask(folder), folder)

    @classmethod
    def of_words(cls, words: Sequence[str]) -> Tokens:
        """A token for each word, and a text parted by white space; nothing is put around it."""
        unknown = next(name for name in (f"[UNK{n or ''}]" for n in range(len(words) + 1)) if name not in words)
        ids = {word: number for number, word in enumerate([*words, unknown])}
        tokenizer = Tokenizer(models.WordLevel(ids, unk_token=unknown))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        found = cls(tokenizer)
        found.words = tuple(words)
        return found

    def of_network(self, rows: int | None) -> Tokens:
        """The same tokenizer, of a network with embeddings for ``rows`` tokens."""
        if rows == self.rows:
            return self
        found = copy(self)
        found.rows = rows
        return found

    @property
    def size(self) -> int:
        """How many ids there are, those added to the vocabulary included."""
        return int(self.tokenizer.get_vocab_size(with_added_tokens=True))

    @property
    def mask_id(self) -> int | None:
        """The id of the mask token."""
        return None if self.mask is None else self.tokenizer.token_to_id(self.mask)

    @property
    def unknown_id(self) -> int | None:
        """The id of the token that stands for whatever is not in the vocabulary; None where there is none."""
        token = getattr(self.tokenizer.model, "unk_token", None)
        return self.tokenizer.token_to_id(token) if isinstance(token, str) else None

    def encode(self, text: str) -> Encoded:
        """The tokens of a text, with the special tokens that the tokenizer's own post-processor adds."""
        return self._encode(text)

    @property
    def special_ids(self) -> frozenset[int]:
        """The ids of tokens that are no text: those that begin and end one, and the marks of turns."""
        added = self.tokenizer.get_added_tokens_decoder()
        return frozenset(number for number, token in added.items() if token.special)

    @property
    def decodes(self) -> bool:
        """Whether the tokenizer knows where spaces were; else :meth:`decode` puts one between any two tokens."""
        return self.tokenizer.decoder is not None

    def plain(self, text: str) -> tuple[int, ...]:
        """The ids of a text, with no special token around it."""
        return tuple(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: tuple[int, ...]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False))

    def token(self, index: int) -> str:
        """The text of one token as the vocabulary writes it; ``""`` for an id without a token."""
        return self.tokenizer.id_to_token(index) or ""

    def continuation(self, prompt: str, text: str) -> tuple[int, ...] | None:
        """The ids of ``prompt + text`` after those of ``prompt``; None where ``prompt``'s ids do not come first.

        Special tokens that the tokenizer puts at the end are left out of both.
        """
        before, whole = _without_end(self.encode(prompt)), _without_end(self.encode(prompt + text))
        if whole[: len(before)] != before:
            return None
        return whole[len(before) :]

    def appended(self) -> int:
        """How many special tokens the tokenizer puts after every text."""
        encoded = self.encode("a")
        return len(encoded) - len(_without_end(encoded))

    def _encode_now(self, text: str) -> Encoded:
        written = self.mask or MASK
        encoding = self.tokenizer.encode(SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text.replace(MASK, written)))
        offsets = tuple(encoding.offsets)
        if written != MASK and MASK in text:
            offsets = tuple((_back(start, text, written), _back(end, text, written)) for start, end in offsets)
        return Encoded(tuple(encoding.ids), offsets, tuple(map(bool, encoding.special_tokens_mask)))


def _back(at: int, text: str, written: str) -> int:
    """Where a character of ``text``, with its masks ``written`` otherwise, is in the text itself."""
    moved = 0
    for match in re.finditer(re.escape(MASK), text):
        start = match.start() + moved
        if at <= start:
            break
        if at < start + len(written):
            return match.start()
        moved += len(written) - len(MASK)
    return at - moved


def _mask(tokenizer: Tokenizer, named: str | None) -> str | None:
    """The mask token, as one that the tokenizer finds in a text: what its files name, else what it is mostly called."""
    added = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    if named is not None and tokenizer.token_to_id(named) is not None:
        if named not in added:
            tokenizer.add_special_tokens([named])
        return named
    return next((name for name in _MASKS if name in added), None)


def _named_mask(folder: Path) -> str | None:
    """The mask token that the files beside a tokenizer name."""
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        try:
            settings = json.loads(reads.read_text(folder / name))
        except (OSError, ValueError, RecursionError):
            continue  # what it would say is looked for in the tokenizer itself
        token = settings.get("mask_token") if isinstance(settings, dict) else None
        token = token.get("content") if isinstance(token, dict) else token
        if isinstance(token, str) and token:
            return token
    return None


def _without_end(encoded: Encoded) -> tuple[int, ...]:
    end = len(encoded)
    while end and encoded.special[end - 1] and encoded.offsets[end - 1][0] == encoded.offsets[end - 1][1]:
        end -= 1
    return encoded.ids[:end]


def _heed_settings(tokenizer: Tokenizer, path: Path, span: Span) -> None:
    """Put the beginning and end tokens where ``tokenizer_config.json`` says so, as transformers does."""
    if not path.exists():
        return  # the tokenizer's own post-processor holds
    try:
        settings = json.loads(reads.read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        note = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise fail("E643", f"cannot read {shown_path(path)}", span, notes=(note,)) from error
    if not isinstance(settings, dict) or not ("add_bos_token" in settings or "add_eos_token" in settings):
        return
    begin = _special(tokenizer, settings, "bos_token") if settings.get("add_bos_token") else None
    end = _special(tokenizer, settings, "eos_token") if settings.get("add_eos_token") else None
    if begin is None and end is None and tokenizer.post_processor is None:
        return
    tokenizer.post_processor = processors.TemplateProcessing(
        single=" ".join([*([begin[0]] if begin else []), "$A", *([end[0]] if end else [])]),
        special_tokens=list(dict.fromkeys(item for item in (begin, end) if item)),
    )


def _special(tokenizer: Tokenizer, settings: Mapping[str, Any], key: str) -> tuple[str, int] | None:
    token = settings.get(key)
    if isinstance(token, dict):
        token = token.get("content")
    index = tokenizer.token_to_id(token) if isinstance(token, str) else None
    return None if index is None else (str(token), index)
