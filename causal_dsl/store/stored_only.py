"""Work whose results are taken from the store and not made: what is left out there was left out by workers (:mod:`causal_dsl.cluster`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from causal_dsl.diagnostics import Diagnostic, SpecError

_FAULTS: ContextVar[tuple[Diagnostic, ...] | None] = ContextVar("stored_only", default=None)


@contextmanager
def stored_only(faults: tuple[Diagnostic, ...]) -> Iterator[None]:
    """Within, nothing is made that is not stored; ``faults`` say why something is not."""
    token = _FAULTS.set(faults)
    try:
        yield
    finally:
        _FAULTS.reset(token)


def nothing_is_made() -> bool:
    """Whether only what is stored is used."""
    return _FAULTS.get() is not None


def why_not_stored() -> tuple[Diagnostic, ...]:
    """Why something is not stored, where only what is stored is used."""
    return _FAULTS.get() or ()


def refuse_making() -> None:
    """Where something would have to be made without which nothing else can be told, raise the faults; KeyboardInterrupt where
    there are none, since the run was stopped."""
    faults = _FAULTS.get()
    if faults:
        raise SpecError(faults)
    if faults is not None:
        raise KeyboardInterrupt


__all__ = ["nothing_is_made", "refuse_making", "stored_only", "why_not_stored"]
