"""Which kind of progress there is: a widget or a line in a notebook, a bar where stderr is a terminal, else silence."""

from __future__ import annotations

import sys
from typing import TextIO

from causal_dsl.report.notebook_progress import NotebookProgress, in_notebook
from causal_dsl.report.progress import Progress, TerminalProgress

#: What shows its progress without being asked: work in a notebook, after `%load_ext causal_dsl`.
_ALWAYS: list[bool] = []


def always_shown(wanted: bool) -> None:
    """From now on progress is shown, or not, where nobody asks for it."""
    _ALWAYS[:] = [True] if wanted else []


def progress(stream: TextIO | None = None, asked: bool = True) -> Progress:
    """What shows how far work is; ``stream`` is stderr. Silence where it is not ``asked`` for."""
    if not (asked or _ALWAYS):
        return Progress()
    if in_notebook():
        return NotebookProgress()
    stream = sys.stderr if stream is None else stream
    isatty = getattr(stream, "isatty", None)
    return TerminalProgress(stream) if isatty is not None and isatty() else Progress()
