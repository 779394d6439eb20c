"""Files that the code of a network reads only as it runs, when the key of what is kept has been made without them.

They are kept beside what was computed, each with what it held; before any of that is taken up again they are compared.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from causal_dsl.store import code, hashes

#: What is kept for a file that was changed while the run went on: no content equals it.
CHANGED = "changed during the run"
#: What is kept for a file that was looked for and was not there.
ABSENT = "not there"


class Later:
    """The files that were read since networks were loaded. ``base``: paths below it are told from there, so both can be moved."""

    def __init__(self) -> None:
        self.base = Path()
        self._opened: dict[str, tuple[int, int] | None] = {}
        self._digests: dict[Path, str] = {}
        #: the path of each name that was opened; None where the file is not of the networks' code
        self._paths: dict[str, Path | None] = {}
        self._roots: list[Path] = []
        self._without: list[Path] = []
        #: what the key holds already
        self.known: Mapping[Path, str] = {}

    @contextmanager
    def watching(self, base: Path, roots: Iterable[Path], without: Iterable[Path] = ()) -> Iterator[None]:
        """Within, code from ``roots`` runs; what lies below ``without`` is read by this package."""
        self.base, self.known = Path(os.path.abspath(base)), {}
        self._roots += [root for root in map(_absolute, roots) if root not in self._roots]
        self._without = [*map(_absolute, without), *map(_real, without)]
        self._paths = {}
        if not self._roots:
            yield
            return
        code.forget_late()
        before = set(sys.modules)
        no_cache, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        try:
            with code.importing(self._roots), code.hearing(self._opened):
                token = _CURRENT.set(self)
                try:
                    yield
                finally:
                    _CURRENT.reset(token)
        finally:
            sys.dont_write_bytecode = no_cache
            code.remember_late(set(sys.modules) - before, self._roots)

    def told(self) -> dict[str, str]:
        """SHA-256 of each file that was read, by path, where the key does not hold it; or that it was not there."""
        for written, stamp in list(self._opened.items()):
            if written not in self._paths:
                self._paths[written] = self._of_theirs(written)
            path = self._paths[written]
            if path is None:
                continue
            if self._digests.get(path) == CHANGED or (stamp is None and path.exists() and not path.is_file()):
                continue
            if written.endswith(".pyc"):
                stamp = code.stamp_of(path)  # the source is what is read anew when it is another
            if code.stamp_of(path) != stamp:
                self._digests[path] = CHANGED
            elif path not in self._digests:
                try:
                    self._digests[path] = ABSENT if stamp is None else hashes.of_file(path)
                except OSError:
                    self._digests[path] = CHANGED
        return {self._shown(p): known for p, known in sorted(self._digests.items()) if self.known.get(p) != known}

    def _of_theirs(self, written: str) -> Path | None:
        path = code.source_of(Path(os.path.abspath(written)))
        mine = any(code.is_theirs(path, root) for root in self._roots)
        return None if not mine or any(path.is_relative_to(folder) for folder in self._without) else path

    def now(self, name: str) -> str | None:
        """SHA-256 of what a file holds now that was told before; None where it is gone."""
        path = self.base / name
        try:
            return hashes.of_file(path) if path.is_file() else None
        except (OSError, ValueError):
            return None

    def changes(self, before: Mapping[str, str]) -> list[str]:
        """Which of the files that a run before read are others now, in words."""
        found = []
        for name, known in before.items():
            now = self.now(name) or ABSENT
            if known == CHANGED:
                found.append(f"{name}, which the network reads as it runs, was changed during the previous run")
            elif now != known:
                what = {known == ABSENT: "is there now", now == ABSENT: "is gone"}.get(True, "has another content")
                found.append(f"{name}, which the network reads as it runs, {what}")
        return found

    def _shown(self, path: Path) -> str:
        return path.relative_to(self.base).as_posix() if path.is_relative_to(self.base) else path.as_posix()


_CURRENT: ContextVar[Later | None] = ContextVar("later", default=None)


def told_now() -> dict[str, str]:
    """The files that the run at hand has read since its networks were loaded, as :meth:`Later.told`."""
    current = _CURRENT.get()
    return {} if current is None else current.told()


def holds(before: object) -> bool:
    """Whether the files that were told beside something kept hold now what they held then."""
    current = _CURRENT.get()
    return not before or (isinstance(before, dict) and current is not None and not current.changes(before))


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


__all__ = ["ABSENT", "CHANGED", "Later", "holds", "told_now"]
