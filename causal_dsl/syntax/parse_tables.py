"""The parse tables of a grammar, kept in the cache: they take longer to make than a small spec takes to check."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import lark
from lark import Lark
from lark.grammar import Rule
from lark.lark import _LOAD_ALLOWED_OPTIONS
from lark.lexer import TerminalDef

from causal_dsl.store.documents import take_document, write_document
from causal_dsl.store.hashes import cache_root, of_bytes

#: What the tables were made with, beside the grammar and what is parsed by itself.
_SETTINGS = {"parser": "lalr", "lexer": "basic", "keep_all_tokens": True, "maybe_placeholders": True}


def parse_tables(grammar: str, starts: Sequence[str], transformer: Callable[[], Any]) -> Lark:
    """A parser for each of ``starts``; from the cache where it was made before of the same text by the same lark.

    A cache that cannot be written costs time and nothing else; a damaged file of it is set aside and made anew (W659).
    """
    made_with = json.dumps([lark.__version__, _SETTINGS, list(starts), grammar])
    path = cache_root() / "grammar" / f"{of_bytes(made_with.encode())}.json"
    kept: list[Lark] = []

    def well(said: dict[str, Any]) -> bool:
        try:
            found = json.loads(said["tables"], object_hook=_numbered)
            kept.append(Lark._load_from_dict(found["data"], found["memo"], transformer=transformer()))
        except (KeyError, TypeError, ValueError, AttributeError, AssertionError):
            return False
        return True

    if take_document(path, "a parse table", well) is not None:
        return kept[0]
    settings: dict[str, Any] = {**_SETTINGS, "start": list(starts), "transformer": transformer()}
    made = Lark(grammar, **settings)
    data, memo = made.memo_serialize([TerminalDef, Rule])
    data["options"] = {name: value for name, value in data["options"].items() if name not in _LOAD_ALLOWED_OPTIONS}
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_document(path, {"tables": json.dumps({"data": data, "memo": memo})})
    return made


def _numbered(found: dict[str, Any]) -> dict[Any, Any]:
    """Numbers that JSON wrote as names of a table."""
    return {int(name) if name.isdigit() else name: value for name, value in found.items()}
