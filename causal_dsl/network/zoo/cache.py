"""Folders of the cache that are either whole or made again: a process that dies half-way leaves nothing that is used.

A folder is made under another name, its manifest is written last, and one rename puts it in its place. One process
makes it while others wait: the operating system drops the lock of a process that died.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from causal_dsl.diagnostics import Span, SpecError, fail
from causal_dsl.program.zoo_entries import MANIFEST, damage, read_manifest, sha256_of
from causal_dsl.store.hashes import cache_root

#: Makes the files of a network: (an empty folder for what is fetched, an empty folder for the result).
Make = Callable[[Path, Path], None]
Notice = Callable[[str], None]


def say(text: str) -> None:
    """A notice for whoever waits: standard output is for results."""
    print(text, file=sys.stderr, flush=True)


def ensure(name: str, make: Make, needed: int, span: Span, notice: Notice = say) -> Path:
    """The cache folder of ``name``, made first where it is missing or damaged; ``needed``: bytes that making it takes.

    Raises E653 (no room, or the cache cannot be written) and what ``make`` raises.
    """
    folder = cache_root() / name
    if damage(folder) is None:
        _remember_times(folder)
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.parent / f".{name}.lock", f"another process is fetching `{name}`: waiting", notice):
            fault = damage(folder)
            if fault is not None:
                if folder.exists():
                    notice(f"the copy of `{name}` in the cache is damaged ({fault}): fetching it again")
                _make(folder, make, needed, span)
    except SpecError:
        raise
    except OSError as error:
        raise unwritable(error, span) from error
    return folder


def unwritable(error: BaseException | str, span: Span) -> SpecError:
    """E653 for whatever kept the cache from being written."""
    full = is_full(error)
    return fail(
        "E653",
        "the disk is full" if full else "the cache cannot be written",
        span,
        notes=(f"the cache is {cache_root()}", (str(error).splitlines() or [""])[0][:200]),
        help=("make room there, or " if full else "")
        + "set CAUSAL_DSL_CACHE to a folder "
        + ("on another disk" if full else "that can be written"),
    )


def is_full(error: BaseException | str) -> bool:
    """Whether a fault is a full disk, or a used-up quota: libraries say so in words of their own."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    text = str(error)
    return "No space left" in text or "os error 28" in text or "quota exceeded" in text.lower()


def _make(folder: Path, make: Make, needed: int, span: Span) -> None:
    for left in folder.parent.glob(f".{folder.name}.*.part"):  # ours is the lock: whoever made these is dead
        shutil.rmtree(left, ignore_errors=True)
    free = shutil.disk_usage(folder.parent).free
    if free < needed:
        raise unwritable(OSError(errno.ENOSPC, f"{needed // 10**6} MB are needed, {free // 10**6} MB are free"), span)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    try:
        fetched, made = part / "fetched", part / "made"
        fetched.mkdir()
        made.mkdir()
        make(fetched, made)
        _write_manifest(made)
        if folder.exists():
            os.replace(folder, part / "damaged")
        os.replace(made, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_manifest(folder: Path) -> None:
    files = {}
    for path in sorted(folder.iterdir()):
        path.chmod(0o644)
        with path.open("rb+") as file:
            os.fsync(file.fileno())
        found = path.stat()
        files[path.name] = {"size": found.st_size, "mtime_ns": found.st_mtime_ns, "sha256": sha256_of(path)}
    _write(folder / MANIFEST, json.dumps({"files": files}, indent=1))


def _remember_times(folder: Path) -> None:
    """After a copied cache was found whole by its hashes: so that they are not computed at every opening."""
    files = read_manifest(folder) or {}
    times = {name: (folder / name).stat().st_mtime_ns for name in files}
    if all(file["mtime_ns"] == times[name] for name, file in files.items()):
        return
    for name, file in files.items():
        file["mtime_ns"] = times[name]
    new = folder / f"{MANIFEST}.{os.getpid()}"
    try:
        _write(new, json.dumps({"files": files}, indent=1))
        os.replace(new, folder / MANIFEST)
    except OSError:  # a cache that may only be read is as good, only slower
        new.unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def locked(path: Path, waiting: str, notice: Notice) -> Iterator[None]:
    """One process at a time; who waits is told so. The operating system drops the lock of a process that died."""
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        notice(waiting)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
