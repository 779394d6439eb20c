"""Units of a layer each of which is taken from an input of its own, beside the placed variables as they are and as other inputs have them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Literal

import numpy as np

from causal_dsl.base.counter import Stream
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.controls.assembling import Assembling, Mixtures
from causal_dsl.controls.layer_vectors import unwritten_at
from causal_dsl.engine.execute import Execution
from causal_dsl.planning.probe_rows import FREE, LEAST, SEED, is_small, rows_of_tokens
from causal_dsl.planning.unclaimed import ALL, FEW, told_numbers, told_part
from causal_dsl.planning.unit_sets import random_parts
from causal_dsl.program.probed import Unmapped
from causal_dsl.program.program import Test
from causal_dsl.score.codes import FULL
from causal_dsl.score.estimates_and_findings import Finding
from causal_dsl.score.results import CellResult
from causal_dsl.score.unmapped import Taken, exceeds, of_pairs, places_finding
from causal_dsl.vocabulary.locations import Place

#: Of how many units at least each is taken from an input of its own; of more than few units, how many random halves, and quarters of the
#: numbers of tokens; and the most rows of one set.
FEWEST, _HALVES, _QUARTERS, _ROWS = 2, 8, 8, 512
#: The rows that a set of numbers of tokens needs, for two numbers together to be tried.
_ENOUGH = 32


@dataclass(frozen=True)
class _Set:
    """Units that are mixed, each the numbers in some ``columns``."""

    units: tuple[int, ...]
    told: str
    columns: tuple[tuple[int, ...], ...]
    each: Literal["number", "token", ""] = "number"


def sets_to_mix(units: tuple[int, ...], decided: bool, stream: Stream) -> list[tuple[int, ...]]:
    """The sets of units that are mixed. All of them together have to stay as they are in some run, unless the placed variables decide
    the answer by themselves; and of what the answer needs, two copies of three may outvote the third."""
    if len(units) <= ALL:
        return [
            some for size in range(FEWEST + (not decided), len(units) + decided) for some in combinations(units, size)
        ]
    if not decided:
        return []
    return [units, *(half for half in random_parts(units, 2, _HALVES, stream) if len(half) >= FEWEST)]


class Mixing:
    """Mixtures of the inputs of a ``probe`` (its own ``test``), beside a ``cell`` of the test ``own``."""

    def __init__(self, probe: Unmapped, test: Test, own: Test, execution: Execution, cell: CellResult):
        self.probe, self.own = probe, own
        inputs = execution.plan.inputs[test.network.key]
        small = is_small(inputs)
        #: whether the placed variables determine the answer by themselves
        self.decided = probe.why == "decided" or (probe.tokens and set(probe.varied) == set(test.model.exogenous))
        self.full = cell.verdict is not None and cell.verdict.code in FULL
        self.known = any((one.site, one.placed) == (str(Place(probe.site)), probe.placed) for one in cell.unclaimed)
        tried = small if not probe.tokens else self.decided and self.full and not self.known
        rows = FREE // 8 if small else rows_of_tokens(inputs) if tried else 0
        self.rows_left = rows // own.unlike
        #: what is said of the places themselves
        self.findings: list[Finding] = []
        #: whether the numbers of tokens were taken one by one
        self.numbers = False
        self.assembling: Assembling | None = None
        if rows:
            made = Assembling(execution, (test,) if probe.beyond else (test, own), probe)
            if len(made.inputs) >= 2 and not (probe.tokens and made.layer.unfit):
                self.assembling = made
        iia = cell.scores["iia"].value
        #: the share of answers that may move without being said where places are taken from other inputs
        self.allowed = max(0.0 if iia is None else 1 - iia, self.wrong)

    @property
    def wrong(self) -> float:
        """The share of distinct inputs that the network answers wrong, where that was looked at."""
        return 0.0 if self.assembling is None else self.assembling.wrong

    def taken(self) -> Iterator[Taken]:
        """Each set of units that is mixed, and in which mixtures the answer moves."""
        if self.assembling is None:
            return
        sets = [
            self._units(units)
            for units in sets_to_mix(self.probe.units[0], self.decided, Stream(SEED, len(self.probe.units[0])))
        ]
        for one, mixtures in self._mixed(sets, self.rows_left):
            yield self._told(one, mixtures)
        if self.probe.tokens:
            yield from self._numbers(self.assembling)
        if self.full and not self.known:
            yield from self._beside_places(self.assembling)

    def _units(self, units: tuple[int, ...]) -> _Set:
        assert self.assembling is not None
        columns = tuple(tuple(self.assembling.layer.columns([unit])) for unit in units)
        return _Set(units, told_part(self.probe, units), columns, self._each(len(units), not self.probe.tokens))

    @staticmethod
    def _each(count: int, number: bool) -> Literal["number", "token", ""]:
        if count == 1:
            return ""
        return "number" if number else "token"

    def _told(self, one: _Set, mixtures: Mixtures) -> Taken:
        assert self.assembling is not None
        return Taken(
            one.units,
            one.told,
            of_pairs(mixtures.moved, False),
            unwritten_at(self.probe, self.own, one.units),
            True,
            self.assembling.differing(mixtures),
            each=one.each,
        )

    def _mixed(self, sets: Sequence[_Set], rows: int) -> Iterator[tuple[_Set, Mixtures]]:
        """The sets, each of whose units is taken from an input of its own."""
        assembling = self.assembling
        n = min(_ROWS, rows // max(1, len(sets)))
        if assembling is None or n < LEAST or not sets:
            return
        base = assembling.rows(n)
        ways = [list(zip(one.columns, assembling.own(len(one.columns), n), strict=True)) for one in sets]
        yield from zip(sets, assembling.run(base, ways), strict=True)

    def where_nothing_is_needed(self) -> tuple[Taken, ...]:
        """Sets of unclaimed units, all of them included, each unit taken from an input of its own. It is asked where the unclaimed units together
        move the answer in no pair of inputs in which it needs something else: then they hold none of it."""
        units = self.probe.units[0]
        if self.assembling is None or len(units) < FEWEST:
            return ()
        sets = [self._units(one) for one in sets_to_mix(units, True, Stream(SEED, len(units)))]
        return tuple(self._told(one, mixtures) for one, mixtures in self._mixed(sets, self.rows_left))

    # ── the numbers of a token ──────────────────────────────────────────────────────────────────

    def _numbers(self, assembling: Assembling) -> Iterator[Taken]:
        """Of tokens, their unclaimed numbers: all that vary, random halves and quarters, each by itself and each two; of the sets that move the
        answer a smallest one is told."""
        layer = assembling.layer
        held = assembling.vectors.double().cpu().numpy()
        free = [c for c in layer.columns(self.probe.units[0]) if np.ptp(held[:, c]) > 0]
        stream = Stream(SEED, len(free))
        if not free:
            return
        wide = [tuple(free), *random_parts(free, 2, _HALVES, stream), *random_parts(free, 4, _QUARTERS, stream)]
        pairs = list(combinations(free, 2))
        few: list[tuple[int, ...]] = [(one,) for one in free]
        if (len(wide) + len(few) + len(pairs)) * _ENOUGH <= self.rows_left:
            few += pairs
        sets = [self._of_columns(some) for some in dict.fromkeys([*wide, *few])]
        found = list(self._mixed(sets, self.rows_left))
        self.numbers = bool(found)
        moving = [(one, mixtures) for one, mixtures in found if self._moves(mixtures.moved, len(sets))]
        if not moving:
            if found:
                yield self._told(*found[0])
            return
        one, mixtures = min(moving, key=lambda some: (len(some[0].columns), -some[1].moved.sum()))
        yield self._told(*self._smallest(one, mixtures, len(sets)))

    def _moves(self, hits: np.ndarray, sets: int) -> bool:
        assert self.assembling is not None
        return exceeds(of_pairs(hits, False), self.assembling.wrong, sets)

    def _smallest(self, one: _Set, mixtures: Mixtures, sets: int) -> tuple[_Set, Mixtures]:
        """A set of numbers of which none can be left out, from one that moves the answer."""
        columns = [column for (column,) in one.columns]
        size = max(1, len(columns) // 2)
        while len(columns) > 1:
            for start in range(0, len(columns), size):
                rest = columns[:start] + columns[start + size :]
                some = next(self._mixed([self._of_columns(tuple(rest))], 4 * _ENOUGH), None) if rest else None
                if some is not None and self._moves(some[1].moved, sets):
                    columns, (one, mixtures) = rest, some
                    break
            else:
                if size == 1:
                    break
                size = max(1, size // 2)
        return one, mixtures

    def _of_columns(self, columns: Sequence[int]) -> _Set:
        assert self.assembling is not None
        width = self.assembling.layer.width
        told = told_numbers(self.probe.site, columns, width)
        tokens = tuple(dict.fromkeys(column // width for column in columns))
        return _Set(tokens, told, tuple((column,) for column in columns), self._each(len(columns), True))

    # ── beside what other inputs have at the places ─────────────────────────────────────────────

    def _beside_places(self, assembling: Assembling) -> Iterator[Taken]:
        """Sets of units that are mixed, and then what is at the places of each variable is taken from an input with the same value of it: those
        that move the answer then, and neither before nor if the places alone are so taken.

        A place that holds its variable and nothing else is the same to the network whatever else stands in the layer. A mixture may leave an
        answer near to another one; so only those are looked at in which it stays as clear as usual, and becomes another one as clearly.
        """
        probe, units = self.probe, self.probe.units[0]
        places = assembling.layer.blocks(self.own, int(assembling.inputs[0]))
        places = {name: columns for name, columns in places.items() if assembling.varies(columns, [name])}
        if not places or probe.beyond:
            return
        stream = Stream(SEED, len(units), "places")
        chosen = (
            [some for size in range(1, len(units) + 1) for some in combinations(units, size)]
            if len(units) <= ALL
            else [units, *random_parts(units, 2, _HALVES, stream), *((unit,) for unit in units[:FEW])]
        )
        sets = [self._units(one) for one in dict.fromkeys(chosen)]
        n = min(_ROWS, self.rows_left // (2 * len(sets)))
        if n < LEAST:
            return
        base = assembling.rows(n)
        swapped = [(columns, assembling.alike(base, [name])) for name, columns in places.items()]
        (alone,) = assembling.run(base, [swapped])
        told = of_pairs(alone.moved & alone.sure, False)
        if len(places) > 1 and exceeds(told, self.allowed, 1):
            self.findings.append(places_finding(told, tuple(places), str(Place(probe.site))))
        own = [list(zip(one.columns, assembling.own(len(one.columns), n), strict=True)) for one in sets]
        before = assembling.run(base, own)
        after = assembling.run(base, [[*one, *swapped] for one in own])
        allowed = max(self.allowed, float(alone.moved.mean()))
        for one, first, then in zip(sets, before, after, strict=True):
            kept = ~alone.moved & alone.sure & ~first.moved & first.sure
            hits = of_pairs((then.moved & then.sure)[kept], False)
            if hits.value and kept.sum() >= LEAST and (not allowed or exceeds(hits, allowed, len(sets))):
                yield Taken(
                    one.units,
                    one.told,
                    hits,
                    unwritten_at(probe, self.own, one.units),
                    True,
                    assembling.differing(then),
                    beside=tuple(places),
                    each=one.each,
                )


__all__ = ["Mixing"]
