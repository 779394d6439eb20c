"""The kinds of values that can be written at a site: a module each."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules

from causal_dsl.vocabulary.written import Written

#: every kind, by its name
VALUES: Mapping[str, Written] = {
    word.name: word for module in iter_modules(__path__) for word in (import_module(f"{__name__}.{module.name}").WORD,)
}
#: those that are called by a word
WORDS: Mapping[str, Written] = {name: word for name, word in VALUES.items() if word.word}

__all__ = ["VALUES", "WORDS"]
