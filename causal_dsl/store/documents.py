"""JSON documents of the store's own, with a hash of what they say."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from causal_dsl.store.files import set_aside, write_atomic
from causal_dsl.store.hashes import of_bytes

_HASH = "sha256"


def write_document(path: Path, said: Mapping[str, Any]) -> None:
    """Keep plain data. Raises :class:`~causal_dsl.store.files.CannotWrite`."""
    write_atomic(path, json.dumps({**said, _HASH: _digest(said)}).encode())


def take_document(path: Path, what: str, well: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
    """What a document says; None where there is none. One that is damaged, or not ``well`` formed, is set aside (W659)."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        set_aside(path, what, str(error)[:200])
        return None
    if not isinstance(found, dict) or found.pop(_HASH, None) != _digest(found) or not well(found):
        set_aside(path, what, "it is not as it was written")
        return None
    return found


def _digest(said: Mapping[str, Any]) -> str:
    return of_bytes(json.dumps(said, sort_keys=True).encode())
