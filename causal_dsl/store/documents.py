"""JSON documents of the store's own, with a hash of what they say."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from causal_dsl.store.files import read_file, set_aside, write_atomic
from causal_dsl.store.hashes import of_bytes

_HASH = "sha256"


def write_document(path: Path, said: Mapping[str, Any]) -> None:
    """Keep plain data. Raises :class:`~causal_dsl.store.files.CannotWrite`."""
    write_atomic(path, json.dumps({**said, _HASH: _digest(said)}).encode())


def read_object(path: Path) -> dict[str, Any]:
    """The contents of a file of ours that is a JSON object. Raises OSError, also for what is no file, and ValueError for any other content."""
    try:
        found = json.loads(read_file(path))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(found, dict):
        raise ValueError("its content is not as it was written")
    return found


def read_document(path: Path) -> dict[str, Any]:
    """The contents of a document. Raises OSError, and ValueError for one that is not as it was written."""
    found = read_object(path)
    if found.pop(_HASH, None) != _digest(found):
        raise ValueError("its content is not as it was written")
    return found


def take_document(path: Path, what: str, well: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
    """The contents of a document; None where there is none. One that is damaged, or not ``well`` formed, is set aside (W659)."""
    try:
        found = read_document(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        set_aside(path, what, (getattr(error, "strerror", None) or str(error))[:200])
        return None
    if not well(found):
        set_aside(path, what, "its content is not as it was written")
        return None
    return found


def _digest(said: Mapping[str, Any]) -> str:
    return of_bytes(json.dumps(said, sort_keys=True).encode())
