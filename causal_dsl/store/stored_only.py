"""Work whose results are taken from the store and not made: what is left out there was left out by workers (:mod:`causal_dsl.cluster`)."""

from __future__ import annotations

from collections.abc import Iterator, Set
from contextlib import contextmanager
from contextvars import ContextVar

from causal_dsl.diagnostics import Diagnostic, SpecError

_FAULTS: ContextVar[tuple[Diagnostic, ...] | None] = ContextVar("stored_only", default=None)
_UNLOADED: ContextVar[Set[str]] = ContextVar("unloaded", default=frozenset())


@contextmanager
def stored_only(faults: tuple[Diagnostic, ...], unloaded: Set[str] = frozenset()) -> Iterator[None]:
    """Within, nothing is made that is not stored; ``faults`` say why something is not. The networks of the parts of a spec that are
    ``unloaded`` ended every process that loaded them, and are not loaded."""
    tokens = _FAULTS.set(faults), _UNLOADED.set(unloaded)
    try:
        yield
    finally:
        _FAULTS.reset(tokens[0])
        _UNLOADED.reset(tokens[1])


def refuse_unloaded(part: str) -> None:
    """Raise the faults for a part of a spec whose networks are not to be loaded."""
    if part in _UNLOADED.get():
        raise SpecError(why_not_stored())


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


__all__ = ["nothing_is_made", "refuse_making", "refuse_unloaded", "stored_only", "why_not_stored"]
