"""Which files a spec may read, and that they are files: one rule for all that a spec names.

A spec is text that somebody else may have written. Without ``--trust`` it reads below its own project only, and below
the folders that ``--allow`` names; symbolic links are followed first. A network's folder may be anywhere, for it is
what the spec is about, but it gives only what is its own (:func:`stranger`). Devices, pipes and files that are larger
than anyone writes are refused before they are opened.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostics, Span, fail, real_path, shown_path
from causal_dsl.store.reads import LARGEST as LARGEST_TEXT
from causal_dsl.store.reads import LARGEST_SETTINGS

#: Files of tensors above this size are refused: a vector or a dictionary of features is smaller.
LARGEST_TENSORS = 32 * 2**30
#: A folder that holds one of these is a project.
MARKS = (".git", "pyproject.toml")


@dataclass(frozen=True)
class Readable:
    """The folders whose files may be read, as real paths; None: any file (``--trust``)."""

    folders: tuple[Path, ...] | None = None

    def holds(self, path: Path) -> bool:
        """Whether the file that ``path`` leads to, links followed, lies in one of the folders."""
        if self.folders is None:
            return True
        real = real_path(path)
        return any(real.is_relative_to(folder) for folder in self.folders)


#: What may be read while a spec is checked and run. Outside of that nobody's word is taken: Python code reads itself.
_READABLE: ContextVar[Readable | None] = ContextVar("readable", default=None)


def project_of(folder: Path) -> Path:
    """The nearest folder at or above ``folder`` that is a project, else ``folder``; a real path."""
    own = real_path(folder)
    for above in (own, *own.parents):
        if above.parent == above:  # a project that is the whole file system is none
            break
        if any((above / mark).exists() for mark in MARKS):
            return above
    return own


def readable(folder: Path, trust: bool, allow: Iterable[Path] = ()) -> Readable:
    """The paths that a spec in ``folder`` may read."""
    if trust:
        return Readable()
    return Readable((project_of(folder), *(real_path(Path(path).expanduser()) for path in allow)))


@contextmanager
def within(allowed: Readable) -> Iterator[None]:
    """Files are read under this rule."""
    token = _READABLE.set(allowed)
    try:
        yield
    finally:
        _READABLE.reset(token)


def may_read(
    path: Path, written: str, span: Span, diagnostics: Diagnostics, largest: int = LARGEST_TENSORS, folder: bool = True
) -> bool:
    """Whether the file or folder that a spec names as ``written`` may be read; E224 or E225 where not.

    True for what is not there, and without ``folder`` for a folder: whoever reads it says so.
    """
    allowed = _READABLE.get() or Readable()
    try:
        mode = path.stat().st_mode if path.exists() else stat.S_IFREG
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            diagnostics.report(
                "E225",
                f'"{shortened(written)}" is not a file',
                span,
                label=_kind(mode),
                help="name a regular file: a device or a pipe may have no end",
            )
            return False
        if stat.S_ISDIR(mode) and path.exists() and not folder:
            return True  # whoever wants a file says that this is none
        if not allowed.holds(path):
            assert allowed.folders is not None
            diagnostics.report(
                "E224",
                f'"{shortened(written)}" lies outside of the project of this spec',
                span,
                notes=(f"without --trust a spec reads only below {_among(allowed.folders)}",),
                help="move the file there, or pass --allow with the folder that holds it",
            )
            return False
        if not path.exists():
            if path.is_symlink():
                diagnostics.report(
                    "E225",
                    f'"{shortened(written)}" is not a file',
                    span,
                    label="a link that leads nowhere",
                    help="let the link lead to a file that is there, or put the file itself there",
                )
            return not path.is_symlink()
        outside = [entry.name for entry in path.iterdir() if not allowed.holds(entry)] if stat.S_ISDIR(mode) else []
        if outside:
            diagnostics.report(
                "E224",
                f'"{shortened(written)}" leads outside of the project of this spec',
                span,
                notes=(f"`{shortened(min(outside))}` in it is a link to another folder",),
                help="put the file itself there, or pass --allow with the folder that holds it",
            )
            return False
        size = path.stat().st_size
        if stat.S_ISREG(mode) and size > largest:
            diagnostics.report(
                "E225",
                f'"{shortened(written)}" is too large',
                span,
                label=f"{size / 2**20:,.0f} MiB; at most {largest / 2**20:,.0f} MiB",
                help="is this the right file?",
            )
            return False
    except (OSError, ValueError, RuntimeError):
        return True  # it is not there, or its name cannot be one: whoever reads it says so
    return True


def stranger(folder: Path, names: Iterable[str] | None = None) -> str | None:
    """The first name in a checkpoint's folder that leads out of it, or None; ``names`` default to all that are there.

    A snapshot of the Hugging Face cache consists of links into ``blobs`` of the same repository: these are its own.
    """
    real = real_path(folder)
    own = [real]
    if real.parent.name == "snapshots" and real.parents[1].name.startswith("models--"):
        own.append(real.parents[1] / "blobs")
    listed = sorted(entry.name for entry in folder.iterdir()) if names is None else names
    for name in listed:
        try:
            path = real_path(folder / name)
        except (OSError, ValueError, RuntimeError):
            return name
        if not any(path.is_relative_to(one) for one in own):
            return name
        if path.exists() and not (path.is_file() or path.is_dir()):
            return name
    return None


def check_own(folder: Path, span: Span, trust: bool | None = None, names: Iterable[str] | None = None) -> None:
    """Raise E613 where a checkpoint's folder leads out of itself; ``trust`` None: as the rule in force says."""
    if names is None:
        _check_kinds(folder, span)
        _check_sizes(folder, span)
    if trust or (trust is None and (_READABLE.get() or Readable()).folders is None):
        return
    try:
        name = stranger(folder, names)
    except OSError:
        return  # whoever reads the folder says so
    if name is not None:
        raise fail(
            "E613",
            f"`{shortened(name)}` of the checkpoint in {shown_path(folder)} is not a file of its own",
            span,
            notes=(_strange(folder / name),),
            help="put the file itself there; where you trust the checkpoint, pass --trust",
        )


#: What is read whole of a checkpoint's folder, beside weights; and which of these are settings.
_READ_WHOLE = frozenset({".json", ".txt", ".model", ".jinja", ".py"})
_SETTINGS = ("config.json", "special_tokens_map.json", "added_tokens.json", ".jinja", ".py")


def _check_kinds(folder: Path, span: Span) -> None:
    """Raise E613 for a pipe or a device in a checkpoint's folder, trusted or not: whoever opens it may wait for ever."""
    try:
        inside = sorted(folder.iterdir())
    except OSError:
        return  # whoever reads the folder says so
    for entry in inside:
        if entry.exists() and not entry.is_file() and not entry.is_dir():
            raise fail(
                "E613",
                f"`{shortened(entry.name)}` of the checkpoint in {shown_path(folder)} is a pipe or a device",
                span,
                notes=(_strange(entry),),
                help="put a file there, or remove it",
            )


def _check_sizes(folder: Path, span: Span) -> None:
    """Raise E225 for a file of a checkpoint that would be read whole, and is larger than such files are."""
    try:
        inside = sorted(entry for entry in folder.iterdir() if entry.suffix in _READ_WHOLE and entry.is_file())
        sizes = {entry.name: entry.stat().st_size for entry in inside}
    except OSError:
        return  # whoever reads the folder says so
    for name, size in sizes.items():
        largest = LARGEST_SETTINGS if name.endswith(_SETTINGS) else LARGEST_TEXT
        if size > largest:
            raise fail(
                "E225",
                f"`{shortened(name)}` of the checkpoint in {shown_path(folder)} is too large",
                span,
                label=f"{size / 2**20:,.0f} MiB; at most {largest / 2**20:,.0f} MiB",
                help="is the download whole?",
            )


def _strange(path: Path) -> str:
    """Why a file of a checkpoint is none of its own."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError, RuntimeError):
        return "it leads out of the folder, or nowhere"
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return "it leads out of the folder"
    return f"it is {_kind(mode)}, or leads to one"


def is_file(path: Path) -> bool:
    """Whether there is a regular file; False also for what can be no name of one."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether there is a folder; False also for what can be no name of one."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def no_file(path: Path, written: str, what: str = "file") -> str:
    """Why ``path``, for which a spec says ``written``, is none: the title of a diagnostic. ``what``: `file`, or what may stand there."""
    if not written.strip():
        return f"the name of the {what} is empty"
    if is_folder(path):
        return f'"{shortened(written)}" is not a file: it is a folder'
    return f'there is no {what} "{shortened(written)}"'


def kind_of(path: Path) -> str | None:
    """The kind of what is there if it is neither a file nor a folder, in words; None where there is nothing of the kind."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return None
    return None if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else _kind(mode)


def _among(folders: Iterable[Path]) -> str:
    return " and ".join(os.path.relpath(folder) for folder in folders)


def shortened(written: str) -> str:
    return written if len(written) <= 80 else written[:79] + "…"


def _kind(mode: int) -> str:
    kinds = (
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    )
    return next((name for test, name in kinds if test(mode)), "no regular file")
