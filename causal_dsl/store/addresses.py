"""Addresses of stores that are no folder, such as ``s3://bucket/runs``: files there, by fsspec.

A file is there whole or not at all: object stores put a whole object, and elsewhere it is written beside its place and moved there.
No lock is needed, since what a unit computed is one file under its key, written once: two that write it write the same.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from causal_dsl.diagnostics import Source, Span, SpecError, fail
from causal_dsl.store.files import PART

T = TypeVar("T")

#: Protocols whose stores put a file whole; on others it is moved into its place.
_WHOLE = frozenset(
    {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss", "tos", "hf", "memory", "r2", "b2"}
)
#: Protocols that are meant also where no slash stands behind the colon, or no colon before the slashes.
_MEANT = _WHOLE | {"file", "local", "sftp", "ssh", "ftp", "hdfs", "webhdfs", "smb", "http", "https"}
#: Protocols that name a folder of this machine.
_LOCAL = ("file://", "local://")
#: The package in which fsspec has a protocol that it does not have itself, where its own error does not say it.
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}


def is_address(out: str | Path) -> bool:
    """Whether ``--out`` names a store by an address, and not a folder."""
    return isinstance(out, str) and re.match(r"[A-Za-z][\w+.-]*://", out) is not None and not out.startswith(_LOCAL)


def is_local_address(out: str) -> bool:
    """Whether a folder of this machine is written as an address."""
    return out.startswith(_LOCAL)


def local_path(out: str | Path) -> Path:
    """The folder that ``--out`` names, written as a path or as ``file://…``. Raises E915 for an address that is not written as one."""
    if isinstance(out, str) and is_local_address(out):
        return Path(out.partition("://")[2] or "/")
    meant = mistyped(out) if isinstance(out, str) else ""
    if meant:
        place = Span(Source(str(out), ""), 0, 0)
        raise fail(
            "E915", f"`{out}` is not an address", place, help=f"write {meant}, or ./{out} for a folder of that name"
        )
    return Path(out)


def mistyped(out: str) -> str:
    """The address that was meant, where one lacks a slash or the colon: empty for the name of a folder."""
    found = re.match(r"\s*(?P<protocol>[A-Za-z][\w+.-]+)(?P<sign>:/?|//)(?P<rest>[^/\s].*)", out, re.DOTALL)
    if found is None or (found["sign"] != ":/" and found["protocol"] not in _MEANT):
        return ""
    root = "/" if f"{found['protocol']}://" in _LOCAL else ""
    return f"{found['protocol']}://{root}{found['rest'].strip()}"


class Unreachable(OSError):
    """A store cannot be read or written; says which, and why."""

    def __init__(self, address: str, error: BaseException):
        said = str(error) or type(error).__name__
        super().__init__(getattr(error, "errno", None) or 0, said[:300], address)
        self.address = address


class Address:
    """The files of a store, by their names below its address. Methods raise :class:`Unreachable`."""

    def __init__(self, written: str):
        """Raises E915 for a protocol that nobody here knows, or whose package is missing."""
        import fsspec

        self.written = written.rstrip("/")
        protocol = written.partition("://")[0]
        self._whole = protocol in _WHOLE
        place = Span(Source(written, ""), 0, 0)
        try:
            self._files, root = fsspec.core.url_to_fs(written)
        except ImportError as error:
            package = _PACKAGES.get(protocol, "")
            help = f"pip install {package}" if package else str(error)
            raise fail("E915", f"`{protocol}://` needs a package that is not installed", place, help=help) from error
        except ValueError as error:
            known = "s3, gs, abfs, sftp, hdfs, file"
            help = f"write a folder, or an address that fsspec knows ({known} …)"
            raise fail(
                "E915", f"no store is known under `{protocol}://`", place, notes=(str(error)[:200],), help=help
            ) from error
        except Exception as error:  # of the store's own package: a bad address, no credentials
            raise unreachable(Unreachable(written, error)) from error
        self._root = str(root).rstrip("/")

    def names(self) -> dict[str, tuple[Any, ...]]:
        """Every file below the address, with a mark that changes with its content: its size, and its time or hash where they are told."""

        def find() -> dict[str, Any]:
            self._files.invalidate_cache()
            try:
                found: dict[str, Any] = self._files.find(self._root, detail=True)
            except FileNotFoundError:
                return {}
            return found

        marks = {}
        for path, about in self._tried(find).items():
            name = str(path).removeprefix(self._root).lstrip("/")
            if name and not Path(name).name.startswith(PART):
                time = about.get("ETag") or about.get("etag") or about.get("mtime") or about.get("created")
                marks[name] = (about.get("size"), str(time))
        return marks

    def read(self, name: str) -> bytes | None:
        """The content of a file; None where there is none."""

        def cat() -> bytes | None:
            try:
                data: bytes = self._files.cat_file(self._at(name))
            except FileNotFoundError:
                return None
            return data

        return self._tried(cat)

    def write(self, name: str, data: bytes) -> None:
        """Put a file, whole or not at all."""
        at = self._at(name)
        above = at.rpartition("/")[0]

        def put() -> None:
            self._files.makedirs(above, exist_ok=True)
            if self._whole:
                self._files.pipe_file(at, data)
                return
            part = f"{above}/{PART}{os.getpid()}-{secrets.token_hex(4)}.tmp"
            self._files.pipe_file(part, data)
            self._files.mv(part, at)

        self._tried(put)

    def fetch(self, name: str, path: Path) -> None:
        """Copy a file of the store into a folder of this machine, in place of what is there."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{PART}{os.getpid()}-{secrets.token_hex(4)}.tmp")
        try:
            self._tried(lambda: self._files.get_file(self._at(name), str(part)))
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Remove a file; it is well if there is none."""

        def rm() -> None:
            try:
                self._files.rm_file(self._at(name))
            except FileNotFoundError:
                return

        self._tried(rm)

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _tried(self, act: Callable[[], T]) -> T:
        try:
            return act()
        except Exception as error:  # each store has exceptions of its own
            raise Unreachable(self.written, error) from error


def unreachable(error: Unreachable, kept: Path | None = None) -> SpecError:
    """E916 for a store that cannot be used; ``kept`` is where results lie that could not be put there."""
    held = (f"what was computed is in `{kept}`",) if kept is not None else ()
    return fail(
        "E916",
        f"the store `{error.address}` cannot be read or written",
        Span(Source(error.address, ""), 0, 0),
        notes=(error.strerror or str(error), *held),
        help="check the address, the network and your credentials; the same command then goes on from what is stored",
    )


__all__ = ["Address", "Unreachable", "is_address", "local_path", "unreachable"]
