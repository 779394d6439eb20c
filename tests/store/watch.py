"""Which files a process opens, as the system sees it: also those that libraries open without Python (Linux)."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_OPEN, _NONBLOCK = 0x20, 0o4000


@contextmanager
def opened_under(folder: Path) -> Iterator[set[Path]]:
    """Every file under a folder that is opened within; folders that are made meanwhile are not watched."""
    library = ctypes.CDLL(None, use_errno=True)
    handle = library.inotify_init1(_NONBLOCK)
    assert handle >= 0
    found: set[Path] = set()
    watched = {}
    for home in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        number = library.inotify_add_watch(handle, os.fsencode(home), _OPEN)
        assert number >= 0
        watched[number] = home
    try:
        yield found
    finally:
        while True:
            try:
                data = os.read(handle, 1 << 20)
            except BlockingIOError:
                break
            at = 0
            while at < len(data):
                number, mask, _, length = struct.unpack_from("iIII", data, at)
                assert number >= 0, "more was opened than the system keeps"
                name = data[at + 16 : at + 16 + length].rstrip(b"\0")
                if name and not mask & 0x40000000:  # of a folder
                    found.add(watched[number] / os.fsdecode(name))
                at += 16 + length
        os.close(handle)
