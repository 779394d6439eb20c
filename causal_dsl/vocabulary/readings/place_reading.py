"""The definition of a reading: a number that is computed from what is at a place, in one record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.vocabulary.ends_of_scores import ends_of
from causal_dsl.vocabulary.settings import Setting


@dataclass(frozen=True)
class Reading:
    """One reading of the language: ``norm @ layer[3].resid_post[last]``.

    ``says`` is its definition, as docs/measures.md and ``explain`` give it, ``written`` how a spec writes it, and ``example`` a
    place at which it can be read. ``least`` and ``most`` are the ends between which it stays whatever is at the place, where they are
    not those of its unit: of a share 0 and 1, of another unit none. ``binary``: whether it is 0 or 1 in each pair, so that its mean is a
    share of pairs. ``unit`` is the name of a unit of :mod:`causal_dsl.measures.units`; None: that of the metric in it.

    ``of`` is what it is read of: the ``vector`` at one token of any site, the attention weights of one head from one token
    (``weights``) or from all (``pattern``), the logits of the token (``logits``), the vectors of all pairs (``pairs``), or the
    ``gradients`` of a metric by what is there.
    ``arguments`` are the kinds of its arguments, in order: a ``position``, a ``site``, a ``metric``, a ``file`` or a ``variable``;
    ``settings`` the names of those that are optional, and ``options`` what each of them takes, where they are more than names.

    ``function`` is the dotted name of what computes it; empty where it changes how a metric in it is taken.
    """

    name: str
    says: str
    unit: Literal["share", "ratio", "number"] | None
    written: str
    example: str
    of: Literal["vector", "weights", "pattern", "logits", "pairs", "gradients"]
    function: str = ""
    arguments: tuple[Literal["position", "site", "metric", "file", "variable"], ...] = ()
    settings: tuple[str, ...] = ()
    paper: str = ""
    options: Mapping[str, Setting] = field(default_factory=dict)
    least: float | None = None
    most: float | None = None
    binary: bool = False

    def __post_init__(self) -> None:
        if self.of == "weights" and self.arguments != ("position", "position"):
            raise ValueError(f"`{self.name}` is read of attention weights: its arguments are two positions")

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the greatest number that it can be."""
        return ends_of(self.unit, self.least, self.most)


__all__ = ["Reading"]
