"""How the answer depends on the placed variables when other units of their layer are taken from another input.

What the answer needs beside a placed variable may be spread over several units, or stand in copies. A part of it, taken from another
input, then moves the answer, and so does a copy that switches the variable off where it is unlike the others. The two differ in what
the variable does then: a value of what is needed, whichever it is, leaves the answer depending on the variable as it does in some input.
Parts that hold a value only together may make one that it never has; copies of it do not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from causal_dsl.base.counter import Stream
from causal_dsl.controls.carrying import Carrying
from causal_dsl.diagnostics import SpecError
from causal_dsl.measures.quantities import TIED
from causal_dsl.planning.probe_rows import FREE, SEED
from causal_dsl.program.program import Test
from causal_dsl.score.numbered_values import decides, numbered, tells
from causal_dsl.score.unmapped import Unlike, of_pairs

#: Of the settings of the placed variables, how many are tried in each input; and in how many sets of units.
_SETTINGS, SETS = 8, 12
#: How often the inputs of the causal model are put together anew.
_SHUFFLES = 16
#: An answer is sure where the gap of its two largest logits is at least this share of the usual one.
_SURE = 0.5


class Depending:
    """Tries the values of the placed variables in mixed vectors of a layer. ``test``: the one that the units are taken beside."""

    def __init__(self, carrying: Carrying, test: Test):
        self.carrying, self.stream = carrying, Stream(SEED, len(carrying.base))
        probe = carrying.probe
        self.here: list[int] = []
        self.known = False
        if len(carrying.base) < 2:
            return
        self.here = carrying.layer.placed(test, int(carrying.inputs[0]))
        columns = np.stack([carrying.values[name] for name in probe.placed], axis=1)
        _, codes = np.unique(columns, axis=0, return_inverse=True)
        codes = codes.reshape(-1)
        settings = self.stream.shuffled(np.arange(int(codes.max()) + 1))[:_SETTINGS]
        self.having = [np.flatnonzero(codes == code) for code in np.sort(settings).tolist()]
        if len(self.having) < 2:
            return
        inputs = np.arange(len(carrying.inputs))
        if carrying.probe.tokens:
            inputs = inputs[: carrying.left // 2 // len(self.having)]
            carrying.left -= len(inputs) * len(self.having)
        if len(inputs) < 2:
            return
        ways, _, gaps = self._ways(inputs, inputs, ())
        self.usual, self.natural = float(np.median(gaps)), {one.tobytes() for one in ways}
        self.natural |= self._by_model()
        self.known = bool(self.natural)

    def _by_model(self) -> set[bytes]:
        """The same of the causal model, with its inputs put together anew, whatever a condition says of them: units that are taken from
        another input may hold what no input of the test has together."""
        carrying, found = self.carrying, set()
        model, output = carrying.test.model, carrying.test.readout.variable
        values = {name: carrying.values[name] for name in model.exogenous}
        n = len(carrying.inputs)
        for shuffle in range(_SHUFFLES):
            rows = {name: self.stream.shuffled(np.arange(n)) if shuffle else np.arange(n) for name in values}
            mixed = {name: column[rows[name]] for name, column in values.items()}
            try:
                said = np.stack(
                    [
                        model.evaluate(
                            mixed,
                            {p: np.repeat(carrying.values[p][one[:1]], n) for p in carrying.probe.placed},
                            [output],
                        )[output]
                        for one in self.having
                    ],
                    axis=1,
                )
            except SpecError:
                continue  # the model has no answer there
            found |= {one.tobytes() for one in said[:, :, None] == said[:, None, :]}
        return found

    def copies(self, units: Sequence[int]) -> bool:
        """Whether units hold what the answer needs beside the placed variables, all of it and nothing else, and the others tell it, too. The value
        that a mixture of other parts of it has may be one that it never has by itself."""
        carrying = self.carrying
        needed = carrying.needed
        if needed is None:
            return False
        own = [unit for unit in carrying.probe.units[0] if decides(needed, carrying.codes[unit])]
        rest = [unit for unit in carrying.probe.units[0] if unit not in units]
        return (
            set(units) <= set(own)
            and decides(numbered(carrying.held_at(units)), needed)
            and tells(numbered(carrying.held_at(rest)), needed)
        )

    def unlike(self, units: Sequence[int], n: int) -> Unlike | None:
        """In which share of the first ``n`` pairs the answer depends on the placed variables as in no input when ``units`` are taken from
        the other one; None where that cannot be seen."""
        carrying = self.carrying
        return self._unlike(units, carrying.base, carrying.other, n, not carrying.unseen)

    def unlike_in(self, units: Sequence[int], fixed: Sequence[str], n: int) -> Unlike | None:
        """The same of pairs of inputs with the same values of ``fixed``."""
        if not self.known:
            return None
        carrying = self.carrying
        values = [carrying.values[name] for name in fixed] or [np.zeros(len(carrying.inputs), np.int64)]
        group = np.unique(np.stack(values, axis=1), axis=0, return_inverse=True)[1].reshape(-1)
        own = carrying.held_at(units)
        base, other = np.nonzero(group[:, None] == group[None, :])
        apart = (own[base] != own[other]).any(axis=1) & carrying.right[base] & carrying.right[other]
        chosen = self.stream.shuffled(np.flatnonzero(apart))[:n]
        return self._unlike(units, base[chosen], other[chosen], n, False)

    def _unlike(self, units: Sequence[int], base: np.ndarray, other: np.ndarray, n: int, whole: bool) -> Unlike | None:
        if not self.known or not len(base):
            return None
        carrying = self.carrying
        n = min(n, len(base), max(1, FREE // len(self.having) // SETS))
        if carrying.probe.tokens and carrying.left < n * len(self.having):
            return None
        carrying.left -= n * len(self.having)
        ways, tied, gaps = self._ways(base[:n], other[:n], units)
        odd = np.array([one.tobytes() not in self.natural for one in ways]) & ~tied
        every = n == len(base) and whole
        return Unlike(
            of_pairs(odd, every),
            bool(odd.any() and ways[odd].all()),
            bool(odd.any() and (gaps[odd] >= _SURE * self.usual).all()) and self.copies(units),
        )

    @torch.no_grad()
    def _ways(
        self, base: np.ndarray, other: np.ndarray, units: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For each pair which two settings of the placed variables give one answer [n, settings, settings], whether in some setting two
        answers tie [n], and the smallest gap of the two largest logits [n]."""
        carrying, n, count = self.carrying, len(base), len(self.having)
        mixed = carrying.mixed(base, other, units).repeat(count, 1)
        donors = np.concatenate([one[self.stream.below(len(one), n)] for one in self.having])
        mixed[:, self.here] = carrying.vectors[torch.from_numpy(donors)][:, self.here]
        lines = carrying.lines(np.tile(base, count))
        said, gaps = carrying.layer.said(carrying.inputs[np.tile(base, count)], lines, mixed)
        said, gaps = said.reshape(count, n).T, gaps.reshape(count, n).min(axis=0)
        return said[:, :, None] == said[:, None, :], (said == TIED).any(axis=1), gaps


__all__ = ["SETS", "Depending"]
