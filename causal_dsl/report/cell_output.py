"""Whether a cell of a notebook has shown anything but progress: if not, its output can be cleared, and nothing is lost.

A display can be changed and not taken away; what can be taken away is all that a cell has shown.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class CellOutput:
    """Listens to all that the cells of a shell show, from the beginning of each."""

    def __init__(self, shell: Any):
        self.shell = shell
        #: whether something else was shown; of the cell in which the listening begins that is not known
        self.others = True
        self._own = False
        self._results = 0
        self._writes: list[tuple[Any, Callable[[str], Any]]] = []

    def start(self) -> None:
        """Listen to each cell that is run from now on."""
        self.shell.events.register("pre_run_cell", self._begin)
        self.shell.events.register("post_run_cell", self._end)

    def stop(self) -> None:
        """Listen no more."""
        self._end()
        self.others = True
        self.shell.events.unregister("pre_run_cell", self._begin)
        self.shell.events.unregister("post_run_cell", self._end)

    def _begin(self, info: Any = None) -> None:
        self._end()
        self.others = False
        self._results = self._count()
        for stream in (sys.stdout, sys.stderr):
            self._writes.append((stream, stream.write))
            stream.write = self._noted(stream.write)  # type: ignore[method-assign]
        self.shell.display_pub.register_hook(self._shown)

    def _end(self, result: Any = None) -> None:
        if self._writes:
            self.shell.display_pub.unregister_hook(self._shown)
        for stream, write in self._writes:
            stream.write = write
        self._writes = []

    def _count(self) -> int:
        """How many values the shell has shown as results."""
        return len(self.shell.user_ns.get("Out", ()))

    def _noted(self, write: Callable[[str], Any]) -> Callable[[str], Any]:
        def written(text: str) -> Any:
            self.others = True
            return write(text)

        return written

    def _shown(self, message: Any) -> Any:
        if message["msg_type"] == "display_data" and not self._own:
            self.others = True
        return message

    @contextmanager
    def own(self) -> Iterator[None]:
        """Within this, all that is displayed counts as progress."""
        self._own = True
        try:
            yield
        finally:
            self._own = False

    def cleared(self) -> bool:
        """Clear what the cell has shown; False where more than progress is in it."""
        if self.others or self._results != self._count():
            return False
        self.shell.display_pub.clear_output()
        return True


#: What listens to the notebook of this process, after `%load_ext causal_dsl`.
_LISTENING: list[CellOutput] = []


def listen(shell: Any) -> None:
    """Listen to the cells of a shell, where that is one of a notebook."""
    if not _LISTENING and hasattr(shell.display_pub, "register_hook"):
        _LISTENING.append(CellOutput(shell))
        _LISTENING[0].start()


def listen_no_more() -> None:
    """Undo :func:`listen`."""
    while _LISTENING:
        _LISTENING.pop().stop()


def listening() -> CellOutput | None:
    """The listener; None where nothing listens."""
    return _LISTENING[0] if _LISTENING else None


__all__ = ["CellOutput", "listen", "listen_no_more", "listening"]
