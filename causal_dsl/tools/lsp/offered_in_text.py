"""The completions within strings: paths, networks, and the placeholders of prompts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lsprotocol import types

from causal_dsl.program.facts import hub_cache
from causal_dsl.program.zoo_entries import catalogue
from causal_dsl.tools.lsp.offered_kinds import Offer, OfferedKinds
from causal_dsl.tools.lsp.spec_files import SUFFIX

_KIND = types.CompletionItemKind


def in_text(kinds: OfferedKinds, written: str) -> Iterator[Offer]:
    """The completions of a string that begins with ``written``."""
    bracket = kinds.at.bracket
    if kinds.at.kind == "FROM":
        yield from _paths(kinds, written)
    elif bracket is not None and bracket.called == "zoo":
        for name, entry in catalogue().items():
            yield Offer(name, _KIND.Module, f"{entry.parameters:,} parameters", str(entry.task))
    elif bracket is not None and bracket.called == "hf" and kinds.at.before() in ("LPAR", "EQUAL"):
        if kinds.at.before() == "LPAR":
            yield from (Offer(name, _KIND.Module, "on this machine") for name in _local_networks())
        yield from (offer for offer in _paths(kinds, written) if offer.kind == _KIND.Folder)
    elif kinds.at.kind == "ALIGN" and (kinds.at.before() in ("PROMPT", "STRING") or bracket is not None):
        if "{" in written and "}" not in written[written.rindex("{") :]:
            start = written[: written.rindex("{") + 1]
            for offer in kinds.variables(kinds.model):
                yield Offer(offer.word, offer.kind, offer.detail, "", start + offer.word)
    elif bracket is not None:
        yield from _paths(kinds, written)


def importable(kinds: OfferedKinds) -> Iterator[Offer]:
    """The declarations of the file that is imported from."""
    path = next((token.text[1:-1] for token in kinds.at.header if token.type == "STRING"), "")
    taken = {token.text for token in kinds.at.header}
    file = str((kinds.meanings.files.folder(kinds.file) / path).resolve()) if "\0" not in path else ""
    for name, symbol in kinds.meanings.declared(file).names.items() if Path(file).is_absolute() else ():
        if symbol.kind != "test" and name not in taken:
            yield kinds.named(symbol, name)


def _paths(kinds: OfferedKinds, written: str) -> Iterator[Offer]:
    """The files and folders that a path may go on with."""
    start, _, _ = written.rpartition("/")
    folder = kinds.meanings.files.folder(kinds.file) / start
    try:
        entries = sorted(folder.iterdir())[:500]
    except (OSError, ValueError):
        return
    for entry in entries:
        inner = entry.is_dir()
        if entry.name.startswith(".") or (
            kinds.at.kind == "FROM" and not inner and entry.suffix not in (SUFFIX, ".py")
        ):
            continue
        path = f"{start}/{entry.name}" if start else entry.name
        kind = _KIND.Folder if inner else _KIND.File
        yield Offer(path + "/" * inner, kind, "", "", path + "/" * inner)


def _local_networks() -> list[str]:
    """The networks of the Hugging Face hub that were fetched to this machine."""
    try:
        found = sorted(entry.name for entry in hub_cache().iterdir() if entry.name.startswith("models--"))
    except (OSError, ImportError):
        return []
    return [name.removeprefix("models--").replace("--", "/") for name in found]


__all__ = ["importable", "in_text"]
