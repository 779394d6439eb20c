"""The tokenizer that belongs to a language model of a user's Python function: returned with it, named, or in its folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from torch import nn

from causal_dsl.diagnostics import Span, fail, shown_path
from causal_dsl.program.facts import cached_folder
from causal_dsl.program.tokens import Tokens


def given_tokens(tokenizer: Any, folders: tuple[Path, ...], span: Span) -> Tokens | None:
    """The tokenizer that a function returns, as an object or as the path of a file or folder; paths are taken against
    the first of ``folders`` where they lead somewhere. None for None; raises E643 for what is not a fast tokenizer."""
    if tokenizer is None:
        return None
    if isinstance(tokenizer, str | Path):
        paths = [folder / Path(tokenizer).expanduser() for folder in folders]
        return tokens_at(next((path for path in paths if path.exists()), paths[0]), span)
    backend = tokenizer if isinstance(tokenizer, Tokenizer) else getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise fail(
            "E643",
            f"a {type(tokenizer).__name__} is not a tokenizer that reports which characters its tokens cover",
            span,
            help="return a fast tokenizer of transformers, a tokenizers.Tokenizer, or the path of a tokenizer.json",
        )
    return Tokens(Tokenizer.from_str(backend.to_str()), getattr(tokenizer, "mask_token", None))


def tokens_at(path: Path, span: Span) -> Tokens:
    """The tokenizer of a file, or of a folder that holds one. Raises E643 where there is none, or it cannot be read."""
    found = (
        Tokens.from_folder(path, span) if path.is_dir() else Tokens.from_file(path, span) if path.is_file() else None
    )
    if found is not None:
        return found
    raise fail(
        "E643",
        f"{shown_path(path)} holds no tokenizer" if path.is_dir() else f"there is no tokenizer {shown_path(path)}",
        span,
        notes=("paths are relative to the spec",),
        help="name a tokenizer.json, or a folder that holds one",
    )


def tokens_beside(model: nn.Module, folders: tuple[Path, ...], weights: Path | None, span: Span) -> Tokens | None:
    """The tokenizer in the folder that a model says it was read from, or in that of its weights; None where there is none."""
    for folder in _own_folders(model, folders, weights):
        found = Tokens.from_folder(folder, span)
        if found is not None:
            return found
    return None


def _own_folders(model: nn.Module, folders: tuple[Path, ...], weights: Path | None) -> Iterator[Path]:
    config = getattr(model, "config", None)
    for name in dict.fromkeys((getattr(model, "name_or_path", ""), getattr(config, "_name_or_path", ""))):
        if not isinstance(name, str) or not name:
            continue
        for root in (Path.cwd(), *folders):
            try:
                if (root / name).is_dir():
                    yield root / name
            except (OSError, ValueError):
                continue
        cached = cached_folder(name, getattr(config, "_commit_hash", None))
        if cached is not None:
            yield cached
    if weights is not None:
        yield weights.parent


def is_language_model(model: nn.Module) -> bool:
    """Whether a module is a model of transformers that gives logits of tokens for token ids."""
    config = getattr(model, "config", None)
    getter = getattr(model, "get_output_embeddings", None)
    try:
        return hasattr(config, "to_dict") and getter is not None and getter() is not None
    except (AttributeError, NotImplementedError):
        return False


__all__ = ["given_tokens", "is_language_model", "tokens_at", "tokens_beside"]
