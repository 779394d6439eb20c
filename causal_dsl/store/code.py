"""Python files of the user, run as they lie on disk, and the files that their code reads.

A file is compiled from the bytes that were hashed: Python's own cache of compiled code goes by whole seconds and sizes, and
would run what the file said before.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import os
import stat
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from causal_dsl.base.resources import resource
from causal_dsl.store import hashes, native, reads

#: The files that were opened to be read, each with its size and time as it was opened first.
Opened = dict[str, tuple[int, int] | None]
_WATCHING: ContextVar[Opened | None] = ContextVar("watching", default=None)
_hooked = False
#: Modules that code of the user imported, with the size and time of each file then, and the folder of that code: for code of
#: another folder, or once one of them is another on disk, all of them are imported anew.
_theirs: dict[str, tuple[Path, tuple[int, int]]] = {}
_whose: Path | None = None
#: What each module imported while code of the user ran, by the names of both.
_behind: dict[str, set[str]] = {}
#: Modules that code of the user imported after its network was loaded. Each run imports them anew, so that it hears of them.
_late: dict[str, Path] = {}


def run_file(path: Path, name: str) -> ModuleType:
    """A module of this name, made by running a Python file. What the file imports is for :func:`watching` to note.

    Raises what the file raises, and OSError where it cannot be read.
    """
    source = reads.read_bytes(path)
    module = ModuleType(name)
    module.__file__ = str(path)
    before = sys.modules.get(name)
    sys.modules[name] = module  # dataclasses and pickles look their module up
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)
    except BaseException:
        if before is None:
            sys.modules.pop(name, None)
        else:
            sys.modules[name] = before
        raise
    return module


@contextmanager
def watching(folder: Path) -> Iterator[None]:
    """While code of the user runs: note the modules that it imports from its project, and the files that it opens.

    What libraries read of their own, and temporary files outside ``folder``, are left out.
    """
    root = Path(os.path.abspath(folder))
    _forget_others(root)
    forget_late()
    before, below = set(sys.modules), str(root).rstrip(os.sep) + os.sep
    no_cache, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    asked: set[str] = set()
    try:
        with opening(folder), _hearing_imports(asked):
            yield
    finally:
        sys.dont_write_bytecode = no_cache
        needed = _all_behind(asked)
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if not isinstance(file, str) or not file.endswith(".py"):
                continue
            if name in before and name in _theirs and name not in needed:
                continue  # of another network in this folder
            mine, written = name not in before or name in _theirs, _absolute(file)
            if not mine and not written.startswith(below):
                continue  # of a library, as thousands are
            path = Path(written)
            if not is_theirs(path, root):
                continue
            if mine and (stamp := stamp_of(path)) is not None:
                _theirs.setdefault(name, (path, stamp))
            reads.note(path)


def _absolute(file: str) -> str:
    """The same path from the root. Of thousands of modules it is asked at each load: of a path that starts there it is remembered."""
    return _normal(file) if os.path.isabs(file) else os.path.abspath(file)


@cache
def _normal(file: str) -> str:
    return os.path.abspath(file)


@contextmanager
def _hearing_imports(asked: set[str]) -> Iterator[None]:
    """Within, note who imports which modules, also those that are there already, into :data:`_behind`; the modules themselves into ``asked``."""
    plain, called = builtins.__import__, importlib.import_module

    def note(importer: object, names: Iterable[str]) -> None:
        behind = _behind.setdefault(importer, set()) if isinstance(importer, str) else set()
        for name in names:
            parts = name.split(".")
            every = {".".join(parts[: number + 1]) for number in range(len(parts))} & sys.modules.keys()
            behind |= every
            asked.update(every)

    def heard(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> ModuleType:
        found = plain(name, globals, locals, fromlist, level)
        said = globals or {}
        package = str(said.get("__package__") or "")
        base = importlib.util.resolve_name("." * level + name, package) if level and package else name
        note(said.get("__name__"), [base, *(f"{base}.{part}" for part in fromlist or () if isinstance(part, str))])
        return found

    def heard_call(name: str, package: str | None = None) -> ModuleType:
        found = called(name, package)
        note(sys._getframe(1).f_globals.get("__name__"), [found.__name__])
        return found

    builtins.__import__, importlib.import_module = heard, heard_call
    try:
        yield
    finally:
        builtins.__import__, importlib.import_module = plain, called


def _all_behind(asked: Iterable[str]) -> set[str]:
    """Modules, and all that they imported as they were run."""
    found: set[str] = set()
    left = list(asked)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += _behind.get(name, ())
    return found


@contextmanager
def importing(folders: Iterable[Path]) -> Iterator[None]:
    """Within, code can import the modules of its own folder, as a script can."""
    added = [real for folder in folders if (real := os.path.realpath(folder)) not in sys.path]
    sys.path[:0] = added
    try:
        yield
    finally:
        for path in added:
            if path in sys.path:
                sys.path.remove(path)


@contextmanager
def opening(folder: Path) -> Iterator[None]:
    """While a function of the user is called: note the files that it opens to read."""
    root = Path(os.path.abspath(folder))
    opened: Opened = {}
    try:
        with importing([root]), hearing(opened):
            yield
    finally:
        for written in opened:
            path = Path(os.path.abspath(written))
            if path.suffix != ".pyc" and is_theirs(path, root) and path.is_file():
                reads.note(path)


@contextmanager
def hearing(opened: Opened) -> Iterator[None]:
    """Within, every file that is opened to be read is put into ``opened``."""
    _hook()
    token = _WATCHING.set(opened)
    try:
        with native.telling(_opened):
            yield
    finally:
        _WATCHING.reset(token)


def _opened(path: str) -> None:
    """A library is about to open a file beyond Python's sight."""
    opened = _WATCHING.get()
    if opened is not None and path not in opened:
        opened[path] = stamp_of(Path(path))


def remember_late(names: Iterable[str], roots: Iterable[Path]) -> None:
    """Say that modules were imported while a network ran: those that are the user's."""
    for name in names:
        file = getattr(sys.modules.get(name), "__file__", None)
        if isinstance(file, str):
            path = Path(os.path.abspath(file))
            if any(is_theirs(path, root) for root in roots):
                _late[name] = path


def forget_late() -> None:
    """Let modules that were imported while a network ran be imported anew."""
    for name, path in _late.items():
        file = getattr(sys.modules.get(name), "__file__", None)
        if isinstance(file, str) and Path(os.path.abspath(file)) == path:
            del sys.modules[name]
    _late.clear()


def source_of(path: Path) -> Path:
    """The Python file of a file of compiled code; else the path itself."""
    if path.suffix != ".pyc":
        return path
    try:
        return Path(importlib.util.source_from_cache(str(path)))
    except (ValueError, NotImplementedError):
        return path


def _forget_others(root: Path) -> None:
    global _whose
    same, _whose = root == _whose, root
    if same and all(stamp_of(path) == stamp for path, stamp in _theirs.values()):
        return
    for name, (path, _) in _theirs.items():
        file = getattr(sys.modules.get(name), "__file__", None)
        if isinstance(file, str) and Path(os.path.abspath(file)) == path:
            del sys.modules[name]
        _behind.pop(name, None)
    _theirs.clear()


def stamp_of(path: Path) -> tuple[int, int] | None:
    try:
        about = path.stat()
    except (OSError, ValueError):
        return None
    return (about.st_size, about.st_mtime_ns) if stat.S_ISREG(about.st_mode) else None


def is_theirs(path: Path, root: Path) -> bool:
    """Whether a file is the user's: under the folder of the code, or neither a library's nor temporary."""
    if "site-packages" in path.parts or any(path.is_relative_to(own) for own in (_OWN, _grammar())):
        return False
    if any(path.is_relative_to(kept) for kept in (hashes.cache_root(), *_KEPT.get())):
        return False
    return path.is_relative_to(root) or not any(path.is_relative_to(place) for place in _places())


_OWN = Path(__file__).resolve().parents[1]
#: Folders in which finished fits and trainings are kept beside the cache.
_KEPT: ContextVar[tuple[Path, ...]] = ContextVar("kept", default=())


@contextmanager
def kept_in_folders(folders: Iterable[Path]) -> Iterator[None]:
    """Within, what lies in some folders is read by this package, as what lies in the cache is."""
    token = _KEPT.set(tuple(Path(os.path.abspath(folder)) for folder in folders))
    try:
        yield
    finally:
        _KEPT.reset(token)


@cache
def _grammar() -> Path:
    """Where the grammar of this package lies: of a checkout beside its code."""
    return resource("grammar", "causal.lark").resolve().parent


@cache
def _libraries() -> tuple[Path, ...]:
    """Where the modules of this Python lie."""
    named = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return tuple(Path(path) for path in named if path)


def _places() -> list[Path]:
    """Where what is not the user's lies."""
    return [*_libraries(), Path(tempfile.gettempdir()), *map(Path, ("/proc", "/sys", "/dev", "/etc", "/usr"))]


def _hook() -> None:
    global _hooked
    if not _hooked:
        _hooked = True
        sys.addaudithook(_audit)


def _shows_source() -> bool:
    """Whether a file is opened only so that a warning or a traceback can show a line of it."""
    frame: Any = sys._getframe(2)
    for _ in range(4):
        if frame is None:
            return False
        if frame.f_globals.get("__name__") == "linecache":
            return True
        frame = frame.f_back
    return False


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "open":
        return
    opened = _WATCHING.get()
    if opened is None or _shows_source():
        return
    path, mode, flags = arguments[0], arguments[1], arguments[2] if len(arguments) > 2 else 0
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if not isinstance(path, str | os.PathLike):
        return
    written = os.fspath(path)
    if mode is None:  # os.open
        writes = isinstance(flags, int) and flags & os.O_ACCMODE == os.O_WRONLY
    else:
        writes = bool(set(str(mode)) & set("wxa"))
    if not writes and isinstance(written, str) and written not in opened:
        opened[written] = stamp_of(Path(written))
