"""The headers of safetensors files: their first bytes are looked at, and no tensor is read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

#: Bytes of the largest header that is looked at; those of real files have some kilobytes.
_LARGEST = 10_000_000


class NoTensors(ValueError):
    """A file is no whole safetensors file; the message says why."""


def header_of(path: Path) -> dict[str, Any] | None:
    """The header of a safetensors file about its tensors; None where it cannot be read."""
    try:
        return _header(path)[0]
    except (OSError, NoTensors):
        return None


def header_fault(path: Path) -> str:
    """Why a file is no whole safetensors file; empty where its header says what it holds.

    A file of many gigabytes is refused by its first bytes and its size, before anything reads it whole.
    """
    try:
        header, room = _header(path)
        ends = [about["data_offsets"][1] for name, about in header.items() if name != "__metadata__"]
        end = max(map(int, ends), default=0)
    except (OSError, NoTensors) as error:
        return getattr(error, "strerror", None) or str(error)
    except (TypeError, KeyError, IndexError, ValueError):
        return "its header does not say where each tensor is"
    if end != room:
        return f"its header speaks of {end:,} bytes of tensors, and the file has {room:,}"
    return ""


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The header of a file, and the bytes behind it. Raises OSError and :class:`NoTensors`."""
    with path.open("rb") as file:
        length = os.fstat(file.fileno()).st_size
        size = int.from_bytes(file.read(8), "little")
        if length < 8 or size > length - 8:
            raise NoTensors("its first eight bytes are not the length of a header in it")
        if file.read(1) != b"{":
            raise NoTensors("it does not begin with a header")
        if size > _LARGEST:
            raise NoTensors(f"its header has {size:,} bytes; at most {_LARGEST:,}")
        try:
            found = json.loads(b"{" + file.read(size - 1))
        except (ValueError, RecursionError) as error:
            raise NoTensors("its header is not JSON") from error
    if not isinstance(found, dict):
        raise NoTensors("its header is not JSON")
    return found, length - 8 - size


__all__ = ["header_fault", "header_of"]
