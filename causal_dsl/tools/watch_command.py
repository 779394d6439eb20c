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
from causal_dsl.tools.command_line import SUFFIX, CommandLine
from causal_dsl.tools.output import json_in_lines, tell

Main = Callable[[Sequence[str]], int]


def watch(paths: Sequence[str], line: CommandLine) -> int:
    """Run what was typed, and again after each change, until Ctrl-C. Returns the exit code of the last run that ended.

    Raises SpecError (E872) where ``watchfiles`` is not installed."""
    try:
        import watchfiles
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
    code, ready = 0, _Waiting(words, main)
    try:
        while True:
            now, ready = ready, _Waiting(words, main)
            code, read = now.run()
            files, folders = _watched(paths, read)
            tell(f"watching {counted(len(files), 'file')}; Ctrl-C ends")

            def meant(change: object, path: str, files: set[str] = files, roots: Sequence[str] = tuple(paths)) -> bool:
                return path in files or _new_spec(path, roots)

            changed: set[str] = set()
            for changes in watchfiles.watch(*folders, watch_filter=meant, recursive=False, raise_interrupt=True):
                changed = {path for _, path in changes}
                break
            tell(f"\n{', '.join(sorted(shown_path(path) for path in changed))} changed")
    except KeyboardInterrupt:
        return code
    finally:
        ready.end()


def _watched(paths: Iterable[str], read: Iterable[str]) -> tuple[set[str], list[str]]:
    """The files that count, as real paths, and the folders that are watched for them: an editor may put another file in their
    place."""
    files = {os.path.realpath(path) for path in (*paths, *read) if not os.path.isdir(path)}
    folders = {str(Path(file).parent) for file in files}
    for path in paths:
        if os.path.isdir(path):
            folders |= {os.path.realpath(folder) for folder, _, _ in os.walk(path)}
    return files, sorted(folder for folder in folders if os.path.isdir(folder)) or ["."]


def _new_spec(path: str, roots: Sequence[str]) -> bool:
    """Whether a path is a spec below one of the folders that are run."""
    return path.endswith(SUFFIX) and any(
        os.path.isdir(root) and Path(path).is_relative_to(os.path.realpath(root)) for root in roots
    )


class _Waiting:
    """A process that has imported what a run needs, and waits for the word."""

    def __init__(self, words: Sequence[str], main: Main):
        context = multiprocessing.get_context("spawn")
        self._pipe: Connection
        self._pipe, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(target=_serve, args=(list(words), theirs, main), daemon=True)
        self._process.start()
        theirs.close()

    def run(self) -> tuple[int, list[str]]:
        """The exit code of the run, and the files that it read. Raises KeyboardInterrupt if it was stopped by Ctrl-C."""
        try:
            self._pipe.send("run")
            found: tuple[int, list[str]] = self._pipe.recv()
        except (EOFError, OSError):  # it was killed, or ran out of memory
            self._process.join()
            return 2, []
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
        from causal_dsl import running  # noqa: F401  (the longest of the imports)
        from causal_dsl.store.reads import recording

        pipe.recv()
        signal.signal(signal.SIGINT, before)
        json_in_lines()  # of --json each run writes a line
        with recording() as reads:
            code = main(words)
        pipe.send((code, [str(path) for path in reads.paths]))


__all__ = ["watch"]
