"""A folder of this machine that stands for a store with an address: what is there is fetched, and what is written here is put there.

A run reads and writes the folder as it does any ``--out``. What it wrote is put into the store by a thread every few seconds and at the
end, so a run that is stopped loses no more than that. Two runs must not write results of one spec at once: who runs puts a
note there and renews it, and another run that finds a fresh one stops (E756).
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from causal_dsl.diagnostics import Source, Span, fail
from causal_dsl.store.addresses import Address, Unreachable, unreachable
from causal_dsl.store.hashes import cache_root

#: Says of a folder for which address it stands.
STANDS_FOR = ".address.json"
#: Who writes results there, and since when.
_HOLDER = ".run.json"
#: Seconds after which what was written is put into the store.
EVERY = 5.0
#: Seconds after which a note that was not renewed is that of a run that has died.
STALE = 60.0
#: How often a store that cannot be reached is tried at the end, with seconds between.
_LAST_TRIES, BETWEEN = 3, 2.0


class Mirror:
    """A folder and the store that it stands for. ``wanted`` says of a name whether it is fetched (None: all are); without it no
    other writes there, so what is removed here is removed there."""

    def __init__(self, address: Address, folder: Path, wanted: Callable[[str], bool] | None = None):
        self.address, self.folder, self._wanted = address, folder, wanted
        self._there: dict[str, tuple[Any, ...]] = {}
        self._here: dict[str, tuple[int, int, int]] = {}
        self._lock = threading.Lock()

    def pull(self) -> int:
        """Fetch what is in the store and not here, or was changed there since; how many files. Raises :class:`Unreachable`."""
        with self._lock:
            marks = self.address.names()
            fetched = [
                name
                for name, mark in marks.items()
                if not _is_note(name) and self._there.get(name) != mark and (self._wanted is None or self._wanted(name))
            ]
            for name in fetched:
                self.address.fetch(name, self.folder / name)
                self._there[name], self._here[name] = marks[name], _mark(self.folder / name)
            return len(fetched)

    def push(self) -> int:
        """Put what was written here into the store; how many files. Raises :class:`Unreachable`."""
        with self._lock:
            found = _files(self.folder)
            changed = [name for name, mark in found.items() if self._here.get(name) != mark]
            for name in sorted(changed, key=lambda name: (_turn(name), name)):
                try:
                    mark = _mark(self.folder / name)
                    data = (self.folder / name).read_bytes()
                except FileNotFoundError:
                    continue  # it was replaced or removed meanwhile: the next time
                self.address.write(name, data)
                self._here[name] = mark
            if changed:
                marks = self.address.names()
                self._there |= {name: marks[name] for name in changed if name in marks}
            for name in [name for name in self._here if name not in found] if self._wanted is None else ():
                self.address.remove(name)
                del self._here[name]
                self._there.pop(name, None)
            return len(changed)


def address_of(folder: Path) -> str:
    """The address for which a folder stands; empty for a folder that is one."""
    try:
        return str(json.loads((folder / STANDS_FOR).read_text(encoding="utf-8"))["address"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def standing_for(address: Address, folder: Path, wanted: Callable[[str], bool] | None = None) -> Mirror:
    """The mirror of a store in a folder, which is made and filled. Raises :class:`Unreachable`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STANDS_FOR).write_text(json.dumps({"address": address.written}), encoding="utf-8")
    mirror = Mirror(address, folder, wanted)
    mirror.pull()
    return mirror


@contextmanager
def mirrored(written: str) -> Iterator[Mirror]:
    """A mirror whose folder stands for an address while a run writes into it. Raises E915 and E916, and E756 where another run is there.

    Where the store cannot be reached at the end, the folder stays, and E916 names it.
    """
    address = Address(written)
    cache_root().mkdir(parents=True, exist_ok=True)
    above = Path(tempfile.mkdtemp(prefix="out-", dir=cache_root()))
    kept = False
    try:
        try:
            holder = _hold(address)
            mirror = standing_for(address, above / "out")
        except Unreachable as error:
            raise unreachable(error) from error
        stop = threading.Event()
        thread = threading.Thread(target=_keep_up, args=(mirror, holder, stop), daemon=True)
        thread.start()
        try:
            yield mirror
        finally:
            stop.set()
            thread.join()
            try:
                _push_at_last(mirror)
                address.remove(_HOLDER)
            except Unreachable as error:
                kept = True
                raise unreachable(error, mirror.folder) from error
    finally:
        if not kept:
            shutil.rmtree(above, ignore_errors=True)


def _keep_up(mirror: Mirror, holder: dict[str, Any], stop: threading.Event) -> None:
    """Put what is written into the store, until told to stop; where it cannot be reached, the next time it is tried again."""
    while not stop.wait(EVERY):
        try:
            _renew(mirror.address, holder)
            mirror.push()
        except OSError:
            continue  # the last push says what is wrong


def _push_at_last(mirror: Mirror) -> None:
    for left in reversed(range(_LAST_TRIES)):
        try:
            mirror.push()
            return
        except Unreachable:
            if not left:
                raise
            time.sleep(BETWEEN)


def _hold(address: Address) -> dict[str, Any]:
    """Say that a run writes there. Raises E756 where another does."""
    import socket  # takes long to import, and few runs write there

    try:
        other = json.loads(address.read(_HOLDER) or b"{}")
        fresh = time.time() - float(other["renewed"]) < STALE
    except (ValueError, KeyError, TypeError):
        other, fresh = {}, False
    if fresh:
        raise fail(
            "E756",
            f"another run writes into `{address.written}`",
            Span(Source(address.written, ""), 0, 0),
            notes=(f"it is process {other.get('process')} on {other.get('machine')}, since {other.get('since')}",),
            help=f"wait for it, or pass another address to --out; the note of a run that died is passed over after {STALE:g} seconds",
        )
    holder = {
        "process": os.getpid(),
        "machine": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "command": " ".join(sys.argv)[:200],
        "mark": secrets.token_hex(8),
    }
    _renew(address, holder)
    return holder


def _renew(address: Address, holder: dict[str, Any]) -> None:
    address.write(_HOLDER, json.dumps({**holder, "renewed": time.time()}).encode())


def _turn(name: str) -> int:
    """When a file is put there: first what says whose a folder is and what its blocks belong to, since a file that it does not speak of
    is not known as ours; last what says that others are there."""
    if name.endswith(("/causal-dsl.json", "/run.json")):
        return 0
    return 2 if "/done/" in name or name.endswith("/results.json") else 1


def _is_note(name: str) -> bool:
    """Whether a file belongs to this module, or to one machine alone: no result."""
    return Path(name).name.startswith(".") or name == _HOLDER


def _files(folder: Path) -> dict[str, tuple[int, int, int]]:
    """The files of a folder that are results, with what changes when they are written."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if _is_note(name) or path.is_symlink() or not path.is_file():
            continue
        try:
            found[name] = _mark(path)
        except FileNotFoundError:
            continue
    return found


def _mark(path: Path) -> tuple[int, int, int]:
    about = path.stat()
    return about.st_size, about.st_mtime_ns, about.st_ino


__all__ = ["Mirror", "address_of", "mirrored", "standing_for"]
