"""The rest of a layer beside variables that are written through features, taken from other inputs.

A feature takes a part of a layer's vector that no coordinate has by itself. So coordinates are taken from other inputs, and then what the
feature takes is put back as it was: all that is changed is the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import torch

from causal_dsl.base.counter import Stream, normals
from causal_dsl.causal.condition_functions import Columns
from causal_dsl.controls.assembling import Assembling, Mixtures
from causal_dsl.diagnostics import SpecError
from causal_dsl.engine.execute import Execution
from causal_dsl.planning.alike_pairs import told
from causal_dsl.planning.claims import ways_of
from causal_dsl.planning.probe_rows import FREE, LEAST, SEED, is_small
from causal_dsl.planning.rest_of_layer import named, whole_of
from causal_dsl.planning.unclaimed import ALL, FEW, part
from causal_dsl.planning.unit_sets import random_parts
from causal_dsl.program.probed import Unmapped
from causal_dsl.program.program import Intervention, Test
from causal_dsl.program.whole_maps import writes_all
from causal_dsl.score.codes import FULL
from causal_dsl.score.estimates_and_findings import Estimate
from causal_dsl.score.numbered_values import decides, numbered
from causal_dsl.score.results import CellResult
from causal_dsl.score.unmapped import Taken, Unclaimed, exceeds, ignored_finding, of_pairs, through_findings
from causal_dsl.vocabulary.locations import Place, Site
from causal_dsl.vocabulary.values.from_run import FromRun

#: Of many coordinates, how many random halves and how many quarters are taken; the rows of all sets together, and the most of one set.
_HALVES, _QUARTERS, _ALL_ROWS, _ROWS = 8, 8, FREE // 4, 512
#: In so many mixtures the coordinates that stay have to give the answer that is needed; and in how many sets that is asked.
_CARRIED, _JUDGED = 0.98, 8
#: Decimals in which two numbers are one.
_DIGITS = 6
#: How many projections on random directions there are of each size.
_TURNS = 8


def with_rest_of_features(cell: CellResult, number: int, test: Test, execution: Execution) -> CellResult:
    """The cell ``number`` of a test, told whether the rest of the layer moves the answer where its variables are written through features:
    in a small vector network, beside a full verdict."""
    site = _layer(test, number)
    small = is_small(execution.plan.inputs[test.network.key])
    if site is None or not small or cell.verdict is None or cell.verdict.code not in FULL:
        return cell
    mine = [i for i in test.cells[number].interventions if i.variable]
    placed = tuple(dict.fromkeys(i.variable for i in mine if i.variable))
    ways = [way for way in ways_of(test, execution.plan.draw_of(test), placed, False) if way[1]]
    if not ways or test.readout.variable in placed:
        return cell
    given = cell.learned is not None and all(feature.given for feature in cell.learned.features)
    decided = ways[0][0] == "decided"
    if not decided:
        # What reaches the answer through a variable changes all that goes with its feature, of which a part may make no sense; nor is all of it
        # clean of what a fit misses of the variable.
        idle = [way for way in ways if way[0] == "idle"]
        if not (idle or given):
            return cell
        ways = idle or ways
    why = ways[0][0]
    varied = tuple(dict.fromkeys(name for _, names in ways for name in names))
    probe = Unmapped(number, site, ((),), placed, varied, why, False)
    rest = _Rest(test, mine, execution, probe)
    taken, judged, allowed = rest.taken(cell, decided, varied)
    if not taken:
        return cell
    output, natural = test.readout.variable, rest.assembling.wrong
    refs = {ref.map: ref.told for i in mine for ref in i.features}
    found = Unclaimed(str(Place(site)), placed, varied, why, False, output, taken, natural, judged, allowed)
    found = replace(found, through=" and ".join(dict.fromkeys(refs.values())))
    told_of = through_findings(found, given)
    if not told_of and not decided and (ignored := rest.ignored(allowed)) is not None:
        told_of = [ignored_finding(found, *ignored)]
    return replace(cell, unclaimed=(*cell.unclaimed, found), findings=(*cell.findings, *told_of))


def _layer(test: Test, number: int) -> Site | None:
    """The layer at which all variables of a cell are written, some of them through features that have not all of their places; else None."""
    mine = [i for i in test.cells[number].interventions if i.variable]
    facts = test.network.facts
    if not mine or all(writes_all(i, facts) for i in mine):
        return None
    for i in mine:
        value = i.value
        plain = isinstance(value, FromRun) and value.places == i.places and not (i.add or i.to or i.inside)
        if not plain or any(ref.joined or ref.reads for ref in i.features):
            return None
    sites = {whole_of(named(place, facts).site) for i in mine for place in i.places}
    return next(iter(sites)) if len(sites) == 1 else None


class _Rest:
    """The rest of the layer of a ``probe``, beside what the interventions ``mine`` write there."""

    def __init__(self, test: Test, mine: Sequence[Intervention], execution: Execution, probe: Unmapped):
        self.test, self.probe = test, probe
        facts = test.network.facts
        self.written = [
            (named(place, facts).site.dims, ref)
            for i in mine
            for place, ref in zip(i.places, i.features or (None,) * len(i.places), strict=True)
        ]
        self.features = {ref.map: execution.features[ref.map] for _, ref in self.written if ref is not None}
        self.assembling = Assembling(execution, (test,), probe, self._kept)
        self.stream = Stream(SEED, "rest of features", probe.cell)

    def _kept(self, mixed: torch.Tensor, base: np.ndarray) -> torch.Tensor:
        """Mixed vectors [n, width] with what is written in place as the inputs ``base`` [n] have it."""
        own = self.assembling.vectors[torch.from_numpy(base)]
        for dims, ref in self.written:
            at = list(range(mixed.shape[1]) if dims is None else dims)
            put = own[:, at]
            if ref is not None:
                block = None if ref.block is None else slice(*ref.block)
                put = self.features[ref.map].swap(mixed[:, at], put, block)
            mixed[:, at] = put.to(mixed)
        return mixed

    def taken(
        self, cell: CellResult, decided: bool, varied: tuple[str, ...]
    ) -> tuple[tuple[Taken, ...], tuple[bool, ...], float]:
        """Sets of coordinates and in which share of mixtures the answer moves, whether each must leave it as it is, and what share
        the network's own errors and those of the interchange explain."""
        assembling = self.assembling
        if len(assembling.inputs) < LEAST:
            return (), (), 0.0
        held = assembling.vectors.double().cpu().numpy()
        free = tuple(np.flatnonzero(np.ptp(held, axis=0) > 0).tolist())
        sets = [free] if self.probe.why == "through" else self._sets(free)
        n = min(_ROWS, _ALL_ROWS // self.test.unlike // (1 + _HALVES + _QUARTERS + len(sets)))
        if not free or n < LEAST:
            return (), (), 0.0
        base = assembling.rows(n)
        donors = self._donors(base, decided, varied)
        if (donors == base).all():
            return (), (), 0.0
        ways: list[list[tuple[Sequence[int] | torch.Tensor, np.ndarray]]] = [[(one, donors)] for one in sets]
        wide = [one for one in sets[: 1 + _HALVES + _QUARTERS] if len(one) > 1 and len(sets) > 1]
        ways += [[((unit,), self._donors(base, decided, varied)) for unit in one] for one in wide]
        turned = (
            list(self._turned()) if decided else []
        )  # what the answer needs else is in many of these directions, and moves with them
        ways += [[(projection, donors)] for _, projection in turned]
        found = assembling.run(base, ways)
        iia = cell.scores["iia"].value
        allowed = max(assembling.wrong, 0.0 if iia is None else 1 - iia)
        kinds = [*((one, False) for one in sets), *((one, True) for one in wide)]
        taken = [self._told(one, mixed, said, varied) for (one, mixed), said in zip(kinds, found, strict=False)]
        taken += [
            Taken(free, name, of_pairs(said.moved & said.sure, False))
            for (name, _), said in zip(turned, found[len(kinds) :], strict=True)
        ]
        judged = [
            decided or not i for i in range(len(taken))
        ]  # all of them from one input: a rest that the network has by itself
        moving = [
            i for i, one in enumerate(taken[: len(kinds)]) if not judged[i] and exceeds(one.moved, allowed, len(taken))
        ]
        moving.sort(key=lambda i: (len(taken[i].units), -(taken[i].moved.value or 0.0)))
        for i in moving[:_JUDGED]:
            one, mixed = kinds[i]  # seen again, in more mixtures
            again = assembling.rows(_ROWS // 2)
            few = [one] if not mixed else [(unit,) for unit in one]
            (said,) = assembling.run(again, [[(some, self._donors(again, decided, varied)) for some in few]])
            taken[i] = self._told(one, mixed, said, varied)
            missed = 1 - self._carried(held, taken[i].units)
            judged[i] = missed <= 1 - _CARRIED and exceeds(taken[i].moved, max(allowed, missed), len(taken))
        return tuple(taken), tuple(judged), allowed

    def _sets(self, free: tuple[int, ...]) -> list[tuple[int, ...]]:
        """All coordinates, and sets of them: all there are of few; of more, random halves and quarters, each, and each two if rows suffice."""
        if len(free) <= ALL:
            return [free, *(some for size in range(1, len(free)) for some in combinations(free, size))]
        sets = [free]
        for count, of in ((_HALVES, 2), (_QUARTERS, 4)):
            sets += random_parts(free, of, count, self.stream)
        sets += [(unit,) for unit in free[:FEW]]
        pairs = list(combinations(free, 2))
        if (2 * len(sets) + len(pairs)) * LEAST <= _ALL_ROWS // self.test.unlike:
            sets += pairs
        return list(dict.fromkeys(sets))

    def _turned(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Projections [width, width] on random directions: halves and quarters of all, and single ones. Copies of a value in several directions
        become unlike each other there, though no coordinate has one of them by itself."""
        width = self.assembling.vectors.shape[1]
        for word, of in (
            ("a random half of the directions", 2),
            ("a random quarter of the directions", 4),
            ("a random direction", 0),
        ):
            for number in range(_TURNS):
                count = max(1, width // of) if of else 1
                drawn = normals(SEED + number, (width, count), f"directions {of}")
                basis = torch.from_numpy(np.linalg.qr(drawn)[0])
                yield f"{word} of {Place(self.probe.site)}", basis @ basis.T

    def ignored(self, allowed: float) -> tuple[Estimate, str] | None:
        """The largest share of mixtures in which no other value of the placed variables changes the answer, clearly, when random directions of
        the rest are taken from other inputs, and which; of those mixtures in which such a value does count once what no input varies in is left
        out of them: copies of a value in several directions are unlike each other there alone. None where it is no more than errors
        explain, or where the causal model has inputs in which the value changes no answer."""
        assembling, output, values = self.assembling, self.test.readout.variable, self.assembling.values
        natural, turned = self._varying(), list(self._turned())
        n = min(_ROWS // 2, _ALL_ROWS // self.test.unlike // (2 * len(turned)))
        if natural is None or n < LEAST or len(assembling.inputs) < LEAST:
            return None
        base, partner = assembling.rows(n), assembling.own(1, n)[0]
        apart = np.any([values[name][base] != values[name][partner] for name in self.probe.placed], axis=0)
        base, partner = base[apart], partner[apart]
        if len(base) < LEAST:
            return None
        try:
            label = told(self.test.model, output, self.probe.placed, _rows(values, partner), _rows(values, base))
        except SpecError:
            return None
        if (label == values[output][base]).any():
            return None
        donors = assembling.own(1, len(base))[0]

        def alike(projections: Sequence[torch.Tensor]) -> list[tuple[np.ndarray, np.ndarray]]:
            ways: list[list[tuple[Sequence[int] | torch.Tensor, np.ndarray]]] = [[(one, donors)] for one in projections]
            pairs = zip(assembling.run(base, ways), assembling.run(base, ways, partner), strict=True)
            return [(one.said == other.said, one.sure & other.sure) for one, other in pairs]

        plain = assembling.run(base, [[((), base)]], partner)[0]
        kept = plain.moved & plain.sure
        mixed, within = alike([one for _, one in turned]), alike([one @ natural for _, one in turned])
        shares = [
            of_pairs((same & sure & ~still)[kept], False)
            for (same, sure), (still, _) in zip(mixed, within, strict=True)
        ]
        best = max(range(len(shares)), key=lambda i: shares[i].value or 0.0)
        return (shares[best], turned[best][0]) if exceeds(shares[best], allowed, len(shares)) else None

    def _varying(self) -> torch.Tensor | None:
        """The projection [width, width] on the directions in which the layer varies; None where these are all there are."""
        held = self.assembling.vectors.double().cpu().numpy()
        _, sizes, directions = np.linalg.svd(held - held.mean(axis=0), full_matrices=False)
        some = directions[sizes > 1e-4 * sizes.max(initial=0)]
        return None if len(some) == held.shape[1] else torch.from_numpy(some.T @ some)

    def _donors(self, base: np.ndarray, decided: bool, varied: tuple[str, ...]) -> np.ndarray:
        """For each of the inputs ``base`` [n] another one: any, or one that differs from it in ``varied`` alone."""
        if decided:
            return self.assembling.own(1, len(base))[0]
        values = self.assembling.values
        fixed = [name for name in (*self.test.model.exogenous, "template") if name not in varied and name in values]
        return self.assembling.alike(base, fixed) if fixed else self.assembling.own(1, len(base))[0]

    def _told(self, one: tuple[int, ...], mixed: bool, said: Mixtures, varied: tuple[str, ...]) -> Taken:
        hits = of_pairs(said.moved & said.sure, False)
        told_of = str(part(self.probe.site, one, False))
        return Taken(one, told_of, hits, mixed=mixed, varied=varied if mixed else ())

    def _carried(self, held: np.ndarray, units: Sequence[int]) -> float:
        """The largest share of mixtures in which other coordinates, taken from an input that needs another answer, give it: then ``units`` are
        needed for nothing. These are all others, or those that are no copies of them; ``held`` [inputs, width] is what they are."""
        assembling, model, output = self.assembling, self.test.model, self.test.readout.variable
        n = min(_ROWS, _ALL_ROWS // _JUDGED)
        base, other = assembling.rows(n), assembling.own(1, n)[0]
        first, second = (_rows(assembling.values, rows) for rows in (base, other))
        try:
            label = told(model, output, self.probe.placed, first, second)
        except SpecError:
            return 0.0
        asked = label != assembling.values[output][base]
        if asked.sum() < LEAST:
            return 0.0
        base, other, label = base[asked], other[asked], label[asked]
        held = np.round(held, _DIGITS)
        rest, same = [unit for unit in range(held.shape[1]) if unit not in units], numbered(held[:, list(units)])
        unlike = [unit for unit in rest if not decides(same, numbered(held[:, [unit]]))]
        said = assembling.run(base, [[(some, other)] for some in (rest, unlike) if some])
        return max((float(model.accepted(output).right(one.said, label).mean()) for one in said), default=0.0)


def _rows(values: Columns, rows: np.ndarray) -> Columns:
    return {name: column[rows] for name, column in values.items()}


__all__ = ["with_rest_of_features"]
