"""The hash that a document of results carries of itself, by which one that was changed after the run is told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from causal_dsl.store.hashes import of_bytes

#: The field that holds it.
SEAL = "seal"


def sealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with the hash of all of its other fields."""
    return {**document, SEAL: seal_of(document)}


def seal_of(document: Mapping[str, Any]) -> str:
    """SHA-256 of a document without its seal. How it is laid out does not matter: neither spaces, nor the order of fields, nor
    whether a whole number has a decimal point."""
    rest = {name: value for name, value in document.items() if name != SEAL}
    return of_bytes(json.dumps(_plain(rest), sort_keys=True, separators=(",", ":")).encode())


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


__all__ = ["SEAL", "seal_of", "sealed"]
