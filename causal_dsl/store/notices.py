"""The notices of the store: what it found damaged, or made for another run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from causal_dsl.diagnostics import Diagnostic

_LISTENING: ContextVar[list[Diagnostic] | None] = ContextVar("notices", default=None)


def tell(diagnostic: Diagnostic) -> None:
    """Hand a warning to whoever listens; where nobody does, it is printed to standard error."""
    listening = _LISTENING.get()
    if listening is not None:
        listening.append(diagnostic)
    else:
        print(diagnostic.render(), file=sys.stderr, flush=True)


@contextmanager
def collecting() -> Iterator[list[Diagnostic]]:
    """Collect what is told within, instead of printing it."""
    found: list[Diagnostic] = []
    token = _LISTENING.set(found)
    try:
        yield found
    finally:
        _LISTENING.reset(token)
