"""`next_token(end=word)`, `next_token(end={".", "\\n"})`: what must follow an answer for it to count."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.program.tokens import Tokens

#: What a tokenizer writes for bytes that are no whole character.
_BROKEN = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class End:
    """The end of an answer: one of ``texts``; without any, whatever does not go on with its last word or number."""

    texts: tuple[str, ...] = ()

    @property
    def tokens(self) -> int:
        """How many tokens after an answer tell whether it ends: two characters decide of a number whether `.` or `,` is
        part of it, and no token is shorter than a byte."""
        return max((len(text.encode("utf-8", "surrogatepass")) for text in self.texts), default=2)

    def is_in(self, value: str, after: str) -> bool:
        """Whether an answer ends before ``after``, the text that follows it. False where too little of it is known."""
        if self.texts:
            return after.startswith(self.texts)
        if not after or after.startswith(_BROKEN):
            return False
        if value[-1:].isdigit() and after[0] in ".,":
            return len(after) > 1 and not after[1].isdigit()
        return not (after[0] == "_" or unicodedata.category(after[0])[0] in "LNM")


@dataclass(frozen=True, eq=False)
class StatedEnd:
    """An end as tokens say it; the end of the text, which is a special token, ends every answer."""

    end: End
    tokens: Tokens

    def is_after(self, value: str, ids: tuple[int, ...], more: Sequence[int]) -> bool:
        """Whether an answer, whose tokens are ``ids``, ends before the tokens ``more`` (negative: none is said)."""
        told: list[int] = []
        for token in more[: self.end.tokens]:
            if token < 0:
                break
            if token in self.tokens.special_ids:
                return not told or self.end.is_in(value, self._text(ids, told) + "\n")
            told.append(token)
        return bool(told) and self.end.is_in(value, self._text(ids, told))

    def _text(self, ids: tuple[int, ...], more: list[int]) -> str:
        """The text that ``more`` writes behind ``ids``."""
        tokens = self.tokens
        if not tokens.decodes:  # words: a space is between two of them unless they have the same tokens without it
            before, glued = ("".join(map(tokens.token, part)) for part in (ids, more))
            if tokens.plain(before + glued) == (*ids, *more):
                return glued
            return ("" if self.end.texts else " ") + " ".join(map(tokens.token, more))
        before, whole = self.tokens.decode(ids), self.tokens.decode((*ids, *more))
        return whole[len(before) :] if whole.startswith(before) else self.tokens.decode(tuple(more))


__all__ = ["End", "StatedEnd"]
