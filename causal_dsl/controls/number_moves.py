"""Units that no variable claims, taken from other inputs beside a test whose output is a number.

A number has no other answer to become. It moves where it changes by more than the network's usual error explains.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import torch

from causal_dsl.base.counter import Stream
from causal_dsl.causal.condition_functions import Columns as Values
from causal_dsl.controls.carrying import needed
from causal_dsl.controls.layer_vectors import unwritten_at
from causal_dsl.diagnostics import SpecError
from causal_dsl.engine.execute import Execution
from causal_dsl.engine.readings import Numbers
from causal_dsl.measures.cell_data import CellData
from causal_dsl.measures.quantities import Columns
from causal_dsl.network.forward import SiteRead, SiteWrite, forward
from causal_dsl.planning.alike_pairs import told
from causal_dsl.planning.claims import claims_of, ways_of
from causal_dsl.planning.graph import Forward
from causal_dsl.planning.probe_rows import FREE, LEAST, SEED, is_small
from causal_dsl.planning.rest_of_layer import layers_of
from causal_dsl.planning.unclaimed import ALL, claimed, free_dims, told_part
from causal_dsl.planning.unit_sets import random_parts
from causal_dsl.program.probed import Unmapped
from causal_dsl.program.program import Cell, Test
from causal_dsl.score.numbered_values import decides, firsts, numbered
from causal_dsl.score.numbers_moved import number_findings
from causal_dsl.score.results import CellResult
from causal_dsl.score.unmapped import Taken, Unclaimed, of_pairs, one_of
from causal_dsl.vocabulary.locations import Place, Site

#: Distinct inputs that are put together; rows of one set at most; and random halves, and quarters, of many units.
_INPUTS, _ROWS, _PARTS = 512, 256, 8
#: A number moves if it changes by more than so many times the error that the network stays within in nine of ten inputs, and by more than this share of the
#: standard deviation of the causal model's numbers.
_ERRORS, _SPREAD, _TENTHS = 3.6, 0.05, 0.9
#: In so many pairs units have to give the number that the causal model then has, to carry what it needs.
_FOLLOWED, _TRIED, _DIGITS = 0.98, 48, 6


def with_number_moves(cell: CellResult, number: int, test: Test, execution: Execution) -> tuple[CellResult, str]:
    """The cell ``number`` of a test, told whether the number moves when what no variable claims is taken from other inputs; and why that was not
    tried, where it was not."""
    inputs = execution.plan.inputs[test.network.key]
    if not is_small(inputs):
        return cell, f"`{test.readout.variable}` is a number, and the network is no small vector network"
    reason, tried = "", False
    for _, claim in claims_of(execution.plan, test, test.cells[number], execution.plan.draw_of(test)):
        layers, why = layers_of(test, claim)
        reason = reason or why
        for layer in (one for one in layers if not one.early):
            here = claimed(test, layer.placed)
            beside = {unit for _, place in layer.beside for unit in place.site.dims or ()}
            units, why = free_dims(test, here, layer.other, layer.site)
            units = [unit for unit in units if unit not in beside]
            reason = reason or why
            if units:
                placed = tuple(p.variable for p in here)
                found = _NumberRest(execution, test, number, claim, layer.site, placed, units)
                told_of = found.taken()
                tried = tried or bool(told_of)
                reason = reason or "hardly any of its inputs are answered right"
                for one in told_of:
                    more = number_findings(one, found.least, found.usual)
                    cell = replace(cell, unclaimed=(*cell.unclaimed, one), findings=one_of(cell.findings, more))
    return cell, "" if tried else reason


class _NumberRest:
    """The unclaimed ``units`` of a layer beside a cell whose ``claim`` is that the variables ``placed`` are there."""

    def __init__(
        self,
        execution: Execution,
        test: Test,
        number: int,
        claim: Cell,
        site: Site,
        placed: tuple[str, ...],
        units: Sequence[int],
    ):
        self.execution, self.test, self.placed = execution, test, placed
        self.probe = Unmapped(number, replace(site, dims=None), (tuple(units),), placed, (), "decided", False)
        plan, key = execution.plan, test.network.key
        self.network, self.encoded = execution.networks[key], plan.inputs[key]
        drawn = plan.draw_of(test)
        index = plan.rows[Forward(key, plan.scores[test.name][0].label.draw, "base")]
        first = firsts(index)
        self.stream = Stream(SEED, len(first), "numbers")
        chosen = np.sort(self.stream.shuffled(np.arange(len(first)))[:_INPUTS])
        self.pairs = first[chosen]
        index = index[self.pairs]
        self.wanted = drawn.values["base"][test.readout.variable][self.pairs]
        self.numbers, self.index = self._reader(), index
        own = self.said(np.arange(len(index)))
        errors = np.abs(own - self.wanted)
        self.usual = float(np.quantile(errors, _TENTHS)) if len(errors) else 0.0
        self.least = max(_ERRORS * self.usual, _SPREAD * float(np.std(self.wanted))) if len(errors) else 0.0
        right = errors <= self.least
        self.natural = 1 - float(right.mean()) if len(right) else 0.0
        self.index, self.pairs, self.wanted, self.own = index[right], self.pairs[right], self.wanted[right], own[right]
        self.values: Values = {name: column[self.pairs] for name, column in drawn.values["base"].items()}
        self.vectors = self._read() if right.any() else torch.empty(0)
        held = np.round(self.vectors.double().cpu().numpy(), _DIGITS)
        self.codes = {unit: numbered(held[:, [unit]]) for unit in units} if right.any() else {}
        self.units = tuple(unit for unit in units if self.codes and self.codes[unit].max() > 0)
        self.left = FREE // max(1, test.unlike)

    # ── the network ─────────────────────────────────────────────────────────────────────────────

    def _reader(self) -> Numbers:
        number = self.test.scores.context.number
        assert number is not None
        quantities = [quantity for _, quantity in number.needs("base")]
        answers, drawn = self.execution.answers[self.test.name], self.execution.plan.draw_of(self.test)
        outputs = self.network.facts.outputs or 2**62
        return Numbers(self.test, answers, self.execution.targets, quantities, outputs, drawn)

    @torch.no_grad()
    def _read(self) -> torch.Tensor:
        rows = torch.arange(len(self.index))
        return forward(self.network, self.encoded.rows(self.index), [SiteRead(self.probe.site, rows)]).reads[0]

    @torch.no_grad()
    def said(self, some: np.ndarray, vectors: torch.Tensor | None = None) -> np.ndarray:
        """The network's numbers in some of the inputs [n], with these ``vectors`` [n, width] in the layer."""
        runs = torch.arange(len(some))
        writes = [] if vectors is None else [SiteWrite(self.probe.site, runs, None, lambda here: vectors.to(here))]
        logits = forward(self.network, self.encoded.rows(self.index[some]), writes=writes, readout=runs).logits
        assert logits is not None and self.test.scores.context.number is not None
        quantities = [quantity for _, quantity in self.test.scores.context.number.needs("base")]
        read = self.numbers.read(
            quantities,
            logits,
            runs.to(logits.device),
            self.pairs[some],
            np.zeros((len(some), 1), np.int64),
            None,
            False,
        )
        frame = CellData(Columns(read), self.wanted[some])
        return np.asarray(self.test.scores.context.number.of(frame, "base"), np.float64)

    def _with(self, base: np.ndarray, taken: Sequence[tuple[Sequence[int], np.ndarray]]) -> np.ndarray:
        """The numbers in the inputs ``base`` [n], with some units as in other inputs [n]."""
        mixed = self.vectors[torch.from_numpy(base)].clone()
        for units, donors in taken:
            mixed[:, list(units)] = self.vectors[torch.from_numpy(donors)][:, list(units)]
        self.left -= len(base)
        return self.said(base, mixed)

    # ── what is taken ───────────────────────────────────────────────────────────────────────────

    def taken(self) -> list[Unclaimed]:
        """The parts that are taken: all units together, from inputs in which the number needs the same beside the placed variables; and of the units that do not
        carry what it needs, parts from any inputs."""
        if len(self.index) < LEAST or not self.units:
            return []
        drawn = self.execution.plan.draw_of(self.test)
        decided = ways_of(self.test, drawn, self.placed, False)[:1] == [("decided", self.test.model.exogenous)]
        code = np.zeros(len(self.index), np.int64) if decided else needed(self.test, self.placed, self.values)
        if code is None:
            return []
        names = tuple(name for name in self.test.model.exogenous if len(np.unique(self.values[name])) > 1)
        if not code.any():
            return [self._unclaimed(self._parts(self.units), "decided", names)]
        base = self._rows(_ROWS)
        found = [self._unclaimed([self._one(base, self.units, self._alike(base, code))], "alike", names)]
        carrier = self._carrier(code)
        rest = () if carrier is None else tuple(unit for unit in self.units if unit not in carrier[0])
        if carrier is not None and rest:
            other = self._unclaimed(self._parts(rest), "other", names)
            found.append(replace(other, carrier=told_part(self.probe, carrier[0]), followed=carrier[1]))
        return found

    def _unclaimed(self, taken: Sequence[Taken], why: str, varied: tuple[str, ...]) -> Unclaimed:
        site, output = str(Place(self.probe.site)), self.test.readout.variable
        must, errors = (True,) * len(taken), self.natural
        return Unclaimed(site, self.placed, varied, why, False, output, tuple(taken), errors, must, errors)  # type: ignore[arg-type]

    def _rows(self, n: int) -> np.ndarray:
        return np.resize(self.stream.shuffled(np.arange(len(self.index))), n)

    def _any(self, n: int) -> np.ndarray:
        return self.stream.below(len(self.index), n)

    def _alike(self, base: np.ndarray, code: np.ndarray) -> np.ndarray:
        """For each of the inputs ``base`` [n] one (it may be the same) with the same code."""
        order = np.argsort(code, kind="stable")
        bounds = np.searchsorted(code[order], np.arange(int(code.max()) + 2))
        start, size = bounds[code[base]], bounds[code[base] + 1] - bounds[code[base]]
        found: np.ndarray = order[start + np.floor(self.stream.unit(len(base)) * size).astype(np.int64)]
        return found

    def _moved(self, base: np.ndarray, said: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.abs(said - self.own[base]) > self.least
        return found

    def _one(self, base: np.ndarray, units: tuple[int, ...], donors: np.ndarray) -> Taken:
        return self._told(units, self._moved(base, self._with(base, [(units, donors)])), False)

    def _told(self, units: tuple[int, ...], hits: np.ndarray, mixed: bool) -> Taken:
        unwritten = unwritten_at(self.probe, self.test, units)
        return Taken(units, told_part(self.probe, units), of_pairs(hits, False), unwritten, mixed)

    def _parts(self, units: tuple[int, ...]) -> list[Taken]:
        """Parts of some units, of which the number needs nothing: each from one other input, and each of its units from one of its own."""
        sets = list(dict.fromkeys(self._sets(units)))
        several = [some for some in sets if len(some) > 1]
        n = min(_ROWS, self.left // (len(sets) + len(several)))
        if n < LEAST:
            sets, several = sets[:1], several[:1]
            n = LEAST
        base, found = self._rows(n), list[Taken]()
        for some in sets:
            found.append(self._one(base, some, self._any(n)))
        for some in several:
            said = self._with(base, [((unit,), self._any(n)) for unit in some])
            found.append(self._told(some, self._moved(base, said), True))
        return found

    def _sets(self, units: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        yield units
        if len(units) <= ALL:
            for size in range(1, len(units)):
                yield from combinations(units, size)
            return
        yield from random_parts(units, 2, _PARTS, self.stream)
        yield from random_parts(units, 4, _PARTS, self.stream)
        yield from ((unit,) for unit in units)

    def _carrier(self, code: np.ndarray) -> tuple[tuple[int, ...], float] | None:
        """The fewest units that, taken alone from another input, give the number that the causal model then has, and in what share of pairs; None if none do."""
        base, other = self._rows(_ROWS), self._any(_ROWS)
        try:
            label = told(
                self.test.model,
                self.test.readout.variable,
                self.placed,
                {name: column[base] for name, column in self.values.items()},
                {name: column[other] for name, column in self.values.items()},
            )
        except SpecError:
            return None
        apart = np.abs(label - self.wanted[base]) > self.least
        base, other, label = base[apart], other[apart], label[apart]
        if len(base) < LEAST:
            return None
        alone = tuple(unit for unit in self.units if decides(code, self.codes[unit]))
        some: list[tuple[int, ...]] = [*((unit,) for unit in self.units), *combinations(self.units, 2), alone]
        if len(self.units) > ALL:
            some = [*((unit,) for unit in alone), alone, *combinations(alone, 2)]
        for units in [one for one in dict.fromkeys(some) if one][:_TRIED]:
            right = np.abs(self._with(base, [(units, other)]) - label) <= self.least
            if right.mean() >= _FOLLOWED:
                return units, float(right.mean())
        return None


__all__ = ["with_number_moves"]
