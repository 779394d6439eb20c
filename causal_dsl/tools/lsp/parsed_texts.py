"""Texts as trees, parsed once each, and how what was said of one text is said of the next."""

from __future__ import annotations

import bisect
from dataclasses import replace
from functools import cached_property

from causal_dsl.base.garbage import rarely_collected
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostic, Diagnostics, Source, Span
from causal_dsl.syntax import tree
from causal_dsl.syntax.parse import find_faults, parse
from causal_dsl.syntax.transform import Lexeme
from causal_dsl.syntax.tree import Tree


@dataclass(frozen=True, eq=False)
class ParsedText:
    """A text, every fault of its syntax, and its tokens. Its tree is made when it is first asked for."""

    source: Source
    faults: tuple[Diagnostic, ...]
    tokens: tuple[Lexeme, ...]

    @classmethod
    def of(cls, name: str, text: str, sound: set[str] | None = None) -> ParsedText:
        """A text as it is parsed. Declarations whose texts are in ``sound`` are known to have no fault; others that have none
        are added to it."""
        source, found = Source(name, text), Diagnostics()
        with rarely_collected():
            scanned = find_faults(source, found, set() if sound is None else sound)
        return cls(source, tuple(found), tuple(scanned.tokens))

    @cached_property
    def tree(self) -> Tree:
        """The part of it that could be read."""
        with rarely_collected():
            return parse(self.source, Diagnostics())

    @property
    def text(self) -> str:
        return self.source.text

    @cached_property
    def starts(self) -> list[int]:
        return [token.span.start for token in self.tokens]

    def token_at(self, offset: int) -> Lexeme | None:
        """The token that an offset is in, or right behind."""
        at = bisect.bisect_right(self.starts, offset) - 1
        found = self.tokens[at] if at >= 0 else None
        if found is not None and found.span.start == offset and at > 0 and found.type not in ("NAME", "NUMBER"):
            before = self.tokens[at - 1]
            if before.span.end == offset and before.text.isidentifier():
                return before
        return found if found is not None and offset <= found.span.end else None

    def before(self, offset: int) -> tuple[Lexeme, ...]:
        """The tokens that end at an offset or before it."""
        at = bisect.bisect_right(self.starts, offset)
        return tuple(token for token in self.tokens[:at] if token.span.end <= offset)

    @cached_property
    def meaning(self) -> tuple[str, ...]:
        """The key of all that is said of it beside places: two texts with the same tokens say the same."""
        return tuple(token.text for token in self.tokens)

    def healthy(self) -> Tree:
        """The declarations without a fault of syntax. The names of the others are told as broken: what needs them is silent."""
        if not self.faults:
            return self.tree
        places = sorted(fault.span.start for fault in self.faults)
        kept, broken = [], list(self.tree.broken)
        for declaration in self.tree.declarations:
            first = bisect.bisect_left(places, declaration.span.start)
            if first < len(places) and places[first] <= declaration.span.end:
                names = declaration.names if isinstance(declaration, tree.Import) else (declaration.name,)
                broken += [name.name for name in names]
            else:
                kept.append(declaration)
        return replace(self.tree, declarations=tuple(kept), broken=tuple(broken))


class MovedPlaces:
    """Where the places of one text are in another: those of tokens before and behind all that differs."""

    def __init__(self, old: ParsedText, new: ParsedText):
        self.old, self.new = old, new
        before, after = old.meaning, new.meaning
        self.same = before == after
        most = min(len(before), len(after))
        self.head = next((i for i in range(most) if before[i] != after[i]), most)
        rest = most - self.head
        self.tail = next((i for i in range(rest) if before[-1 - i] != after[-1 - i]), rest)

    def _token(self, number: int) -> int | None:
        if number < self.head:
            return number
        if number >= len(self.old.tokens) - self.tail:
            return number + len(self.new.tokens) - len(self.old.tokens)
        return None

    def _offset(self, offset: int, end: bool) -> int | None:
        starts = self.old.starts
        number = (bisect.bisect_left(starts, offset) if end and offset else bisect.bisect_right(starts, offset)) - 1
        if number < 0:
            return 0 if not self.new.starts or self.head or self.same else None
        found = self._token(number)
        if found is None:
            return None
        old, new = self.old.tokens[number].span, self.new.tokens[found].span
        return min(new.start + offset - old.start, max(new.end, new.start + 1))

    def span(self, span: Span) -> Span | None:
        """The same place in the new text; None where it was changed. Places in other texts are as they were."""
        if span.source is not self.old.source and span.source != self.old.source:
            return span
        start, end = self._offset(span.start, False), self._offset(span.end, span.end > span.start)
        if start is None or end is None:
            return None
        return Span(self.new.source, start, max(start, end))

    def diagnostic(self, found: Diagnostic) -> Diagnostic | None:
        """The same diagnostic in the new text; None where its place was changed."""
        span = self.span(found.span)
        if span is None:
            return None
        others = [(place, text) for where, text in found.others if (place := self.span(where)) is not None]
        return replace(found, span=span, others=tuple(others))


__all__ = ["MovedPlaces", "ParsedText"]
