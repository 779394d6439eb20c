"""Whose fault an exception is, where it came out of the code of a package that adds words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from causal_dsl.base.faults import deciding_file
from causal_dsl.diagnostics import NOWHERE, Diagnostic
from causal_dsl.vocabulary.architectures import ARCHITECTURES
from causal_dsl.vocabulary.features import FEATURES
from causal_dsl.vocabulary.measures import MEASURES
from causal_dsl.vocabulary.plugins import Words, raised
from causal_dsl.vocabulary.values import VALUES

_KINDS: tuple[Words[Any], ...] = (FEATURES, MEASURES, VALUES, ARCHITECTURES)


def fault_of_package(error: BaseException) -> Diagnostic | None:
    """E786 for an exception that the code of a package raised which adds words; None for any other."""
    if isinstance(error, MemoryError | OSError) or type(error).__name__ == "OutOfMemoryError":
        return None
    file = deciding_file(error)
    if not file:
        return None
    own = [(words, word) for words in _KINDS for word in words.added if Path(file) in words.files(word)]
    if not own:
        return None
    return Diagnostic(
        "E786",
        f"the package {own[0][0].package(own[0][1])} fails, which adds {', '.join(f'`{word}`' for _, word in own)}",
        NOWHERE,
        notes=(raised(error),),
        help="ask the authors of the package, or leave the word out",
    )


__all__ = ["fault_of_package"]
