"""SHA-256 of files, computed once for each: what is large is remembered by path, size, times and inode.

The memory is in the cache folder, one small file for each path. ``CAUSAL_DSL_REHASH=1``, or ``run --rehash``, computes all
anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

import platformdirs

#: Smaller files are hashed each time: that is as fast as to look them up.
_SMALL = 1 << 20
#: Seconds that a file must have been left alone before its hash is remembered: a change within the clock's grain of a
#: file system would leave its times as they are.
SETTLED = 2.0

_REHASH: ContextVar[bool] = ContextVar("rehash", default=False)


def cache_root() -> Path:
    """The cache folder: ``CAUSAL_DSL_CACHE``, else the platform's for this user."""
    chosen = os.environ.get("CAUSAL_DSL_CACHE")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("causal_dsl", appauthor=False))


def of_bytes(data: bytes) -> str:
    """The SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def of_file(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal. Raises OSError where it cannot be read."""
    before = path.stat()
    if before.st_size <= _SMALL:
        return of_bytes(path.read_bytes())
    mark = [before.st_size, before.st_mtime_ns, before.st_ctime_ns, before.st_ino, before.st_dev]
    memory = cache_root() / "hashes" / f"{of_bytes(os.fsencode(os.path.abspath(path)))[:32]}.json"
    if not (_REHASH.get() or os.environ.get("CAUSAL_DSL_REHASH", "") not in ("", "0")):
        known = _remembered(memory, path, mark)
        if known is not None:
            return known
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if time.time_ns() - max(before.st_mtime_ns, before.st_ctime_ns) > SETTLED * 1e9:
        _remember(memory, path, mark, found)
    return found


@contextmanager
def rehashing(wanted: bool) -> Iterator[None]:
    """Within, no remembered hash is used, if that is wanted."""
    token = _REHASH.set(wanted or _REHASH.get())
    try:
        yield
    finally:
        _REHASH.reset(token)


def _remembered(memory: Path, path: Path, mark: list[int]) -> str | None:
    try:
        told = json.loads(memory.read_text(encoding="utf-8"))
        found = told["sha256"] if told["path"] == os.path.abspath(path) and told["mark"] == mark else None
        return found if isinstance(found, str) and len(found) == 64 else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(memory: Path, path: Path, mark: list[int], found: str) -> None:
    """Keep a hash; a cache that cannot be written costs time and nothing else."""
    from causal_dsl.store.files import write_atomic

    with suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        told = {"path": os.path.abspath(path), "mark": mark, "sha256": found}
        write_atomic(memory, json.dumps(told).encode())
