"""``run --watch``: run again when the spec, or any file that it read, changes.

Each run has a process of its own, so that no module and no file of the user is remembered from the run before. The next process
is started in advance and imports what it needs while it waits.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from causal_dsl.diagnostics import fail, shown_path
from causal_dsl.score.format_numbers import counted
from causal_dsl.store import hashes
from causal_dsl.tools.command_line import SUFFIX, CommandLine, left_out
from causal_dsl.tools.ended import STOPPED
from causal_dsl.tools.output import json_in_lines, tell

Main = Callable[[Sequence[str]], int]
#: What is known of the content of a file: its SHA-256, or its size and time.
Known = str | tuple[int, int]


def watch(paths: Sequence[str], line: CommandLine) -> int:
    """Run what was typed, and again after each change, until Ctrl-C. Returns the exit code that says so.

    Raises SpecError (E872) where ``watchfiles`` is not installed."""
    try:
        import watchfiles  # noqa: F401  before the first run, which may be long
    except ImportError as error:
        raise fail(
            "E872",
            "`run --watch` needs the package `watchfiles`",
            line.place("--watch"),
            help="pip install 'causal-dsl[watch]'",
        ) from error
    words = [word for word in line.words if not (word.startswith("--w") and "--watch".startswith(word))]
    main = line.main
    assert main is not None
    ready = _Waiting(words, main)
    seen = Seen(paths)
    try:
        while True:
            now, ready = ready, _Waiting(words, main)
            seen.look()
            seen.take(now.run())
            files = _files(paths, seen.files)
            tell(f"watching {counted(len(files), 'file')}; Ctrl-C ends")
            changed: set[str] = set()
            while not changed:
                changed = _change(paths, files, seen)
            tell(f"\n{', '.join(sorted(shown_path(path) for path in changed))} changed")
    except KeyboardInterrupt:
        return STOPPED
    finally:
        ready.end()


def _change(paths: Sequence[str], files: set[str], seen: Seen) -> set[str]:
    """Wait until a file that counts changes, or a spec is new; nothing where a new folder has to be watched first."""
    import watchfiles

    folders = _folders(paths, files)
    above = {str(folder) for file in files for folder in Path(file).parents} | set(folders)

    def meant(change: object, path: str) -> bool:
        """Whether what was changed is a file that counts, or may be the folder of one."""
        if path in files or path in above:
            return True
        return (path.endswith(SUFFIX) or os.path.isdir(path)) and _below(path, paths)

    first = True
    # the first answer comes at once: from then on no change is missed, and what changed before is seen by its content
    for changes in watchfiles.watch(
        *folders,
        watch_filter=meant,
        recursive=False,
        raise_interrupt=True,
        yield_on_timeout=True,
        rust_timeout=250,
    ):
        if not (changes or first):
            continue
        named = {path for _, path in changes if path not in above and not os.path.isdir(path)}
        changed = named or seen.moved()
        if changed or folders != _folders(paths, files):
            return changed
        first = False
    return set()


class Seen:
    """The contents of the files of the last run when it read them, so that an edit counts that is made before they are watched."""

    def __init__(self, paths: Sequence[str]):
        self._paths = paths
        self._known: dict[str, Known | None] = {}
        self._specs: set[str] = set()

    @property
    def files(self) -> Iterable[str]:
        return self._known.keys()

    def look(self) -> None:
        """Before a run: how what was typed is now, which the run may not come to read."""
        self._specs = self._found()
        self._known = {path: _stamp(path) for path in self._known.keys() | self._typed()}

    def take(self, read: dict[str, Known]) -> None:
        """After a run: what it knows of the files that it read; nothing where its process was killed."""
        if read:
            typed = self._typed()
            self._known = {**{path: known for path, known in self._known.items() if path in typed}, **read}

    def moved(self) -> set[str]:
        """The files whose content is another now, and the specs that are new."""
        changed = {path for path, known in self._known.items() if _differs(path, known)}
        return changed | (self._found() - self._specs - self._known.keys())

    def _typed(self) -> set[str]:
        return self._specs | {os.path.abspath(path) for path in self._paths if not os.path.isdir(path)}

    def _found(self) -> set[str]:
        roots = [Path(os.path.abspath(path)) for path in self._paths if os.path.isdir(path)]
        found = ((spec, root) for root in roots for spec in root.rglob(f"*{SUFFIX}"))
        return {str(spec) for spec, root in found if not left_out(spec, root)}


def _stamp(path: str) -> Known | None:
    """Size and time of a file; None where there is none."""
    try:
        about = os.stat(path)
    except OSError:
        return None
    return about.st_size, about.st_mtime_ns


def _differs(path: str, known: Known | None) -> bool:
    """Whether a file has another content than is known, or is gone, or is there now."""
    if not isinstance(known, str):
        return known != _stamp(path)
    try:
        return hashes.of_file(Path(path)) != known
    except OSError:
        return True


def _files(paths: Iterable[str], read: Iterable[str]) -> set[str]:
    """The files that count, as real paths."""
    return {os.path.realpath(path) for path in (*paths, *read) if not os.path.isdir(path)}


def _folders(paths: Iterable[str], files: Iterable[str]) -> list[str]:
    """The folders that are watched: those of the files, for an editor may put another file in their place (where there is no
    folder, the one in which it would be made), and those in which a spec may come to be."""
    parents = (Path(file).parents for file in files)
    folders = {str(next(folder for folder in above if folder.is_dir())) for above in parents}
    for path in paths:
        for folder, inner, _ in os.walk(path):
            inner[:] = [name for name in inner if not left_out(Path(folder, name, SUFFIX[1:]), Path(path))]
            folders.add(os.path.realpath(folder))
    return sorted(folders) or ["."]


def _below(path: str, roots: Sequence[str]) -> bool:
    """Whether a path lies in one of the folders that are run, and is not left out of them."""
    real = [Path(os.path.realpath(root)) for root in roots if os.path.isdir(root)]
    return any(Path(path).is_relative_to(root) and not left_out(Path(path), root) for root in real)


class _Waiting:
    """A process that has imported what a run needs, and waits for the word."""

    def __init__(self, words: Sequence[str], main: Main):
        context = multiprocessing.get_context("spawn")
        self._pipe: Connection
        self._pipe, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(target=_serve, args=(list(words), theirs, main), daemon=True)
        self._process.start()
        theirs.close()

    def run(self) -> dict[str, Known]:
        """The files that the run read, as it knows them. Raises KeyboardInterrupt if it was stopped by Ctrl-C."""
        try:
            self._pipe.send("run")
            found: dict[str, Known] = self._pipe.recv()
        except (EOFError, OSError):  # it was killed, or ran out of memory
            self._process.join()
            return {}
        except KeyboardInterrupt:
            self._process.join()  # it is told by the same Ctrl-C, and says what it kept
            raise
        self._process.join()
        return found

    def end(self) -> None:
        self._pipe.close()
        self._process.join(0.2)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()


def _serve(words: list[str], pipe: Connection, main: Main) -> None:
    """In the process: wait, run, tell."""
    with suppress(KeyboardInterrupt, EOFError, OSError):
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # while nothing runs, the parent alone hears of Ctrl-C
        from causal_dsl.running import running  # noqa: F401  (the longest of the imports)
        from causal_dsl.store.reads import recording

        pipe.recv()
        signal.signal(signal.SIGINT, before)
        json_in_lines()  # of --json each run writes a line
        with recording() as reads:
            main(words)
        pipe.send({str(path): known for path, known in reads.known})


__all__ = ["watch"]
