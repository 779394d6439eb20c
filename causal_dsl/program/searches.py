"""The searches for circuits that a test asks for, as values: what is scored, and how much of it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Span
from causal_dsl.program.nodes import OutputNode
from causal_dsl.vocabulary.locations import Position


@dataclass(frozen=True)
class Discovery:
    """The search for a circuit: it scores ``what`` (nodes or edges) of the network of a ``test``, by a ``method`` with its ``settings``, on ``n`` pairs (None:
    as many as the test draws). How many are kept is no part of it: the circuits of a sweep over sizes share their scores."""

    test: str
    what: str
    method: str
    settings: tuple[tuple[str, Any], ...]
    kinds: tuple[str, ...]
    n: int | None
    #: the tokens at which each is scored by itself; none: at all tokens together
    at: tuple[Position, ...]
    span: Span = field(compare=False)
    #: the nodes that are scored, where a circuit names them; empty: all of the kinds
    nodes: tuple[OutputNode, ...] = ()

    @property
    def text(self) -> str:
        """The method as a spec writes it."""
        told = ", ".join(f"{name}={value}" for name, value in self.settings)
        return f"{self.method}({told})" if told else self.method


@dataclass(frozen=True)
class Kept:
    """The choice of what is in a circuit by its scores: the share or the number that is kept, by ``signed`` or ``absolute`` score; by ``threshold``
    all that score at least ``keep``."""

    discovery: Discovery
    keep: float
    by: str


#: The scores of each discovery, by the names of nodes, or of edges (`layer[0].head[1] -> layer[1].head[0].q`).
Scores = Mapping[Discovery, Mapping[str, float]]


@dataclass(frozen=True)
class Searches:
    """The searches of one test: what is ``known`` of them, and all that it asked for."""

    test: str = ""
    known: Scores = field(default_factory=dict)
    asked: list[Kept] = field(default_factory=list)


__all__ = ["Discovery", "Kept", "Scores", "Searches"]
