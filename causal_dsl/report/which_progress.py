"""Which kind of progress there is: a widget or a line in a notebook, a bar where stderr is a terminal, else silence."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TextIO

from causal_dsl.report.notebook_progress import NotebookProgress, in_notebook
from causal_dsl.report.progress import Progress, TerminalProgress

#: What shows the progress of work in this process, if anything was chosen.
_CHOSEN: list[Callable[[], Progress]] = []


def use(made: Callable[[], Progress] | None) -> None:
    """From now on progress is shown by what ``made`` makes, asked for or not; None: again by what fits the place."""
    _CHOSEN[:] = [] if made is None else [made]


def progress(stream: TextIO | None = None, asked: bool = True) -> Progress:
    """What shows how far work is, on ``stream`` (stderr) where that is a terminal. Silence where nobody asked for it."""
    if _CHOSEN:
        return _CHOSEN[0]()
    return of_place(stream) if asked else Progress()


def of_place(stream: TextIO | None = None) -> Progress:
    """A widget or a line in a notebook, a bar on a terminal, else silence."""
    if in_notebook():
        return NotebookProgress()
    stream = sys.stderr if stream is None else stream
    isatty = getattr(stream, "isatty", None)
    return TerminalProgress(stream) if isatty is not None and isatty() else Progress()
