"""One process at a time in a folder: who comes second is told who is there."""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from causal_dsl.store.files import read_file, write_atomic

LOCK, HOLDER = ".lock", ".holder.json"


class Held(Exception):
    """Another process holds a folder; says which."""


@contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Hold a folder. Raises :class:`Held` at once where another does; the system drops the lock of a process that died.

    Raises OSError where the file of the lock cannot be made.
    """
    import socket

    import filelock  # both take long to import, and few commands hold a folder

    path = folder / LOCK
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise OSError(errno.EINVAL, f"`{LOCK}` in it is a link or a folder, and has to be a file", str(path))
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise Held(_who(folder)) from error
    try:
        told = {
            "process": os.getpid(),
            "machine": socket.gethostname(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
            "command": " ".join(sys.argv)[:200],
        }
        write_atomic(folder / HOLDER, json.dumps(told).encode())
        yield
    finally:
        with suppress(OSError):
            (folder / HOLDER).unlink()
        lock.release()


def _who(folder: Path) -> str:
    try:
        told = json.loads(read_file(folder / HOLDER))
        return f"process {int(told['process'])} on {told['machine']}, since {told['since']}: {told['command']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "an unidentified process"
