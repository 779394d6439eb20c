"""From which token on interventions change a run: before it, base and source begin alike, and a pass need not run them again."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from causal_dsl.inputs.protocol import Inputs
from causal_dsl.planning import graph as g
from causal_dsl.planning.laid_out import Family, Layout
from causal_dsl.planning.rows import Layouts
from causal_dsl.vocabulary.locations import Position


@dataclass(eq=False)
class SameBeginnings:
    """Looks up the tokens of a block's writes that leave a run of a decoder as it is: vectors taken from a plain run at the place where they
    are written, of a token before which, and at which, its prompt is that of the run that they are written in."""

    layouts: Layouts
    layout: Layout
    inputs: Inputs
    _alike: dict[tuple[int, int], int] = field(default_factory=dict)
    _unchanged: dict[tuple[g.Forward, g.Forward, Position | None, bytes], np.ndarray] = field(default_factory=dict)

    def unchanged(self, write: g.WriteNode, family: Family, number: int) -> np.ndarray:
        """Of each token of a write whether nothing changes there [m]."""
        spot, value = family.spots[number], write.value
        plain = isinstance(value, g.Capture) and isinstance(value.run, g.Forward) and value.place.site == write.place.site
        if not plain or write.add or write.feature is not None or write.place.key is not None:
            return np.zeros(len(spot.which), bool)
        assert isinstance(value, g.Capture) and isinstance(value.run, g.Forward)
        key = (value.run, family.resume.base, value.place.position, family.pairs.tobytes())
        if key not in self._unchanged:
            which, tokens = self.layouts.tokens(value.place, value.run, family.pairs)
            here = self._inputs(family.resume.base, family)
            there = self._inputs(value.run, family)
            alike = np.array([self._begins(*pair) for pair in zip(here.tolist(), there.tolist(), strict=True)])
            self._unchanged[key] = np.where(tokens < alike[which], tokens, -1)
        from_ = self._unchanged[key]
        assert len(from_) == len(spot.positions)  # each token is written from one
        found: np.ndarray = from_ == spot.positions
        return found

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
