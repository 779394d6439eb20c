"""Which kind of progress there is: a widget or a line in a notebook, a bar where stderr is a terminal, else silence."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TextIO

from causal_dsl.report.notebook_progress import NotebookProgress, in_notebook
from causal_dsl.report.progress import LogProgress, Progress, TerminalProgress

#: What shows its progress without being asked: work in a notebook, after `%load_ext causal_dsl`.
_ALWAYS: list[bool] = []


def always_shown(wanted: bool) -> None:
    """From now on progress is shown, or not, where nobody asks for it."""
    _ALWAYS[:] = [True] if wanted else []


#: What shows progress where neither a terminal nor a notebook does: an editor, say, that started the run.
_SHOWN: ContextVar[Callable[[], Progress] | None] = ContextVar("progress", default=None)


@contextmanager
def progress_shown_by(make: Callable[[], Progress]) -> Iterator[None]:
    """Within, progress is shown by what ``make`` gives, whatever standard error is."""
    token = _SHOWN.set(make)
    try:
        yield
    finally:
        _SHOWN.reset(token)


#: Whether progress is told in lines where it cannot be drawn, and how many seconds apart.
_LINES: list[float] = []


def in_lines(wanted: bool, apart: float = 0.0) -> None:
    """From now on progress is told in lines where stderr is no terminal, at least so many seconds ``apart``, or not."""
    _LINES[:] = [apart] if wanted else []


def every_step_told() -> bool:
    """Whether progress is told in lines as it is made, which ``-v`` asks for."""
    return _LINES == [0.0]


def progress(stream: TextIO | None = None, asked: bool = True) -> Progress:
    """The display of how far work is; ``stream`` is stderr. Silence where it is not ``asked`` for,
    unless :func:`progress_shown_by` says who shows it."""
    shown = _SHOWN.get()
    if shown is not None:
        return shown()
    if not (asked or _ALWAYS):
        return Progress()
    if in_notebook():
        return NotebookProgress()
    stream = sys.stderr if stream is None else stream
    isatty = getattr(stream, "isatty", None)
    if isatty is not None and isatty():
        return TerminalProgress(stream)
    return LogProgress(stream, _LINES[0]) if _LINES else Progress()
