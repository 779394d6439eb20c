"""What a reading is: a number that is computed from what is at a place, in one record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Reading:
    """One reading of the language: ``norm @ layer[3].resid_post[last]``.

    ``says`` is its definition, as docs/measures.md and ``explain`` give it, ``written`` how a spec writes it, and ``example`` a
    place at which it can be read. ``unit`` is the name of a unit of :mod:`causal_dsl.measures.units`; None: that of the metric in it.

    ``of`` is what it is read of: the ``vector`` at one token of any site, the attention weights of one head from one token
    (``weights``) or from all (``pattern``), the logits of the token (``logits``), or the vectors of all pairs (``pairs``).
    ``arguments`` are the kinds of its arguments, in order: a ``position``, a ``site``, a ``metric``, a ``file`` or a ``variable``;
    ``settings`` the names of those that are optional.

    ``function`` is the dotted name of what computes it; empty where it changes how a metric in it is taken.
    """

    name: str
    says: str
    unit: Literal["share", "ratio", "number"] | None
    written: str
    example: str
    of: Literal["vector", "weights", "pattern", "logits", "pairs"]
    function: str = ""
    arguments: tuple[Literal["position", "site", "metric", "file", "variable"], ...] = ()
    settings: tuple[str, ...] = ()
    paper: str = ""

    def __post_init__(self) -> None:
        if self.of == "weights" and self.arguments != ("position", "position"):
            raise ValueError(f"`{self.name}` is read of attention weights: its arguments are two positions")


__all__ = ["Reading"]
