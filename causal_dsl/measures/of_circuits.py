"""Scores of a circuit that is intervened on: how much of a metric it carries, whether it is complete and minimal.

Each is relative to how far the metric is from the base run, ``B``, to the run in which every node is written, ``A``. ``F(K)`` is the
run in which the nodes of K alone are left as they are. The runs beside the patched one
(:mod:`causal_dsl.planning.circuit_runs`) are columns under names of their own (:mod:`causal_dsl.measures.circuit_run_names`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import field, replace
from typing import ClassVar, Literal, Self

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.measures.cell_data import CellData
from causal_dsl.measures.circuit_run_names import (
    CUT,
    EMPTY,
    KEEP,
    RANDOM_NODES,
    RANDOM_SUBSETS,
    SUBSETS,
    cut_subset,
    half_without,
    kept_without,
    kept_without_node,
    of_random,
)
from causal_dsl.measures.evaluation import Evaluation, divide
from causal_dsl.measures.per_cell import AcrossCells, CellScore
from causal_dsl.measures.per_pair import FixedNumber, Need
from causal_dsl.measures.ratios import MeanOfRatios, MedianOfRatios, Ratio, Relative
from causal_dsl.measures.weighted_sums import Array


@dataclass(frozen=True)
class OfCircuit(Relative):
    """A score of a circuit for the metric ``pair``. ``outside``: the patched run writes what is outside of it; ``random``: the number
    of the random circuit that it is of."""

    outside: bool
    random: int | None = field(default=None, kw_only=True)

    #: which of two values speaks more for a circuit
    better: ClassVar[Literal["high", "low"]] = "high"
    #: whether it is computed of random circuits, too
    beside: ClassVar[bool] = True

    @property
    def own(self) -> tuple[str, ...]:
        """The runs that it is made from, of the circuit itself."""
        raise NotImplementedError

    def run(self, name: str) -> str:
        """The run of a random circuit that stands for one of the circuit."""
        if self.random is None:
            return name
        return of_random(self.random, (KEEP if self.outside else CUT) if name == "patched" else name)

    @property
    def runs(self) -> tuple[str, ...]:
        """The runs that it is made from."""
        return tuple(map(self.run, self.own))

    def narrowed(self) -> Self:
        """The same by as small a search as random circuits have."""
        return self

    @property
    def searched(self) -> str:
        """The circuits that the narrowed search looks at, in words; empty where nothing is searched."""
        return ""

    def of_random(self, number: int) -> Self:
        """The same of a random circuit."""
        return replace(self.narrowed(), random=number)

    def needs(self) -> Iterator[Need]:
        # the table of pairs has the metric in the patched run, whatever runs a score is made from
        own = ("patched",) if self.random is None else ()
        for run in dict.fromkeys((*self.runs, *own)):
            yield from self.pair.needs(run)

    def contrast(self, frame: CellData) -> Array:
        return self.pair.of(frame, "base") - self.pair.of(frame, EMPTY)

    @property
    def between(self) -> str:
        return "the mean difference between the base run and the empty circuit"

    def gap(self, frame: CellData, one: str, other: str) -> Array:
        """The metric in one run less that in another, for each pair [n]."""
        return self.pair.of(frame, self.run(one)) - self.pair.of(frame, self.run(other))

    def change(self, env: Evaluation, one: str, other: str) -> Array:
        """The sum over the pairs of the metric in one run less that in another."""
        return env.total(lambda f: self.gap(f, one, other))


@dataclass(frozen=True)
class Faithfulness(OfCircuit, Ratio):
    """``(F(C) - A) / (B - A)`` where what is outside of the circuit is written; where the circuit is, ``(P - B) / (A - B)``, with P the
    patched run: how far writing it alone goes."""

    @property
    def own(self) -> tuple[str, ...]:
        return ("patched", "base", EMPTY)

    def gained(self, frame: CellData) -> Array:
        return self.gap(frame, "patched", EMPTY if self.outside else "base")

    def contrast(self, frame: CellData) -> Array:
        return self.gap(frame, "base", EMPTY) if self.outside else self.gap(frame, EMPTY, "base")


@dataclass(frozen=True)
class FaithfulnessPerPair(MeanOfRatios, Faithfulness):
    """The same as a mean of ratios, over the pairs in which the metric differs between the two ends."""


@dataclass(frozen=True)
class FaithfulnessMedian(MedianOfRatios, Faithfulness):
    """The same as the median of the ratios, over the pairs in which the metric differs between the two ends."""


@dataclass(frozen=True)
class CircuitCurve(AcrossCells):
    """The area under faithfulness (``cpr``), or under its distance from 1 (``cmd``), over the size of the circuits of a sweep
    (Mueller et al. 2025): ``shares`` are the weighted edges of each cell's circuit, as shares of all edges. The empty circuit (0 at
    0) and the full one (1 at 1) are the ends of the curve, which is straight between its points."""

    which: str
    score: Faithfulness
    shares: tuple[float, ...]

    @property
    def better(self) -> Literal["high", "low"]:
        """Which of two values speaks more for the circuits."""
        return "high" if self.which == "cpr" else "low"

    @property
    def parts(self) -> tuple[CellScore | FixedNumber, ...]:
        return (self.score,)

    def of_random(self, number: int, shares: Sequence[float]) -> CircuitCurve:
        """The same of one random circuit in the place of each."""
        return replace(self, score=self.score.of_random(number), shares=tuple(shares))

    def evaluate(self, env: Evaluation) -> Array:
        found = env.of(self.score)
        if found.shape[1] != len(self.shares):  # not all cells were measured
            return np.full((len(found), 1), np.nan)
        order = np.argsort(self.shares, kind="stable")
        sizes = np.concatenate([[0.0], np.asarray(self.shares)[order], [1.0]])
        ends = np.zeros((len(found), 1)), np.ones((len(found), 1))
        curve = np.concatenate([ends[0], found[:, order], ends[1]], axis=1)
        area: Array = np.trapezoid(curve if self.which == "cpr" else np.abs(1 - curve), sizes, axis=1)
        return area[:, None]


@dataclass(frozen=True)
class Sufficiency(OfCircuit, Ratio):
    """``(F(C) - A) / (B - A)``: what is left where all but the circuit is written."""

    @property
    def own(self) -> tuple[str, ...]:
        return (KEEP, "base", EMPTY)

    def gained(self, frame: CellData) -> Array:
        return self.gap(frame, KEEP, EMPTY)


@dataclass(frozen=True)
class Necessity(OfCircuit, Ratio):
    """``(B - F(M without C)) / (B - A)``: what is lost where the circuit alone is written."""

    @property
    def own(self) -> tuple[str, ...]:
        return (CUT, "base", EMPTY)

    def gained(self, frame: CellData) -> Array:
        return self.gap(frame, "base", CUT)


@dataclass(frozen=True)
class Completeness(OfCircuit):
    """The largest of ``|F(C without K) - F(M without K)| / |B - A|`` over the first ``subsets`` of the subsets K of the circuit that are
    tried (Wang et al. 2023): 0 where the circuit is complete."""

    subsets: int = field(default=SUBSETS, kw_only=True)

    better = "low"

    @property
    def own(self) -> tuple[str, ...]:
        tried = (run(k) for k in range(self.subsets) for run in (kept_without, cut_subset))
        return ("base", EMPTY, *tried)

    def narrowed(self) -> Self:
        return replace(self, subsets=RANDOM_SUBSETS)

    @property
    def searched(self) -> str:
        return "over K all of the circuit, and a random half"

    def evaluate(self, env: Evaluation) -> Array:
        gaps = [self.change(env, kept_without(k), cut_subset(k)) for k in range(self.subsets)]
        return divide(np.abs(np.stack(gaps)).max(axis=0), np.abs(env.total(self.contrast)))


@dataclass(frozen=True)
class Minimality(OfCircuit):
    """The smallest effect of a node: ``|F(C without (K and v)) - F(C without K)| / |B - A|``, for each node v with the larger of K
    empty and K a random half of the circuit (Wang et al. 2023): 0 where a node is not needed. ``nodes``: the numbers of those that are looked at;
    without ``halves``, K is empty alone."""

    nodes: tuple[int, ...]
    halves: bool = field(default=True, kw_only=True)

    @property
    def own(self) -> tuple[str, ...]:
        tried = [kept_without_node(n) for n in self.nodes]
        if self.halves:
            tried += [half_without(n, node) for n in self.nodes for node in (False, True)]
        return (KEEP, "base", EMPTY, *tried)

    def narrowed(self) -> Self:
        spread = np.unique(np.linspace(0, len(self.nodes) - 1, RANDOM_NODES).astype(int)).tolist()
        return replace(self, nodes=tuple(self.nodes[i] for i in spread), halves=False)

    def of_random(self, number: int) -> Self:
        return replace(self, nodes=tuple(range(min(RANDOM_NODES, len(self.nodes)))), halves=False, random=number)

    @property
    def searched(self) -> str:
        count = len(self.narrowed().nodes)
        return f"over {count} of its members, with K empty" if count > 1 else "over one of its members, with K empty"

    def evaluate(self, env: Evaluation) -> Array:
        effects = []
        for n in self.nodes:
            alone = np.abs(self.change(env, kept_without_node(n), KEEP))
            if self.halves:
                alone = np.maximum(alone, np.abs(self.change(env, half_without(n, True), half_without(n, False))))
            effects.append(alone)
        return divide(np.stack(effects).min(axis=0), np.abs(env.total(self.contrast)))


__all__ = [
    "CircuitCurve",
    "Completeness",
    "Faithfulness",
    "FaithfulnessMedian",
    "FaithfulnessPerPair",
    "Minimality",
    "Necessity",
    "OfCircuit",
    "Sufficiency",
]
