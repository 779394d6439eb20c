"""Colours: where the stream is a terminal, or ``FORCE_COLOR`` says so, and never where ``NO_COLOR`` is set.

``NO_COLOR`` (no-color.org) and ``FORCE_COLOR`` (force-color.org) count where they are not empty. Diagnostics are the same text
with and without colours.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

#: How wide text is that no terminal shows.
WIDTH = 100
_HEAD = re.compile(r"(error|warning|failed)(\[[EWF]\d{3}\])(: .*)")
_PLACE = re.compile(r"( *)(-->|:::)( .*)")
_GUTTER = re.compile(r"( *\d* \|)(.*)")
_MARKED = re.compile(r"( *)(\^+|-+)( .*)?")
_ADVICE = re.compile(r"( *= )(note|help)(: .*)")
_COLOURS = {"error": "bold red", "warning": "bold yellow", "failed": "bold red"}


def as_terminal(stream: TextIO) -> bool:
    """Whether text for a terminal goes to the stream."""
    if os.environ.get("FORCE_COLOR"):
        return True
    try:
        return stream.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:  # it is closed
        return False


def for_terminal(stream: TextIO, write: Callable[[Console], None]) -> str | None:
    """The text that ``write`` prints for the terminal that the stream is; None where it is none, and plain text is wanted."""
    if not as_terminal(stream):
        return None
    from rich.console import Console

    shown = stream.isatty() or "COLUMNS" in os.environ
    console = Console(file=stream, highlight=False, force_terminal=True, width=None if shown else WIDTH)
    with console.capture() as captured:
        write(console)
    return captured.get()


def painted(text: str, stream: TextIO) -> str:
    """Rendered diagnostics with colours where the stream has them; all other lines as they are."""
    if not as_terminal(stream) or os.environ.get("NO_COLOR") or not any(map(_HEAD.fullmatch, text.split("\n"))):
        return text
    from rich.text import Text

    lines = Text("\n").join(_lines(text, Text))
    return for_terminal(stream, lambda console: console.print(lines, soft_wrap=True, end="")) or text


def _lines(text: str, made: type[Text]) -> Iterator[Text]:
    colour = ""
    for line in text.split("\n"):
        if head := _HEAD.fullmatch(line):
            colour = _COLOURS[head[1]]
            yield made.assemble((head[1] + head[2], colour), (head[3], "bold"))
        elif not colour:
            yield made(line)
        elif place := _PLACE.fullmatch(line):
            yield made.assemble(place[1], (place[2], "bold blue"), place[3])
        elif advice := _ADVICE.fullmatch(line):
            yield made.assemble((advice[1], "bold blue"), (advice[2], "bold"), advice[3])
        elif gutter := _GUTTER.fullmatch(line):
            marked = None if re.search(r"\d", gutter[1]) else _MARKED.fullmatch(gutter[2])
            rest = (
                [gutter[2]]
                if marked is None
                else [marked[1], (marked[2] + (marked[3] or ""), _of_mark(marked[2], colour))]
            )
            yield made.assemble((gutter[1], "bold blue"), *rest)
        else:
            colour = colour if line else ""
            yield made(line)


def _of_mark(mark: str, colour: str) -> str:
    return colour if mark[0] == "^" else "bold blue"


__all__ = ["as_terminal", "for_terminal", "painted"]
