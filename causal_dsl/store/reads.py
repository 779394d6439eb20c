"""Which files of the user a run reads: every reader says so here, and what is kept belongs to what they held.

What is read before a run (specs, lists, tables, configs, tokenizers, code) is noted as it is read; what is read while it runs
(vectors, directions, autoencoders) is noted when `check` finds its name, so that the list is whole before anything is
taken from disk or kept there.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import field
from pathlib import Path

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Source, Span, fail, shown_path
from causal_dsl.store import hashes

#: Bytes of the largest file that is read whole, where its reader says nothing else.
LARGEST = 256 * 2**20
#: Bytes of the largest file of settings: people read and write these.
LARGEST_SETTINGS = 20_000_000


@dataclass(eq=False)
class Reads:
    """Files that were read, by absolute path: what is known of the content of each."""

    #: the SHA-256 where the bytes were at hand, else the file's size and time when it was noted
    _known: dict[Path, str | tuple[int, int]] = field(default_factory=dict)

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(self._known)

    @property
    def known(self) -> frozenset[tuple[Path, str | tuple[int, int]]]:
        """Each file with what is known of its content: equal ones have the same, as far as size and time tell."""
        return frozenset(self._known.items())

    def add(self, path: Path, known: str | tuple[int, int]) -> None:
        before = self._known.get(path)
        if before is not None and type(before) is type(known) and before != known:
            raise _changed(path)
        if not isinstance(before, str):
            self._known[path] = known

    def digests(self) -> dict[Path, str]:
        """The SHA-256 of every file. Raises E757 for one that was changed since it was read."""
        for path, known in self._known.items():
            if isinstance(known, str):
                continue
            try:
                if _stamp(path) != known:
                    raise _changed(path)
                self._known[path] = hashes.of_file(path)
            except OSError as error:
                raise _changed(path) from error
        return {path: known for path, known in self._known.items() if isinstance(known, str)}


def _stamp(path: Path) -> tuple[int, int]:
    about = path.stat()
    return about.st_size, about.st_mtime_ns


def _changed(path: Path) -> Exception:
    return fail(
        "E757",
        f"`{shown_path(path)}` was changed while it was read",
        Span(Source(shown_path(path), ""), 0, 0),
        notes=("part of the run would use its old content, and part its new content",),
        help="run it again",
    )


_RECORDING: ContextVar[tuple[Reads, ...]] = ContextVar("reads", default=())


@contextmanager
def recording() -> Iterator[Reads]:
    """Record what is read within; whoever records around this hears of it, too."""
    found = Reads()
    token = _RECORDING.set((*_RECORDING.get(), found))
    try:
        yield found
    finally:
        _RECORDING.reset(token)


def note(path: Path, data: bytes | None = None) -> None:
    """Say that a file is read; ``data`` is its content where it is at hand. What is not there is not noted."""
    listening = _RECORDING.get()
    if not listening:
        return
    absolute = Path(os.path.abspath(path))
    try:
        known: str | tuple[int, int] = hashes.of_bytes(data) if data is not None else _stamp(absolute)
    except (OSError, ValueError):
        return  # whoever reads it tells what is wrong
    for reads in listening:
        reads.add(absolute, known)


def note_all(reads: Reads) -> None:
    """Say that files are read that were noted before, for another reader."""
    for listening in _RECORDING.get():
        for path, known in reads._known.items():
            listening.add(path, known)


def refuse_large(path: Path, largest: int = LARGEST) -> None:
    """Raise OSError for what cannot be read whole: a device or a pipe, and a file of more than ``largest`` bytes."""
    about = path.stat()
    if stat.S_ISDIR(about.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(about.st_mode):
        raise OSError(errno.EINVAL, "it is a device or a pipe, which may have no end", str(path))
    if about.st_size > largest:
        size = f"{about.st_size / 2**20:,.0f} MiB; at most {largest / 2**20:,.0f} MiB"
        raise OSError(errno.EFBIG, f"it is too large: {size}", str(path))


def read_bytes(path: Path, largest: int = LARGEST) -> bytes:
    """The content of a file of the user, noted. Raises OSError, also for what :func:`refuse_large` refuses."""
    refuse_large(path, largest)
    data = path.read_bytes()
    note(path, data)
    return data


def read_text(path: Path, largest: int = LARGEST_SETTINGS) -> str:
    """The content of a UTF-8 file of settings or code of the user, noted. Raises OSError, UnicodeDecodeError."""
    return read_bytes(path, largest).decode("utf-8")
