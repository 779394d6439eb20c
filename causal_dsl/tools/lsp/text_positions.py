"""Places of a text as the protocol counts them: lines that end in ``\\n``, ``\\r\\n`` or ``\\r``, and code units of UTF-16."""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable
from functools import cached_property

from lsprotocol import types

_END = re.compile(r"\r\n|\n|\r")
_ASTRAL = re.compile("[\U00010000-\U0010ffff]")


def _utf16(text: str) -> int:
    return len(text) if text.isascii() else len(text) + len(_ASTRAL.findall(text))


def _utf8(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


#: How many code units a text has, by the name of the encoding that client and server agreed on.
_UNITS: dict[str, Callable[[str], int]] = {"utf-8": _utf8, "utf-16": _utf16, "utf-32": len}


class TextLines:
    """The lines of a text. Offsets are those of Python's characters; positions are the client's."""

    def __init__(self, text: str, encoding: str = "utf-16"):
        self.text = text
        self.units = _UNITS.get(encoding, _utf16)

    @cached_property
    def starts(self) -> list[int]:
        """The offset at which each line begins."""
        return [0, *(found.end() for found in _END.finditer(self.text))]

    def _line(self, number: int) -> tuple[int, int]:
        """Where a line begins, and where it ends without what ends it."""
        start = self.starts[number]
        stop = self.starts[number + 1] if number + 1 < len(self.starts) else len(self.text)
        while stop > start and self.text[stop - 1] in "\r\n":
            stop -= 1
        return start, stop

    def offset(self, position: types.Position) -> int:
        """The offset of a position. One behind the end of its line is that end, one behind the last line the end of the text,
        one within a character its beginning."""
        if position.line >= len(self.starts):
            return len(self.text)
        start, stop = self._line(max(position.line, 0))
        line = self.text[start:stop]
        if self.units(line) == len(line):
            return start + min(max(position.character, 0), len(line))
        at = 0
        for number, character in enumerate(line):
            at += self.units(character)
            if at > position.character:
                return start + number
        return stop

    def position(self, offset: int) -> types.Position:
        """The position of an offset of the text."""
        offset = min(max(offset, 0), len(self.text))
        number = bisect.bisect_right(self.starts, offset) - 1
        start = self.starts[number]
        return types.Position(number, self.units(self.text[start:offset]))

    def range(self, start: int, end: int) -> types.Range:
        """The range between two offsets."""
        return types.Range(self.position(start), self.position(end))

    def whole(self) -> types.Range:
        """The range of the whole text."""
        return self.range(0, len(self.text))


__all__ = ["TextLines"]
