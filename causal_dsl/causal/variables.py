"""The variables of a causal model as values."""

from __future__ import annotations

from typing import Literal

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.domains import Domain, Type
from causal_dsl.diagnostics import Span


@dataclass(frozen=True)
class Variable:
    """One variable. ``parents`` are what its mechanism (or the set that it is drawn from) mentions, in order."""

    name: str
    kind: Literal["exogenous", "mechanism", "template"]
    domain: Domain
    type: Type
    output: bool
    span: Span
    parents: tuple[str, ...]


__all__ = ["Variable"]
