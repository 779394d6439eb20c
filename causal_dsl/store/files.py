"""Files that are there whole or not at all, and what is found damaged."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from causal_dsl.diagnostics import Diagnostic, Source, Span, shown_path
from causal_dsl.store import notices, stopping_points

#: How the files begin that are not in their place yet.
PART = ".causal-dsl-"
#: Seconds after which such a file belongs to a process that has died: none takes so long to write one.
_FORGOTTEN = 24 * 3600.0


class CannotWrite(OSError):
    """A file cannot be written; ``path`` is the file, ``strerror`` says why."""

    def __init__(self, path: Path, error: OSError):
        super().__init__(error.errno, error.strerror or str(error), str(path))
        self.path = path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """An empty file beside ``path``, to be written by whoever asked; it takes the place of ``path`` when all went well.

    The file has the permissions that the user's umask leaves, and is on the disk before it takes its place. Raises
    :class:`CannotWrite`; then, and whenever the block raises, ``path`` is as it was.
    """
    part = path.with_name(f"{PART}{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield part
        _sync(part, os.O_RDWR)
        stopping_points.reached("part")
        os.replace(part, path)
        _sync_folder(path.parent)
    except OSError as error:
        remove(part)
        raise error if isinstance(error, CannotWrite) else CannotWrite(path, error) from error
    except BaseException:
        remove(part)
        raise
    stopping_points.reached("file")


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all. Raises :class:`CannotWrite`."""
    with replacing(path) as part:
        part.write_bytes(data)


def read_file(path: Path) -> bytes:
    """The content of a file of the store's own. Raises OSError, also for what is not a regular file: a pipe has no end."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is not a file, but a folder, a device or a pipe", str(path))
    return path.read_bytes()


@contextmanager
def if_possible(what: str) -> Iterator[None]:
    """Within, something is kept in the cache so that it need not be made again. Where that cannot be done, whatever was
    made is used all the same, and a warning says so (W665); ``what`` names it."""
    try:
        yield
    except OSError as error:
        path = error.path if isinstance(error, CannotWrite) else Path(error.filename or "")
        notices.tell(
            Diagnostic(
                "W665",
                f"{what} cannot be stored",
                Span(Source(shown_path(path), ""), 0, 0),
                notes=(error.strerror or str(error),),
                help="make room there, or set CAUSAL_DSL_CACHE to a folder that can be written; otherwise the next run makes it again",
            )
        )


def clear_parts(folder: Path, every: bool = False) -> None:
    """Remove what processes that died left half-written in a folder; ``every``: also what is recent."""
    with suppress(OSError):
        for part in folder.glob(f"{PART}*.tmp"):
            if every or time.time() - part.stat().st_mtime > _FORGOTTEN:
                remove(part)


def set_aside(path: Path, what: str, why: str) -> Path | None:
    """Give a file that cannot be used another name, ``….damaged``, and warn of it (W659); None where it cannot be moved.

    ``what`` names the file's role, such as ``a block of this run``; what it held is made anew by whoever asked.
    """
    number, aside = 1, path.with_name(path.name + ".damaged")
    while os.path.lexists(aside):
        number += 1
        aside = path.with_name(f"{path.name}.damaged-{number}")
    try:
        os.replace(path, aside)
        moved = f"it is now `{_shown(aside)}`, which nothing reads"
    except OSError as error:
        aside, moved = path, f"it stays where it is: {error.strerror or error}"
    place, help = Span(Source(_shown(path), ""), 0, 0), "delete it once you know how it came there"
    notices.tell(Diagnostic("W659", f"{what} cannot be used and is made again", place, notes=(why, moved), help=help))
    return None if aside == path else aside


def _shown(path: Path) -> str:
    """A file as messages show it; a link by its own name, since it is the link that is meant."""
    return str(Path(shown_path(path.parent)) / path.name)


def remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def _sync(path: Path, how: int = os.O_RDONLY) -> None:
    handle = os.open(path, how)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    """Make a rename last; some file systems cannot, and then it lasts as they let it."""
    with suppress(OSError):
        _sync(folder)
