"""The hash that a document of results carries of itself, by which one that was changed after the run is told."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from operator import itemgetter
from typing import Any

#: The field that holds it.
SEAL = "seal"
#: How deep a document is taken apart while its hash is made: what lies deeper is a small part of it, such as a cell's scores.
_DEEP = 7


def sealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with the hash of all of its other fields."""
    return {**document, SEAL: seal_of(document)}


def seal_of(document: Mapping[str, Any]) -> str:
    """SHA-256 of a document without its seal. How it is laid out does not matter: neither spaces, nor the order of fields, nor
    whether a whole number has a decimal point."""
    rest = {name: value for name, value in document.items() if name != SEAL}
    found = hashlib.sha256()
    for part in _parts(rest, _DEEP):
        found.update(part.encode())
    return found.hexdigest()


def _parts(value: Any, deep: int) -> Iterator[str]:
    """A document as one text without spaces, its fields sorted, a part after another: of very many cells it is never copied whole."""
    if deep and isinstance(value, Mapping):
        between = "{"
        for name, one in sorted({str(name): one for name, one in value.items()}.items(), key=itemgetter(0)):
            yield f"{between}{json.dumps(name)}:"
            yield from _parts(one, deep - 1)
            between = ","
        yield "}" if value else "{}"
    elif deep and isinstance(value, list | tuple):
        between = "["
        for one in value:
            yield between
            yield from _parts(one, deep - 1)
            between = ","
        yield "]" if value else "[]"
    else:
        yield json.dumps(_plain(value), sort_keys=True, separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


__all__ = ["SEAL", "seal_of", "sealed"]
