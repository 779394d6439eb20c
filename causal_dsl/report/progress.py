"""How far work is: on a terminal a bar, and the time that is left."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from causal_dsl.diagnostics import printable

if TYPE_CHECKING:
    from rich.progress import TaskID


class Progress:
    """Says nothing: what runs without a terminal are given, and the interface of those that speak.

    Used as a context; ``begin`` names a piece of work of ``total`` steps, ``advance`` tells of steps done.
    """

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def begin(self, text: str, total: int) -> None:
        """Start on a piece of work; the one before is finished."""

    def advance(self, steps: int = 1) -> None:
        """Some steps of the work begun last are done."""

    def say(self, text: str) -> None:
        """Say what the work is at now, where ``text`` of ``begin`` is not enough."""


class TerminalProgress(Progress):
    """A bar with the time left, on a terminal; it goes away when done."""

    def __init__(self, stream: TextIO):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(file=stream),
            transient=True,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, text: str, total: int) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(_plain(text), total=total)

    def advance(self, steps: int = 1) -> None:
        if self._task is not None:
            self._bar.advance(self._task, steps)

    def say(self, text: str) -> None:
        if self._task is not None:
            self._bar.update(self._task, description=_plain(text))


class LogProgress(Progress):
    """A line for each piece of work, with the time since the first: for logs. Of lines that come less than ``apart`` seconds after the
    last, or after the beginning, none is written; those that are then say how many steps are done."""

    def __init__(self, stream: TextIO, apart: float = 0.0):
        self._stream, self._start, self._apart = stream, time.monotonic(), apart
        self._last = self._start
        self._done = self._total = 0

    def begin(self, text: str, total: int) -> None:
        self._done, self._total = 0, total
        self._write(f"{text} ({total})")

    def advance(self, steps: int = 1) -> None:
        self._done += steps

    def say(self, text: str) -> None:
        self._write(f"{text}, {self._done:,} of {self._total:,} done" if self._apart else text)

    def _write(self, text: str) -> None:
        now = time.monotonic()
        if self._apart and now - self._last < self._apart:
            return
        self._last = now
        self._stream.write(f"{time.monotonic() - self._start:8.1f} s  {printable(text)}\n")
        self._stream.flush()


def _plain(text: str) -> str:
    """Square brackets of a spec are no markup, and what it names holds no control characters."""
    from rich.markup import escape

    return escape(printable(text))


def in_bytes(bar: Progress, name: str) -> Callable[[str, int, int], None]:
    """A listener that tells ``bar`` how far a file called ``name`` is fetched: what is being done, how much of it is done, and of how much."""
    begun, before = ("", -1), 0

    def tell(what: str, done: int, total: int) -> None:
        nonlocal begun, before
        if (what, total) != begun:
            begun, before = (what, total), 0
            bar.begin(f"{what} {name}", total)
        bar.advance(done - before)
        before = done

    return tell
