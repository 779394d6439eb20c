"""Faults as data: a place, a reason, and the mend.

Every stage reports to one :class:`Diagnostics` collector; one renderer makes text of them,
``to_json`` gives the same as data. Codes are documented in ``docs/diagnostics.md``, which is
what ``causal-dsl explain CODE`` reads.
"""

from __future__ import annotations

import bisect
import difflib
import os
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causal_dsl.base.options_shown import MCP, Surface, here
from causal_dsl.base.quick_dataclasses import dataclass

if TYPE_CHECKING:
    from causal_dsl import shapes


@dataclass(frozen=True)
class Source:
    """The text of one spec file, and the name it goes by in messages."""

    path: str
    text: str = field(repr=False)

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *(i + 1 for i, character in enumerate(self.text) if character == "\n")]

    def position(self, offset: int) -> tuple[int, int]:
        """The 1-based line and column of a character offset."""
        line = bisect.bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def line(self, number: int) -> str:
        """The text of a 1-based line, without its newline."""
        start = self._starts[number - 1]
        stop = self._starts[number] - 1 if number < len(self._starts) else len(self.text)
        return self.text[start:stop].rstrip("\r")


@dataclass(frozen=True)
class Span:
    """A stretch of a source, as character offsets (``end`` is left out)."""

    source: Source
    start: int
    end: int

    @property
    def line(self) -> int:
        return self.source.position(self.start)[0]

    @property
    def column(self) -> int:
        return self.source.position(self.start)[1]

    @property
    def end_line(self) -> int:
        return self.source.position(self.end)[0]

    @property
    def end_column(self) -> int:
        return self.source.position(self.end)[1]

    @property
    def text(self) -> str:
        return self.source.text[self.start : self.end]

    def to(self, other: Span) -> Span:
        """The stretch from the start of this span to the end of the other."""
        return Span(self.source, self.start, max(self.end, other.end))

    def __repr__(self) -> str:
        return f"<{self.source.path}:{self.line}:{self.column}>"


#: Where things made in Python live: they have no place in a file.
NOWHERE = Span(Source("<python>", ""), 0, 0)


@dataclass(frozen=True)
class Diagnostic:
    """One fault: ``code`` (E…, W…, F…), what, where, why (``notes``) and what to write (``help``)."""

    code: str
    title: str
    span: Span
    label: str = ""
    others: tuple[tuple[Span, str], ...] = ()
    notes: tuple[str, ...] = ()
    help: str = ""

    @property
    def severity(self) -> str:
        return {"W": "warning", "F": "failed"}.get(self.code[0], "error")

    @property
    def is_error(self) -> bool:
        return self.code[0] == "E"

    def render(self, surface: Surface | None = None) -> str:
        """The diagnostic as text, with the lines of the source that it speaks of; no control character is in it.

        ``surface``: where it is shown, which decides what options are called.
        """
        return printable(_render(self.told_in(surface or here())))

    def told_in(self, surface: Surface) -> Diagnostic:
        """The diagnostic with the options in its notes and its help as they are given in a place."""
        notes = tuple(map(surface.told, self.notes))
        return replace(self, notes=notes, help=surface.told(self.help))

    def to_json(self) -> shapes.DiagnosticJson:
        span, told = self.span, self.told_in(MCP) if here() is MCP else self
        return {
            "code": self.code,
            "title": self.title,
            "path": span.source.path,
            "line": span.line,
            "column": span.column,
            "end_line": span.end_line,
            "end_column": span.end_column,
            "notes": list(told.notes),
            "help": told.help,
        }


class SpecError(Exception):
    """A spec or its environment is at fault; ``diagnostics`` says where, why and what to write."""

    def __init__(self, diagnostics: Iterable[Diagnostic]):
        self.diagnostics = tuple(diagnostics)
        self._surface = here()
        super().__init__(self.diagnostics)

    @property
    def code(self) -> str:
        """The code of its first diagnostic."""
        return self.diagnostics[0].code

    def __str__(self) -> str:
        return "\n\n".join(diagnostic.render(self._surface) for diagnostic in self.diagnostics)

    def _render_traceback_(self) -> list[str]:
        """The text that IPython and Jupyter show in place of a traceback."""
        return str(self).split("\n")


class Diagnostics:
    """Collects what the stages report; iterates sorted by place, each fault once."""

    def __init__(self) -> None:
        self._found: dict[Diagnostic, None] = {}

    def add(self, diagnostic: Diagnostic) -> None:
        self._found[diagnostic] = None

    def report(self, code: str, title: str, span: Span, **more: Any) -> None:
        """Make a :class:`Diagnostic` and keep it."""
        self.add(Diagnostic(code, title, span, **more))

    def extend(self, diagnostics: Iterable[Diagnostic]) -> None:
        for diagnostic in diagnostics:
            self.add(diagnostic)

    def __iter__(self) -> Iterator[Diagnostic]:
        return iter(sorted(self._found, key=lambda d: (d.span.source.path, d.span.start, d.code)))

    def __len__(self) -> int:
        return len(self._found)

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        return tuple(diagnostic for diagnostic in self if diagnostic.is_error)

    def raise_errors(self) -> None:
        """Raise :class:`SpecError` if there is any error among what was found."""
        if self.errors:
            raise SpecError(self)


def fail(code: str, title: str, span: Span, **more: Any) -> SpecError:
    """A :class:`SpecError` of one diagnostic, to be raised."""
    return SpecError([Diagnostic(code, title, span, **more)])


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate that was most likely meant, or None where none is near."""
    pool = sorted(set(candidates) - {name})  # a link of that name may be there, and lead nowhere
    folded = {candidate.casefold(): candidate for candidate in reversed(pool)}
    if name.casefold() in folded:
        return folded[name.casefold()]
    close = difflib.get_close_matches(name, pool, n=1, cutoff=0.6)
    return close[0] if close else None


def did_you_mean(name: str, candidates: Iterable[str], otherwise: str = "") -> str:
    """A help line with the nearest candidate, or the short list of them in their order, or ``otherwise``. Those of a set have none, and are sorted."""
    pool = list(dict.fromkeys(sorted(candidates) if isinstance(candidates, set | frozenset) else candidates))
    close = nearest(name, pool)
    if close is not None:
        return f"did you mean `{close}`?"
    if pool and len(pool) <= 12:
        return "there is " + ", ".join(f"`{candidate}`" for candidate in pool)
    return otherwise


def render_all(diagnostics: Iterable[Diagnostic]) -> str:
    return "\n\n".join(diagnostic.render() for diagnostic in diagnostics)


def real_path(path: Path | str) -> Path:
    """The absolute path behind links. A link that leads to itself stays as it is: whoever opens it is told."""
    return Path(os.path.realpath(path))


def shown_path(path: Path | str) -> str:
    """A path as messages show it: relative to the working directory where that is shorter."""
    try:
        return str(real_path(path).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def printable(text: str) -> str:
    """The text with control characters, and marks that reorder a line, written as escapes; line ends stay."""
    return "\n".join(line if line.isprintable() else _escaped(line) for line in text.split("\n"))


def one_line(text: str) -> str:
    """The text with its line ends written as escapes, as a path may have them."""
    return _escaped(text) if "\n" in text or "\r" in text else text


def _escaped(text: str) -> str:
    return "".join(
        c if c.isprintable() or unicodedata.category(c) == "Zs" else c.encode("unicode_escape").decode("ascii")
        for c in text
    )


_TAB = "    "


def _render(diagnostic: Diagnostic) -> str:
    head = f"{diagnostic.severity}[{diagnostic.code}]: {one_line(diagnostic.title)}"
    span = diagnostic.span
    lines = [head]
    gutter = 1
    if span.source.text:
        marked = [
            (span, diagnostic.label, "^"),
            *((s, t, "-") for s, t in diagnostic.others if s.source == span.source),
        ]
        marked.sort(key=lambda item: item[0].start)
        gutter = len(str(max(item[0].line for item in marked)))
        pad = " " * gutter
        lines.append(f"{pad}--> {one_line(span.source.path)}:{span.line}:{span.column}")
        lines.append(f"{pad} |")
        shown = 0
        for place, label, mark in marked:
            if place.line != shown:
                text = _clip(place.source.line(place.line).replace("\t", _TAB), place)
                lines.append(f"{place.line:>{gutter}} | {text}")
                shown = place.line
            lines.append(f"{pad} | {_underline(place, mark)} {one_line(label)}".rstrip())
    elif span.source.path:
        lines.append(f" --> {one_line(span.source.path)}")
    pad = " " * gutter
    for other, text in diagnostic.others:
        if other.source != span.source:
            lines.append(
                f"{pad} ::: {one_line(other.source.path)}:{other.line}:{other.column} {one_line(text)}".rstrip()
            )
    lines += [f"{pad} = note: {one_line(note)}" for note in diagnostic.notes]
    if diagnostic.help:
        lines.append(f"{pad} = help: {one_line(diagnostic.help)}")
    return "\n".join(lines)


_WIDEST = 160


def _window(place: Span) -> int:
    """How many characters of a very long line are left out before the marked place."""
    return max(0, place.column - 1 - _WIDEST // 2) if len(place.source.line(place.line)) > _WIDEST else 0


def _clip(text: str, place: Span) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[_window(place) :][:_WIDEST])


def _underline(place: Span, mark: str) -> str:
    line = place.source.line(place.line)
    before = line[: place.column - 1].replace("\t", _TAB)[_window(place) :]
    stop = place.end_column - 1 if place.end_line == place.line else len(line)
    length = len(line[place.column - 1 : stop].replace("\t", _TAB))
    return " " * len(before) + mark * min(max(1, length), _WIDEST)
