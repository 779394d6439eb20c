"""Which of the unclaimed units of a layer carry by themselves what the answer needs beside the placed variables.

Units that determine a variable need not be where the network reads it. So these units are taken from another input whose answer
needs another value. They carry the value if the answer becomes the one that the causal model gives, whatever else differs between
the inputs. The answer then needs no other unclaimed units, and they must not move it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import field
from itertools import combinations

import numpy as np
import torch

from causal_dsl.base.counter import Stream
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.causal.condition_functions import Columns
from causal_dsl.controls.layer_vectors import LayerVectors
from causal_dsl.diagnostics import SpecError
from causal_dsl.engine.execute import Execution
from causal_dsl.measures.quantities import TIED
from causal_dsl.planning.alike_pairs import told
from causal_dsl.planning.graph import Forward
from causal_dsl.planning.probe_rows import FREE, SEED, is_small
from causal_dsl.planning.rest_of_layer import ends_its_layer
from causal_dsl.program.probed import Unmapped
from causal_dsl.program.program import Test
from causal_dsl.score.numbered_values import decides, firsts, in_order, numbered

#: Inputs that are paired; pairs in which units are tried, the same where rows cost more than next to nothing, and the fewest.
_INPUTS, _MANY, _PAIRS, _FEWEST = 128, 256, 64, 4
#: In so many of them the answer has to become the other one, and of a network with errors of its own in fewer. Of the many units
#: over which a trained network spreads a variable, all but one or two are enough in more than nine of ten.
_FOLLOWED = 0.98
#: Of the units, how many are looked at in pairs; how many candidates are tried; and decimals in which two numbers are one.
_PAIRED, _TRIED, _DIGITS = 24, 24, 6
#: Rows that are run in one pass.
_AT_ONCE = 2**14


@dataclass
class Carrying:
    """Finds what the units of a probe carry. ``natural`` is the share of inputs that the network answers wrong."""

    execution: Execution
    test: Test
    probe: Unmapped
    natural: float
    #: how many rows may be run, of prompts
    rows: int = 0
    _followed: dict[tuple[int, ...], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """``base`` and ``other`` [m] are pairs of inputs whose answers need different values; ``label`` is the model's answer for ``other``."""
        plan, key = self.execution.plan, self.test.network.key
        self.decided = False
        self.layer = LayerVectors(self.execution, self.test, self.probe)
        draw = plan.scores[self.test.name][0].label.draw
        drawn, output = plan.draw_of(self.test), self.test.readout.variable
        roles = [role for role in ("base", "other") if Forward(key, draw, role) in plan.rows]
        index = np.concatenate([plan.rows[Forward(key, draw, role)] for role in roles])
        values = {name: np.concatenate([drawn.values[r][name] for r in roles]) for name in drawn.values["base"]}
        first = firsts(index)
        stream = Stream(SEED, len(first))
        cheap = is_small(plan.inputs[key])
        #: how many rows may be run for it
        cells = self.execution.runs[self.test.control[0] or self.test.name].test.unlike
        spared = self.rows if self.probe.tokens else self._spared(drawn.n * len(self.probe.units))
        self.left = FREE // cells if cheap else spared
        self.base = self.other = np.empty(0, np.int64)
        first = np.sort(stream.shuffled(first)[: min(_INPUTS, self.left // 8)])
        if len(first) < _FEWEST or (self.probe.tokens and self.layer.unfit):
            return
        self.left -= 2 * len(first)
        self.inputs = index[first]
        self.values: Columns = {name: column[first] for name, column in values.items()}
        self.answers, _ = self.layer.said(self.inputs, self.values.get("template"))
        right = self.right = self.test.model.accepted(output).right(self.answers, self.values[output])
        base, other = (
            grid.ravel() for grid in np.meshgrid(np.arange(len(first)), np.arange(len(first)), indexing="ij")
        )
        try:
            label = told(
                self.test.model,
                output,
                self.probe.placed,
                {name: column[base] for name, column in self.values.items()},
                {name: column[other] for name, column in self.values.items()},
            )
        except SpecError:
            label = self.values[output][base]
            self.unknown = True
        else:
            self.unknown = False
        changes = label != self.values[output][base]
        self.decided = not changes.any() and not self.unknown
        found = np.flatnonzero(changes & right[base] & right[other])
        chosen = stream.shuffled(found)[: _MANY if cheap else _PAIRS]
        #: added to the pairs in which it is not carried, where not all were tried
        self.unseen = int(len(chosen) < len(found) or len(first) < len(np.unique(index)))
        self.base, self.other, self.label = base[chosen], other[chosen], label[chosen]
        self.vectors = self.layer.read(self.inputs)
        self.held = np.round(self.vectors.double().cpu().numpy(), _DIGITS)
        self.codes = {unit: numbered(self.held_at([unit])) for unit in self.probe.units[0]}
        self.needed = None if self.unknown else needed(self.test, self.probe.placed, self.values)

    def _spared(self, rows: int) -> int:
        """The number of whole rows that cost half as much as ``rows`` rows from the probe's layer on.
        :mod:`causal_dsl.planning.unclaimed` leaves room for them."""
        facts = self.test.network.facts
        layers = facts.layers or max(1, len(facts.widths) - 1)
        above = max(1, layers - (self.probe.site.layer or 0) - ends_its_layer(self.probe.site))
        return rows * above // (2 * layers)

    def held_at(self, units: Sequence[int]) -> np.ndarray:
        """The numbers of some units in the inputs [n, …]."""
        found: np.ndarray = self.held[:, self.layer.columns(units)]
        return found

    def mixed(self, base: np.ndarray, other: np.ndarray, units: Sequence[int]) -> torch.Tensor:
        """The vectors of inputs ``base`` [n], with some units as in the inputs ``other`` [n]."""
        columns = self.layer.columns(units)
        found = self.vectors[torch.from_numpy(base)].clone()
        found[:, columns] = self.vectors[torch.from_numpy(other)][:, columns]
        return found

    def apart(self, units: Sequence[int], hits: np.ndarray) -> np.ndarray:
        """Of some pairs [n], the first that give each vector and own answer where some units are as in the other input [k]: a network is the same in the
        others, so that an error of it may stand in many pairs."""
        base, other = self.base[: len(hits)], self.other[: len(hits)]
        mixed = np.round(self.mixed(base, other, units).double().cpu().numpy(), _DIGITS)
        found: np.ndarray = hits[firsts(np.column_stack([mixed, self.answers[base]]))]
        return found

    def lines(self, rows: np.ndarray) -> np.ndarray | None:
        """The prompt lines of some inputs; None where there is but one."""
        return self.values["template"][rows] if "template" in self.values else None

    @torch.no_grad()
    def follows(self, units: tuple[int, ...]) -> float:
        """The share of pairs whose answer becomes that of the other input when only ``units`` are taken from it."""
        if units not in self._followed:
            if self.left < len(self.base):
                return 0.0
            self.left -= len(self.base)
            said, _ = self.layer.said(
                self.inputs[self.base], self.lines(self.base), self.mixed(self.base, self.other, units)
            )
            accepted = self.test.model.accepted(self.test.readout.variable)
            self._followed[units] = float(accepted.right(said, self.label).mean())
        return self._followed[units]

    def missed(self, units: Sequence[int]) -> float | None:
        """The smallest share of pairs in which units outside ``units`` fail to carry what is needed beside the placed variables.
        None if no such units carry it."""
        if self.decided:
            return 0.0
        best = self.carrier(units)
        if best is None:
            return None
        n = len(self.base)
        return (n * (1 - self.follows(best)) + self.unseen) / (n + 2 * self.unseen)

    def carrier(self, units: Sequence[int]) -> tuple[int, ...] | None:
        """Those units outside ``units`` that carry most of what is needed beside the placed variables; None if none carry it, short of
        all unclaimed ones together."""
        if len(self.base) < _FEWEST:
            return None
        every = len(self.probe.units[0])
        known = [one for one in self._followed if not set(one) & set(units) and len(one) < every]
        best = max(known, key=self.follows, default=())
        if not best or self.follows(best) < 1.0:
            for number, one in enumerate(some for some in self._candidates(units) if len(some) < every):
                if not best or self.follows(one) > self.follows(best):
                    best = one
                if self.follows(best) == 1.0 or number + 1 == _TRIED:
                    break
        return best if best and self.follows(best) >= _FOLLOWED - 2 * self.natural else None

    @torch.no_grad()
    def moved(self, sets: Sequence[tuple[int, ...]], n: int) -> Iterator[np.ndarray]:
        """For each set of units, in which of the first ``n`` pairs the answer is another one [n] when it is taken from the other input."""
        base, other = self.base[:n], self.other[:n]
        own, lines, at_once = self.answers[base], self.lines(base), max(1, _AT_ONCE // n)
        for start in range(0, len(sets), at_once):
            some = sets[start : start + at_once]

            def vectors(rows: slice, some: Sequence[tuple[int, ...]] = some) -> torch.Tensor:
                wanted = np.arange(rows.start, rows.stop)
                pair, number = wanted % n, wanted // n
                parts = [
                    self.mixed(base[pair[number == k]], other[pair[number == k]], some[k]) for k in np.unique(number)
                ]
                return torch.cat(parts)

            every = None if lines is None else np.tile(lines, len(some))
            said, _ = self.layer.said(self.inputs[np.tile(base, len(some))], every, vectors)
            yield from ((one != own) & (one != TIED) for one in said.reshape(len(some), n))

    def small_sets(self) -> list[tuple[int, ...]]:
        """Each unit that is not alike in both inputs of all pairs, and each two of them."""
        if not len(self.base):
            return []
        units = [
            u for u in self.probe.units[0] if (self.held_at([u])[self.base] != self.held_at([u])[self.other]).any()
        ]
        return [*((unit,) for unit in units), *combinations(units, 2)]

    def natural_mix(self, units: Sequence[int], n: int) -> np.ndarray:
        """In which of the first ``n`` pairs [n] the unclaimed units are as in some input when ``units`` are taken from the other one."""
        mixed, columns = self.held[self.base[:n]], self.layer.columns(units)
        mixed[:, columns] = self.held[self.other[:n]][:, columns]
        rest = self.layer.columns(self.probe.units[0])
        codes = numbered(np.concatenate([self.held[:, rest], mixed[:, rest]]))
        return np.isin(codes[len(self.held) :], codes[: len(self.held)])

    def varied(self) -> tuple[str, ...]:
        """The inputs of the model in which some pair differs."""
        names = self.test.model.exogenous
        return tuple(name for name in names if (self.values[name][self.base] != self.values[name][self.other]).any())

    def _candidates(self, units: Sequence[int]) -> Iterator[tuple[int, ...]]:
        """Sets of units outside ``units`` that may carry it, the likeliest first."""
        every = self.probe.units[0]
        rest = [unit for unit in every if unit not in units]
        if not rest:
            return
        codes, needed = self.codes, self.needed
        seen: dict[tuple[int, ...], None] = {}
        if units:  # no copies of what was taken
            same = numbered(self.held_at(units))
            seen[tuple(unit for unit in rest if not decides(same, codes[unit]))] = None
        if needed is not None:
            # those that hold nothing but what is needed, and those that tell it
            seen[tuple(unit for unit in rest if codes[unit].max() and decides(needed, codes[unit]))] = None
            alone = [unit for unit in rest if decides(codes[unit], needed) or in_order(codes[unit], needed)]
            seen[tuple(alone)] = None
            seen |= {(unit,): None for unit in alone[: _TRIED // 3]}
            some = [unit for unit in rest if 2 * (int(codes[unit].max()) + 1) <= len(needed)][:_PAIRED]
            pairs = (pair for pair in combinations(some, 2) if not set(pair) & set(alone))
            seen |= {pair: None for pair in pairs if decides(numbered(self.held_at(pair)), needed)}
        seen[tuple(rest)] = None
        seen |= {one: None for one in self.probe.units if not set(one) & set(units)}
        yield from (one for one in seen if one)


#: Values of the placed variables, together, that are tabulated.
_MOST_SETTINGS = 64


def needed(test: Test, placed: tuple[str, ...], values: Columns) -> np.ndarray | None:
    """A number for each input [n]: equal where the answer needs the same beside the placed variables. None if the table is too large."""
    settings = np.unique(np.stack([values[name] for name in placed], axis=1), axis=0)
    if len(settings) > _MOST_SETTINGS:
        return None
    inputs = {name: values[name] for name in test.model.exogenous}
    n, output = len(next(iter(inputs.values()))), test.readout.variable
    try:
        answers = [
            test.model.evaluate(
                inputs, {p: np.full(n, v, values[p].dtype) for p, v in zip(placed, row, strict=True)}, [output]
            )[output]
            for row in settings
        ]
    except SpecError:
        return None
    return np.unique(np.stack(answers, axis=1), axis=0, return_inverse=True)[1].reshape(-1)


__all__ = ["Carrying", "needed"]
