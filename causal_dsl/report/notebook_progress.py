"""Progress in a notebook: a widget of ipywidgets where that is installed, else one line that is written over."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from importlib.util import find_spec
from types import TracebackType
from typing import Any

from causal_dsl.diagnostics import one_line, printable
from causal_dsl.report.cell_output import listening
from causal_dsl.report.progress import Progress

#: Seconds before anything is shown: quick work leaves nothing in the notebook.
PATIENCE = 0.7
#: Seconds between two updates: each is a message to the browser.
PAUSE = 0.2


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook. IPython is asked only if something has imported it."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None and hasattr(module, "get_ipython") else None
    return getattr(shell, "kernel", None) is not None


class NotebookProgress(Progress):
    """The work at hand, how much of it is done, and the time that is left. It goes away when the work ends."""

    def __init__(self) -> None:
        self._text, self._done, self._total = "", 0, 0
        self._entered = self._began = time.monotonic()
        self._updated = 0.0
        self._handle: Any = None
        self._widget: Any = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._widget is not None:
            self._widget.close()
        if self._handle is None:
            return
        output = listening()
        if output is None or not output.cleared():
            self._handle.update({"text/plain": ""}, raw=True)

    def begin(self, text: str, total: int) -> None:
        self._text, self._done, self._total = text, 0, total
        self._began = time.monotonic()
        self._show()

    def advance(self, steps: int = 1) -> None:
        self._done += steps
        self._show()

    def say(self, text: str) -> None:
        self._text = text
        self._show()

    def line(self) -> str:
        """The state of the work in one line."""
        spent = time.monotonic() - self._began
        shown = printable(one_line(self._text))
        if not self._total:
            return shown
        told = f"{shown}: {self._done:,} of {self._total:,}"
        if 0 < self._done < self._total:
            told += f", {_clock(spent * (self._total - self._done) / self._done)} left"
        return told

    def _show(self) -> None:
        now = time.monotonic()
        if now - self._entered < PATIENCE or now - self._updated < PAUSE:
            return
        self._updated = now
        if self._handle is None:
            output = listening()
            with nullcontext() if output is None else output.own():
                self._open()
        if self._widget is None:
            self._handle.update({"text/plain": self.line()}, raw=True)
        else:
            bar, label = self._widget.children
            bar.max, bar.value, label.value = max(1, self._total), self._done, self.line()

    def _open(self) -> None:
        from IPython.display import display

        if find_spec("ipywidgets") is None:
            self._handle = display({"text/plain": self.line()}, raw=True, display_id=True)
            return
        from ipywidgets import HBox, IntProgress, Label

        self._widget = HBox([IntProgress(value=0, max=max(1, self._total)), Label(self.line())])
        self._handle = display(self._widget, display_id=True)


def _clock(seconds: float) -> str:
    """``0:05``, ``1:02:03``"""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
