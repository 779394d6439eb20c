"""The kinds of values that can be written at a site: a module of this folder holds each in ``FAMILY``.

A package adds one through the entry point ``causal_dsl.values``.
"""

from __future__ import annotations

from causal_dsl.vocabulary.plugins import Words
from causal_dsl.vocabulary.written import Written

#: every kind by its name; what is not a word (a number, arithmetic) is made by the syntax
VALUES: Words[Written] = Words("causal_dsl.values", Written, __name__)


def is_word(name: str) -> bool:
    """Whether a name is called to make a value."""
    return name in VALUES and (name not in VALUES.own or VALUES.own[name].word)


def words() -> tuple[str, ...]:
    """All names that make a value."""
    return tuple(name for name in VALUES if is_word(name))


__all__ = ["VALUES", "is_word", "words"]
