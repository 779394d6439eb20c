"""The families of features that may stand after ``via``.

Those of this package are the modules of :mod:`causal_dsl.families`, one a family; a package adds one through the entry
point ``causal_dsl.features``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.vocabulary.plugins import Words
from causal_dsl.vocabulary.settings import Setting

#: Settings that several families take: where a fit starts, and how many dimensions a variable has.
SEED = Setting("int", 0, low=0, says="another seed starts the fit elsewhere")
DIM = Setting("int", required=True, low=1, says="how many dimensions the variable has")


@dataclass(frozen=True)
class FeatureFamily:
    """``make`` names the function (``module:function``) that gives the map of one place: it takes a
    :class:`causal_dsl.features.instantiate.Making` and gives a :class:`causal_dsl.features.base.Feature`. It is imported when a map
    is made, so that a record loads no torch. ``settings`` are what the family takes beside what every fit does.

    ``meaning`` is what the variable then is, ``paper`` where the method is from: a row of ``docs/features.md``.

    ``trained``: it has parameters that are fitted on counterfactual labels. ``classes``: it is found from the variable's own
    value in each vector. ``gated``: it has gates, which open for some coordinates. ``dim`` is the setting that says how many
    coordinates it gives, empty where none does; ``shared``: several variables may share them, each in a block.
    ``unsized``: how many it gives is known only once it is made. ``bends``: the setting of how much its map can bend, empty
    for linear maps: with enough of it, it finds any variable in any network.

    ``file``: its setting ``path`` names a file: which kind it must be, and what to name. ``encoder``: the file says for which
    network and site it was made, and is held to it. ``axes``: it is coordinates along orthonormal axes, so two of them may be
    written at one place if their axes are orthogonal. ``complete``: if it gives as many coordinates as the vector has numbers, a swap of
    all of them swaps the vector: the controls of a test then take the place as written whole.

    ``numbers``: how many a finished map has, of vectors of so many numbers and with these settings; without it, those of axes: one
    for each coordinate of ``dim``, and a mean.

    ``tiny`` are settings of a small one, for tests.
    """

    name: str
    settings: Mapping[str, Setting]
    make: str
    meaning: str = ""
    paper: str = ""
    trained: bool = False
    classes: bool = False
    gated: bool = False
    dim: str = ""
    shared: bool = False
    unsized: bool = False
    bends: str = ""
    file: tuple[str, str] | None = None
    encoder: bool = False
    axes: bool = False
    complete: bool = False
    numbers: Callable[[int, Mapping[str, Any]], float] | None = field(default=None, compare=False)
    tiny: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def numbers_of(self, width: int, settings: Mapping[str, Any]) -> int:
        """How many numbers a finished map of vectors of ``width`` numbers has, about: of one whose coordinates are known only once it is
        made, those of two."""
        full = {name: setting.default for name, setting in self.settings.items()} | dict(settings)
        if self.numbers is not None:
            return round(self.numbers(width, full))
        return width * (min(width, int(full[self.dim])) + 1) if self.dim else 3 * width


FEATURES: Words[FeatureFamily] = Words("causal_dsl.features", FeatureFamily, "causal_dsl.families")

__all__ = ["DIM", "FEATURES", "SEED", "FeatureFamily"]
