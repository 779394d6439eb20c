"""Attribution patching and integrated gradients at places: what stands at a site, against what stands there otherwise.

A site is written with itself plus a tensor of zeros whose gradient is taken, so that every site that can be written has one. All
places share one backward pass where gradients are those of the base run; each has its own along its own way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.discovery.input_pairs import Pairs
from causal_dsl.discovery.kept_scores import key_of_scores
from causal_dsl.discovery.metric_gradient import MetricGradient
from causal_dsl.discovery.stability import sample
from causal_dsl.discovery.written_runs import WrittenRun
from causal_dsl.engine.execute import Execution
from causal_dsl.engine.measured_cells import TestRun
from causal_dsl.measures.quantities import EXACT, Quantity
from causal_dsl.network.forward import SiteRead, SiteWrite, forward
from causal_dsl.network.network import Network
from causal_dsl.network.tape import TapeOutcome
from causal_dsl.planning import graph as g
from causal_dsl.planning.memory import Budget
from causal_dsl.planning.rows import Layouts
from causal_dsl.planning.work_before import is_by_gradients, ways_of
from causal_dsl.program.program import GradientWay, PlaceRead
from causal_dsl.store.once import StoredArrays, once
from causal_dsl.vocabulary.locations import Place

#: Where some pairs have a place: the rows of the batch, and their tokens.
Spots = tuple[Tensor, Tensor]


def with_gradients(
    execution: Execution, say: Callable[[str], None], memory: int | None = None, share: tuple[int, int] = (0, 1)
) -> None:
    """Put what is read by gradients into the columns of the cells that are done; ``say`` hears what is computed, and ``memory`` is what was
    asked for. Of one ``share`` of the tests and ways in base runs, where it is not the whole; those in runs that are intervened on hang on
    what is written there, and are not kept."""
    every = [(run, way, looks) for run in execution.runs.values() for way, looks in ways_of(run.test).items()]
    for place, (run, way, looks) in enumerate(every):
        if place * share[1] // len(every) == share[0]:
            _put(execution, run, way, looks, None, say, memory)
    for run in execution.runs.values() if share == (0, 1) else ():
        for (way, resume), looks in _written(run).items():
            _put(execution, run, way, looks, WrittenRun(execution, resume), say, memory)


def _put(
    execution: Execution,
    run: TestRun,
    way: GradientWay,
    looks: Sequence[tuple[int, PlaceRead]],
    written: WrittenRun | None,
    say: Callable[[str], None],
    memory: int | None,
) -> None:
    say(f"{run.test.name}: {looks[0][1].kind}"[:60])
    places = list(dict.fromkeys(look.places[0] for _, look in looks))
    scorer = _scorer(execution, run, way, places, written)
    found = scorer.kept(memory) if written is None else scorer.score()
    for cell, look in looks:
        number, columns = places.index(look.places[0]), run.cells[cell].columns
        own = columns.base if written is None else columns.patched
        for kind, values in ((look.kind, found[0]), (EXACT, found[1])):
            if run.cells[cell].done.all():
                own[Quantity(kind, place=look.asked)] = values[number]


def _written(run: TestRun) -> Mapping[tuple[GradientWay, g.Resume], list[tuple[int, PlaceRead]]]:
    """The cells and places of each way of taking gradients in a run that is intervened on."""
    found: dict[tuple[GradientWay, g.Resume], list[tuple[int, PlaceRead]]] = {}
    wanted = run.test.scores.quantities.get("patched", ())
    for number, (cell, done) in enumerate(zip(run.test.cells, run.cells, strict=True)):
        read = done.node.read("patched")
        if read is None or not isinstance(read.run, g.Resume) or not done.done.all():
            continue
        for look in cell.looks:
            if is_by_gradients(look) and any(quantity.place == look.asked for quantity in wanted):
                found.setdefault((look.arguments[0], read.run), []).append((number, look))
    return found


def _scorer(
    execution: Execution, run: TestRun, way: GradientWay, places: Sequence[Place], written: WrittenRun | None
) -> _Scorer:
    plan, test = execution.plan, run.test
    key = test.network.key
    draw = plan.scores[test.name][0].label.draw
    base, other = g.Forward(key, draw, "base"), g.Forward(key, draw, way.baseline)
    rows = plan.rows[base], plan.rows[other if way.baseline in test.roles else base]
    objective = MetricGradient(way.metric, test, execution.answers[test.name], execution.targets)
    pairs = Pairs(plan.inputs[key], *rows)
    runs = (base, other)
    return _Scorer(
        execution.networks[key],
        pairs,
        objective,
        execution.budgets[key],
        Layouts(plan),
        runs,
        way,
        tuple(places),
        written,
    )


@dataclass(eq=False)
class _Scorer:
    network: Network
    pairs: Pairs
    objective: MetricGradient
    budget: Budget
    layouts: Layouts
    runs: tuple[g.Forward, g.Forward]
    way: GradientWay
    places: tuple[Place, ...]
    #: the run that is looked at, where it is not the base run
    written: WrittenRun | None = None
    _spots: dict[int, Spots] = field(default_factory=dict)

    def kept(self, memory: int | None) -> tuple[np.ndarray, np.ndarray]:
        """As :meth:`score`, from where it is kept."""

        def make() -> StoredArrays:
            scores, exact = self.score()
            return {"scores": scores, "exact": exact}, {}

        way = self.way
        asked = (way.metric, way.baseline, way.steps, way.rule, [str(place.site) for place in self.places])
        at = [place.position for place in self.places]
        inputs = key_of_scores(list(map(repr, asked)), self.network, self.pairs, self.objective, at, memory)
        found, _ = once("gradients", "gradients at places", inputs, make)
        return found["scores"], found["exact"]

    def score(self) -> tuple[np.ndarray, np.ndarray]:
        """Of each place and pair the score, and by how much the metric falls where the baseline stands there, both [places, n]: the latter
        of all places where each takes passes of its own, else of some (NaN for the others)."""
        scores = np.zeros((len(self.places), len(self.pairs)))
        exact = np.full_like(scores, np.nan)
        for which in self._batches(gradients=True):
            own, other, base = self._values(which)
            if self.way.steps:
                for number in range(len(self.places)):
                    scores[number, which] = self._along(number, which, own[number], other[number], base)
            else:
                scores[:, which] = self._at_once(which, own, other, base)
        looked = range(len(self.places)) if self.way.steps else sample(scores.mean(axis=1))
        for which in self._batches(gradients=False):
            _, other, base = self._values(which)
            plain = self.objective.values(base, base, which)
            for number in looked:
                with torch.no_grad():
                    logits = self._run(which, writes=[self._write(number, which, other[number])]).logits
                assert logits is not None
                exact[number, which] = plain - self.objective.values(logits, base, which)
        return scores, exact

    # ── gradients ───────────────────────────────────────────────────────────────────────────────

    @torch.enable_grad()
    def _at_once(self, which: np.ndarray, own: Sequence[Tensor], other: Sequence[Tensor], base: Tensor) -> np.ndarray:
        """The scores [places, m] of all places, with gradients of the run itself."""
        moved = [torch.zeros_like(values).requires_grad_() for values in own]
        writes = [self._write(number, which, shift, add=True) for number, shift in enumerate(moved)]
        grads = self._gradients(which, writes, moved, base)
        found = np.zeros((len(self.places), len(which)))
        for number, grad in enumerate(grads):
            if grad is not None:
                found[number] = self._sums(number, which, (own[number] - other[number]) * grad)
        return found

    @torch.enable_grad()
    def _along(self, number: int, which: np.ndarray, own: Tensor, other: Tensor, base: Tensor) -> np.ndarray:
        """The scores [m] of one place, with the mean gradient along the way."""
        total = torch.zeros_like(own)
        for point in self.way.points:
            mixed = (other + point * (own - other)).requires_grad_()
            (grad,) = self._gradients(which, [self._write(number, which, mixed)], [mixed], base)
            if grad is not None:
                total += grad / self.way.steps
        return self._sums(number, which, (own - other) * total)

    def _gradients(
        self, which: np.ndarray, writes: Sequence[SiteWrite], by: Sequence[Tensor], base: Tensor
    ) -> Sequence[Tensor | None]:
        logits = self._run(which, writes=writes).logits
        assert logits is not None
        total = self.objective.total(logits, base, which)
        if not total.requires_grad:  # nothing that is written reaches the answer
            return [None] * len(by)
        found: Sequence[Tensor | None] = torch.autograd.grad(total, by, allow_unused=True)
        return found

    # ── runs ────────────────────────────────────────────────────────────────────────────────────

    def _batches(self, gradients: bool) -> Iterator[np.ndarray]:
        for which in self.pairs.batches(self.network, self.budget, gradients):
            self._spots.clear()
            yield which

    @torch.no_grad()
    def _values(self, which: np.ndarray) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """The vectors at each place in the base run and otherwise, and the logits of the base run."""
        plain = self._run(which, reads=True)
        assert plain.logits is not None
        if self.way.baseline == "0":
            other = [torch.zeros_like(values) for values in plain.reads]
        elif self.way.baseline == "mean":
            other = [mean.expand_as(values) for mean, values in zip(self._means, plain.reads, strict=True)]
        else:
            other = self._run(which, "source", reads=True).reads
        return plain.reads, other, plain.logits

    @cached_property
    def _means(self) -> list[Tensor]:
        """The mean vector at each place over all base runs."""
        sums: list[Tensor] = []
        for which in self.pairs.batches(self.network, self.budget, gradients=False):
            held, self._spots = self._spots, {}
            own = [values.double().sum(dim=0, keepdim=True) for values in self._run(which, reads=True).reads]
            self._spots = held
            sums = own if not sums else [a + b for a, b in zip(sums, own, strict=True)]
        return [(total / len(self.pairs)).to(self.network.dtype) for total in sums]

    def _run(
        self, which: np.ndarray, role: str = "base", writes: Sequence[SiteWrite] = (), reads: bool = False
    ) -> TapeOutcome:
        wanted = []
        for number, place in enumerate(self.places if reads else ()):
            rows, tokens = self._spot(number, which) if role == "base" else self._located(place, which, self.runs[1])
            wanted.append(SiteRead(place.site, rows, tokens))
        first = self.written.writes(which) if self.written is not None and role == "base" else []
        return forward(
            self.network,
            self.pairs.rows(role, which),
            wanted,
            [*first, *writes],
            readout=torch.arange(len(which)),
            positions=self.pairs.read(which, role),
            stop=False,
            padding=self.network.padding,
        )

    def _write(self, number: int, which: np.ndarray, value: Tensor, add: bool = False) -> SiteWrite:
        def edit(old: Tensor) -> Tensor:
            return old + value.to(old) if add else value.to(old)

        return SiteWrite(self.places[number].site, *self._spot(number, which), edit)

    def _spot(self, number: int, which: np.ndarray) -> Spots:
        if number not in self._spots:
            self._spots[number] = self._located(self.places[number], which, self.runs[0])
        return self._spots[number]

    def _located(self, place: Place, which: np.ndarray, run: g.Forward) -> Spots:
        rows, tokens = self.layouts.looked_at(place, run, which)
        return torch.from_numpy(np.asarray(rows)), torch.from_numpy(np.asarray(tokens))

    def _sums(self, number: int, which: np.ndarray, products: Tensor) -> np.ndarray:
        """Products [tokens of all pairs, width], summed for each pair [m]."""
        rows = self._spot(number, which)[0].numpy()
        each = products.detach().double().sum(dim=1).cpu().numpy()
        return np.bincount(rows, each, minlength=len(which))


__all__ = ["with_gradients"]
