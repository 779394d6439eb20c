"""The words of a command as a source, so that a message can point at one of them wherever it is made."""

from __future__ import annotations

import re
from collections.abc import Sequence

from causal_dsl.diagnostics import Source, Span


class TypedWords:
    """The words after ``program``; ``place(word)`` is where one of them stands."""

    def __init__(self, words: Sequence[str], program: str = "causal-dsl"):
        self.words = list(words)
        self.program = program
        shown = [word if re.fullmatch(r"[\w./=:,@+-]+", word) else f'"{word}"' for word in self.words]
        self.source = Source("<command line>", " ".join([program, *shown]).replace("\n", " "))
        #: where each word begins
        self._starts: list[int] = []
        end = len(program)
        for word, as_shown in zip(self.words, shown, strict=True):
            self._starts.append(end + 1 + (as_shown != word))
            end += 1 + len(as_shown)

    def place(self, word: str) -> Span:
        """Where the word stands as one that was typed, else as a part of one; all that was typed where it does not."""
        text = self.source.text
        for typed, start in zip(self.words, self._starts, strict=True):
            if typed == word:
                return Span(self.source, start, start + len(word))
        start = text.rfind(word.replace("\n", " "))
        return Span(self.source, start, start + len(word)) if start >= 0 else Span(self.source, 0, len(text))


def place_of_option(words: Sequence[str], option: str, in_python: str) -> Span:
    """Where an option stands in the ``words`` of a command; without a command it was given ``in_python``, whose text is then the place."""
    return TypedWords(words).place(option) if words else Span(Source(in_python, ""), 0, 0)


__all__ = ["TypedWords", "place_of_option"]
