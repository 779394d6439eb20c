"""The rest of a layer beside variables that are written through features, taken from other inputs.

A feature takes a part of a layer's vector that no coordinate has by itself. So coordinates are taken from other inputs, and then what the
feature takes is put back as it was: all that is changed is the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from causal_dsl.base.counter import Stream, normals
from causal_dsl.causal.condition_functions import Columns
from causal_dsl.controls.assembling import Assembling, Mixtures
from causal_dsl.controls.exchanging import exchanged
from causal_dsl.controls.kept_features import FeatureClaim, claims_at, layer_of_features, same_tokens
from causal_dsl.controls.layer_vectors import LayerVectors
from causal_dsl.controls.rest_sets import NumbersTaken, ways_to_take
from causal_dsl.diagnostics import SpecError
from causal_dsl.engine.execute import Execution
from causal_dsl.planning.alike_pairs import told
from causal_dsl.planning.claims import ways_of
from causal_dsl.planning.probe_rows import FREE, LEAST, SEED, in_tokens, is_small, rows_beside_features
from causal_dsl.planning.unclaimed import part, told_numbers
from causal_dsl.program.components import width
from causal_dsl.program.probed import Unmapped, Why
from causal_dsl.program.program import Test
from causal_dsl.score.codes import FULL
from causal_dsl.score.estimates_and_findings import Estimate, Finding
from causal_dsl.score.numbered_values import decides, numbered
from causal_dsl.score.results import CellResult
from causal_dsl.score.through import exchanged_finding, ignored_finding, through_findings
from causal_dsl.score.unmapped import Taken, Unclaimed, exceeds, of_pairs, one_of
from causal_dsl.vocabulary.locations import Place

#: The rows of all sets together in a small network, and the most of one set.
_ALL_ROWS, _ROWS = FREE // 4, 512
#: In so many mixtures the coordinates that stay have to give the answer that is needed; and in how many sets that is asked.
_CARRIED, _JUDGED = 0.98, 8
#: Decimals in which two numbers are one.
_DIGITS = 6
#: In so many mixtures, and as many again, random directions may hold what is needed half-way, so that no value changes the answer.
_HELD = 0.05
#: How many projections on random directions there are of each size.
_TURNS = 8
#: Where rows cost, one of so many is spent on reading an input.
_READ = 4


def with_rest_of_features(cell: CellResult, number: int, test: Test, execution: Execution, rows: int = 0) -> CellResult:
    """The cell ``number`` of a test, told whether the rest of the layer moves the answer where its variables are written through features: beside
    a full verdict. ``rows``: in how many prompts, where these cost."""
    site = layer_of_features(test, number)
    if site is None or cell.verdict is None or cell.verdict.code not in FULL or not same_tokens(test, execution):
        return cell
    inputs = execution.plan.inputs[test.network.key]
    free = (_ALL_ROWS if is_small(inputs) else rows_beside_features(inputs)) // test.unlike
    claims = [one for one in claims_at(test, number, site, execution) if test.readout.variable not in one.placed]
    for claim in claims if free else [one for one in claims[:1] if one.given and rows]:
        for why, varied in _ways(test, execution, claim):
            probe = Unmapped(number, site, ((),), claim.placed, varied, why, in_tokens(inputs))
            if probe.tokens and LayerVectors(execution, test, probe).unfit:
                return cell
            cell = _Rest(test, execution, probe, claim, free or rows, not free).told_to(cell)
        if any(one.code == "unmapped_moves" and one.severity == "alarm" for one in cell.findings):
            break
    return cell


def _ways(test: Test, execution: Execution, claim: FeatureClaim) -> list[tuple[Why, tuple[str, ...]]]:
    """In which inputs of the model the rest may differ: in any if the claimed variables determine the answer; else in those that do not reach it, and in
    those that reach it through these variables alone. With the last goes all that goes with a feature, also what a fit misses of it."""
    ways = [way for way in ways_of(test, execution.plan.draw_of(test), claim.placed, False) if way[1]]
    return [way for way in ways if way[0] in ("decided", "idle") or (way[0] == "through" and claim.given)]


class _Rest:
    """The rest of the layer of a ``probe``, beside what a ``claim`` has there. ``rows``: how many may be run; ``few``: each of them costs."""

    def __init__(self, test: Test, execution: Execution, probe: Unmapped, claim: FeatureClaim, rows: int, few: bool):
        self.test, self.probe, self.claim, self.few = test, probe, claim, few
        self.decided = probe.why == "decided"
        read = rows // _READ if few else None
        self.rows = rows - 2 * (read or 0)
        self.assembling = Assembling(execution, (test,), probe, self._kept, read)
        self.stream = Stream(SEED, "rest of features", probe.cell)
        self.wide = (width(probe.site, test.network.facts) or 0) if probe.tokens else 0

    def _kept(self, mixed: torch.Tensor, base: np.ndarray, own: bool) -> torch.Tensor:
        """Mixed vectors [n, width] with what is claimed as the inputs ``base`` [n] have it. ``own``: these are mixtures of the same inputs, so that their
        vectors may stand for what is no mixture."""
        vectors = self.assembling.vectors
        return self.claim.keep(mixed, vectors[torch.from_numpy(base)], vectors if own else vectors[:0])

    def told_to(self, cell: CellResult) -> CellResult:
        """The cell, told what moves the answer."""
        taken, judged, allowed = self._taken(cell)
        if not taken:
            return cell
        probe, claim = self.probe, self.claim
        found = Unclaimed(
            str(Place(probe.site)),
            probe.placed,
            probe.varied,
            probe.why,
            probe.tokens,
            self.test.readout.variable,
            taken,
            self.assembling.wrong,
            judged,
            allowed,
            inside=self.few,
            through=claim.through,
            numbers=probe.tokens,
        )
        findings = through_findings(found, claim.given)
        if not self.decided and not any(one.code == "unmapped_moves" for one in findings):
            more = self._beside_directions(found, allowed)
            findings = more if any(one.code == "unmapped_moves" for one in more) else findings or more
        return replace(cell, unclaimed=(*cell.unclaimed, found), findings=one_of(cell.findings, findings))

    def _beside_directions(self, found: Unclaimed, allowed: float) -> list[Finding]:
        """Where something else than the claimed variables counts too: what shows only in directions that no input varies in."""
        if self.few:
            return []
        turned = list(self._turned(self._varied()))
        if self.claim.given:
            one = exchanged(self.assembling, self.claim, turned, self.rows, allowed)
            if one is not None:
                return [exchanged_finding(found, one)]
        ignored = self._ignored(allowed, turned)
        return [] if ignored is None else [ignored_finding(found, *ignored)]

    # ── what is taken ───────────────────────────────────────────────────────────────────────────

    def _taken(self, cell: CellResult) -> tuple[tuple[Taken, ...], tuple[bool, ...], float]:
        """Sets of coordinates and in which share of mixtures the answer moves, whether each must leave it as it is, and what share
        the network's own errors and those of the interchange explain."""
        assembling = self.assembling
        if len(assembling.inputs) < LEAST:
            return (), (), 0.0
        free = self._free()
        if not free:
            return (), (), 0.0
        turned = list(self._turned(free)) if self.decided and not self.few else []
        ways = ways_to_take(free, self.wide, self.rows, self.few, self.stream)
        ways = ways[: max(1, self.rows // LEAST - len(turned))]
        n = min(_ROWS, self.rows // (len(ways) + len(turned)))
        if n < LEAST:
            return (), (), 0.0
        base = assembling.rows(n)
        donors = self._donors(base)
        if (donors == base).all():
            return (), (), 0.0
        run: list[list[tuple[Sequence[int] | torch.Tensor, np.ndarray]]] = [
            self._run(way, base, donors) for way in ways
        ]
        run += [[(projection, donors)] for _, projection in turned]
        found = assembling.run(base, run)
        iia = cell.scores["iia"].value
        allowed = max(assembling.wrong, 0.0 if iia is None else 1 - iia)
        taken = [self._told(way, said) for way, said in zip(ways, found, strict=False)]
        taken += [
            Taken(free, name, of_pairs(said.moved & said.sure, False))
            for (name, _), said in zip(turned, found[len(ways) :], strict=True)
        ]
        # What the answer needs else may be in parts of the rest; all of it from one input is a rest that the network has by itself.
        judged = [self.decided or not i for i in range(len(taken))]
        held = assembling.vectors.double().cpu().numpy()
        moving = [
            i for i, one in enumerate(taken[: len(ways)]) if not judged[i] and exceeds(one.moved, allowed, len(taken))
        ]
        moving.sort(key=lambda i: (len(taken[i].units), -(taken[i].moved.value or 0.0)))
        for i in moving[: 0 if self.few else _JUDGED]:
            again = assembling.rows(_ROWS // 2)  # seen again, in more mixtures
            (said,) = assembling.run(again, [self._run(ways[i], again, self._donors(again))])
            taken[i] = self._told(ways[i], said)
            missed = 1 - self._carried(held, taken[i].units)
            judged[i] = missed <= 1 - _CARRIED and exceeds(taken[i].moved, max(allowed, missed), len(taken))
        return tuple(taken), tuple(judged), allowed

    def _free(self) -> tuple[int, ...]:
        """The coordinates that differ between inputs that the rest may be taken from."""
        fixed, varied = self._fixed(), self._varied()
        return tuple(column for column in varied if not fixed or self.assembling.varies([column], fixed))

    def _varied(self) -> tuple[int, ...]:
        """The coordinates that are not the same in all inputs."""
        vectors = self.assembling.vectors
        spread = vectors.amax(dim=0) - vectors.amin(dim=0)
        return tuple(torch.nonzero(spread).flatten().tolist())

    def _fixed(self) -> list[str]:
        """The inputs of the model in which the rest may not differ."""
        if self.decided:
            return []
        names = (*self.test.model.exogenous, "template")
        return [name for name in names if name not in self.probe.varied and name in self.assembling.values]

    def _donors(self, base: np.ndarray) -> np.ndarray:
        """For each of the inputs ``base`` [n] another one: any, or one that differs from it in what may differ alone."""
        fixed = self._fixed()
        return self.assembling.alike(base, fixed) if fixed else self.assembling.own(1, len(base))[0]

    def _run(
        self, way: NumbersTaken, base: np.ndarray, donors: np.ndarray
    ) -> list[tuple[Sequence[int] | torch.Tensor, np.ndarray]]:
        if not way.mixed:
            return [(way.parts[0], donors)]
        return [(one, self._donors(base)) for one in way.parts]

    def _told(self, way: NumbersTaken, said: Mixtures) -> Taken:
        hits = of_pairs(said.moved & said.sure, False)
        varied = self.probe.varied if way.mixed else ()
        return Taken(way.columns, self._named(way), hits, mixed=way.mixed, varied=varied, each=way.each)

    def _named(self, way: NumbersTaken) -> str:
        """The place of some coordinates, in words: of tokens, where none of their numbers is left out, these."""
        site = self.probe.site
        if not self.wide:
            return str(part(site, way.columns, False))
        if way.each == "token" or (not way.mixed and self.few):
            return str(part(site, tuple(dict.fromkeys(column // self.wide for column in way.columns)), True))
        return told_numbers(site, way.columns, self.wide)

    def _turned(self, free: tuple[int, ...]) -> Iterator[tuple[str, torch.Tensor]]:
        """Projections [width, width] on random directions of the coordinates ``free``: halves and quarters of all, and single ones. Copies of a value in
        several directions become unlike each other there, though no coordinate has one of them by itself. A coordinate that is the same in all
        inputs stays so: it may say where a token is."""
        width, count = self.assembling.vectors.shape[1], len(free)
        for word, of in (
            ("a random half of the directions", 2),
            ("a random quarter of the directions", 4),
            ("a random direction", 0),
        ):
            for number in range(_TURNS):
                size = max(1, count // of) if of else 1
                drawn = normals(SEED + number, (count, size), f"directions {of}")
                basis = torch.zeros((width, size), dtype=torch.float64)
                basis[list(free)] = torch.from_numpy(np.linalg.qr(drawn)[0])
                yield f"{word} of {Place(self.probe.site)}", basis @ basis.T

    # ── where something else counts too ─────────────────────────────────────────────────────────

    def _ignored(self, allowed: float, turned: Sequence[tuple[str, torch.Tensor]]) -> tuple[Estimate, str] | None:
        """The largest share of mixtures in which no other value of the placed variables changes the answer, clearly, when random directions of
        the rest are taken from other inputs, and which; of those mixtures in which such a value does count once what no input varies in is left
        out of them: copies of a value in several directions are unlike each other there alone. None where it is no more than errors
        explain, or where the causal model has inputs in which the value changes no answer."""
        assembling, output, values = self.assembling, self.test.readout.variable, self.assembling.values
        natural = self._varying()
        n = min(_ROWS // 2, self.rows // (2 * len(turned)))
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
        told_of = exceeds(shares[best], max(allowed, _HELD), len(shares))
        return (shares[best], turned[best][0]) if told_of else None

    def _varying(self) -> torch.Tensor | None:
        """The projection [width, width] on the directions in which the layer varies; None where these are all there are."""
        held = self.assembling.vectors.double().cpu().numpy()
        _, sizes, directions = np.linalg.svd(held - held.mean(axis=0), full_matrices=False)
        some = directions[sizes > 1e-4 * sizes.max(initial=0)]
        return None if len(some) == held.shape[1] else torch.from_numpy(some.T @ some)

    def _carried(self, held: np.ndarray, units: Sequence[int]) -> float:
        """The largest share of mixtures in which other coordinates, taken from an input that needs another answer, give it: then ``units`` are
        needed for nothing. These are all others, or those that are no copies of them; ``held`` [inputs, width] is what they are."""
        assembling, model, output = self.assembling, self.test.model, self.test.readout.variable
        n = min(_ROWS, self.rows // _JUDGED)
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
