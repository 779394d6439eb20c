"""The report of a worker on a unit."""

from __future__ import annotations

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostic


@dataclass(frozen=True)
class Answer:
    """The outcome of a unit: ``stored``, in so many ``seconds``; or ``why`` not, and whether another try may go well. ``full``: the
    store takes nothing more."""

    stored: bool
    seconds: float = 0.0
    why: str = ""
    again: bool = True
    full: bool = False
    diagnostics: tuple[Diagnostic, ...] = ()
