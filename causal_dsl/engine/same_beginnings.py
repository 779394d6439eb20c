"""From which token on interventions change a run: before it, base and source begin alike, and a pass need not run them again."""

from __future__ import annotations

from dataclasses import field

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.inputs.protocol import Inputs
from causal_dsl.planning import graph as g
from causal_dsl.planning.pass_layout import Family, Layout
from causal_dsl.planning.rows import Layouts
from causal_dsl.vocabulary.locations import Place, Position, Site


@dataclass(eq=False)
class SameBeginnings:
    """Looks up the tokens of a block's writes that leave a run of a decoder as it is: vectors taken from a plain run at the place where they
    are written, of a token before which, and at which, its prompt is that of the run that they are written in."""

    layouts: Layouts
    layout: Layout
    inputs: Inputs
    _alike: dict[tuple[int, int], int] = field(default_factory=dict)
    _known: dict[tuple[g.Forward, g.Forward, Position | None, bytes], np.ndarray] = field(default_factory=dict)

    def first_changed(self, family: Family, most: int) -> np.ndarray:
        """The first token of each pair at which a write of an intervention changes anything [pairs]; ``most`` where none does."""
        first = np.full(len(family.pairs), most)
        seen = set()
        for write, spot in zip(family.resume.writes, family.spots, strict=True):
            value, base = write.value, family.resume.base
            taken = value if isinstance(value, g.Capture) and value.place.site == write.place.site else None
            plain = taken is not None and not write.add and write.feature is None and write.place.key is None
            source = taken.run if plain and isinstance(taken.run, g.Forward) else None  # type: ignore[union-attr]
            position = None if source is None else taken.place.position  # type: ignore[union-attr]
            key = (source, position, spot.positions.tobytes(), spot.which.tobytes(), spot.live.tobytes())
            if key in seen:  # other sites at the same tokens
                continue
            seen.add(key)
            acts = spot.live
            if source is not None:
                acts = acts & (self._unchanged(source, position, base, family) != spot.positions)
            np.minimum.at(first, spot.which[acts], spot.positions[acts])
        return first

    def _unchanged(self, source: g.Forward, position: Position | None, base: g.Forward, family: Family) -> np.ndarray:
        """Where the tokens of a source stand, in which all that its run gives is what the base gives there; -1 for other tokens [m]."""
        key = (source, base, position, family.pairs.tobytes())
        if key not in self._known:
            which, tokens = self.layouts.tokens(Place(Site("embed"), position), source, family.pairs)
            here, there = self._inputs(base, family), self._inputs(source, family)
            alike = np.array([self._begins(*pair) for pair in zip(here.tolist(), there.tolist(), strict=True)])
            self._known[key] = np.where(tokens < alike[which], tokens, -1)
        return self._known[key]

    def _inputs(self, run: g.Forward, family: Family) -> np.ndarray:
        """The input of each pair of an intervention in a run."""
        return self.layout.inputs[self.layout.prompt_rows(run, family.resume, family.pairs)]

    def _begins(self, one: int, other: int) -> int:
        """How many tokens two prompts begin with alike."""
        key = min(one, other), max(one, other)
        if key not in self._alike:
            [first], [second] = self.inputs.rows(np.array([one])), self.inputs.rows(np.array([other]))
            pairs = zip(first, second, strict=False)
            self._alike[key] = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))
        return self._alike[key]


__all__ = ["SameBeginnings"]
