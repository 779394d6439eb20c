"""Scores of circuits: how much of a metric a circuit carries, and whether it is all that does.

Each is a ratio of means over the pairs (Miller et al. 2024: a mean of ratios is another number). ``B`` is the metric of the base
run, ``A`` of the run in which every node is written, and ``F(K)`` of the run in which the nodes of K alone are left as they are.
The runs beside the patched one (:mod:`causal_dsl.planning.circuit_runs`) are columns under names of their own, which begin with ``@``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from causal_dsl.measures.evaluation import Array, CellData, Evaluation, divide
from causal_dsl.measures.per_cell import AcrossCells, CellScore
from causal_dsl.measures.per_pair import FixedNumber, Need, Pair

#: Runs beside a patched one: every node written; every node written as it is in the base; the circuit written and then
#: all else; what is outside of the circuit written; the circuit written.
EMPTY, FULL, HALVES, KEEP, CUT = "@empty", "@full", "@halves", "@keep", "@cut"
#: How many random circuits of the same size stand beside each, and how many subsets K are tried for completeness.
RANDOM, SUBSETS = 20, 12
#: Of how many nodes of a circuit the effect is looked at, at the most.
MOST_NODES = 64


def random_run(number: int) -> str:
    """The run with a random circuit in the place of the circuit."""
    return f"@random {number}"


def kept_without(number: int) -> str:
    """The circuit alone, without the subset K of this number."""
    return f"@keep without {number}"


def cut_subset(number: int) -> str:
    """The whole network without the subset K of this number."""
    return f"@cut subset {number}"


def kept_without_node(number: int) -> str:
    """The circuit alone, without its node of this number."""
    return f"@keep without node {number}"


def half_without(number: int, node: bool) -> str:
    """The circuit alone without a random half, and without a node as well."""
    return f"@keep without half {number}" + (" and node" if node else "")


@dataclass(frozen=True)
class OfCircuit(CellScore):
    """A score of a circuit for the metric ``pair``. ``outside``: the patched run writes what is outside of it."""

    pair: Pair
    outside: bool

    @property
    def runs(self) -> tuple[str, ...]:
        """The runs that it is made from."""
        raise NotImplementedError

    def needs(self) -> Iterator[Need]:
        for run in self.runs:
            yield from self.pair.needs(run)

    def change(self, env: Evaluation, one: str, other: str) -> Array:
        """The sum over the pairs of the metric in one run less that in another."""
        return env.total(lambda f: self.pair.of(f, one) - self.pair.of(f, other))


@dataclass(frozen=True)
class Faithfulness(OfCircuit):
    """``(F(C) - A) / (B - A)`` where what is outside of the circuit is written; where the circuit is, ``(P - B) / (A - B)``: how far
    writing it alone goes. ``run`` stands in the place of the patched one."""

    run: str = "patched"

    @property
    def runs(self) -> tuple[str, ...]:
        return (self.run, "base", EMPTY)

    def _ends(self) -> tuple[str, str]:
        return (EMPTY, "base") if self.outside else ("base", EMPTY)

    def evaluate(self, env: Evaluation) -> Array:
        start, end = self._ends()
        return divide(self.change(env, self.run, start), self.change(env, end, start))

    def of(self, run: str) -> Faithfulness:
        """The same of another run."""
        return replace(self, run=run)


@dataclass(frozen=True)
class FaithfulnessPerPair(Faithfulness):
    """The same as a mean of ratios, over the pairs in which the metric differs between the two ends."""

    def evaluate(self, env: Evaluation) -> Array:
        defined = env.total(lambda f: self._ratios(f)[1])
        return divide(env.total(lambda f: self._ratios(f)[0]), defined)

    def _ratios(self, frame: CellData) -> tuple[Array, Array]:
        start, end = self._ends()
        first = self.pair.of(frame, start)
        whole = self.pair.of(frame, end) - first
        return np.where(whole == 0, 0.0, divide(self.pair.of(frame, self.run) - first, whole)), whole != 0

    def count(self, env: Evaluation, cell: int) -> int:
        return int(self._ratios(env.frames[cell])[1].sum())


@dataclass(frozen=True)
class CircuitCurve(AcrossCells):
    """The area under faithfulness (``cpr``), or under its distance from 1 (``cmd``), over the size of the circuits of a sweep
    (Mueller et al. 2025): ``shares`` are the weighted edges of each cell's circuit, as shares of all edges. The empty circuit (0 at
    0) and the full one (1 at 1) are the ends of the curve, which is straight between its points."""

    which: str
    score: Faithfulness
    shares: tuple[float, ...]

    @property
    def parts(self) -> tuple[CellScore | FixedNumber, ...]:
        return (self.score,)

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
class Sufficiency(OfCircuit):
    """``(F(C) - A) / (B - A)``: what is left where all but the circuit is written."""

    @property
    def runs(self) -> tuple[str, ...]:
        return (KEEP, "base", EMPTY)

    def evaluate(self, env: Evaluation) -> Array:
        return divide(self.change(env, KEEP, EMPTY), self.change(env, "base", EMPTY))


@dataclass(frozen=True)
class Necessity(OfCircuit):
    """``(B - F(M without C)) / (B - A)``: what is lost where the circuit alone is written."""

    @property
    def runs(self) -> tuple[str, ...]:
        return (CUT, "base", EMPTY)

    def evaluate(self, env: Evaluation) -> Array:
        return divide(self.change(env, "base", CUT), self.change(env, "base", EMPTY))


@dataclass(frozen=True)
class Completeness(OfCircuit):
    """The largest of ``|F(C without K) - F(M without K)| / |B - A|`` over the subsets K of the circuit that are tried (Wang et
    al. 2023): 0 where the circuit is complete."""

    @property
    def runs(self) -> tuple[str, ...]:
        tried = (run(k) for k in range(SUBSETS) for run in (kept_without, cut_subset))
        return ("base", EMPTY, *tried)

    def evaluate(self, env: Evaluation) -> Array:
        gaps = [self.change(env, kept_without(k), cut_subset(k)) for k in range(SUBSETS)]
        return divide(np.abs(np.stack(gaps)).max(axis=0), np.abs(self.change(env, "base", EMPTY)))


@dataclass(frozen=True)
class Minimality(OfCircuit):
    """The smallest effect of a node: ``|F(C without (K and v)) - F(C without K)| / |B - A|``, for each node v with the larger of K
    empty and K a random half of the circuit (Wang et al. 2023): 0 where a node is not needed. ``nodes``: how many are looked at."""

    nodes: int

    @property
    def runs(self) -> tuple[str, ...]:
        tried = [kept_without_node(n) for n in range(self.nodes)]
        tried += [half_without(n, node) for n in range(self.nodes) for node in (False, True)]
        return (KEEP, "base", EMPTY, *tried)

    def evaluate(self, env: Evaluation) -> Array:
        effects = []
        for n in range(self.nodes):
            alone = np.abs(self.change(env, kept_without_node(n), KEEP))
            half = np.abs(self.change(env, half_without(n, True), half_without(n, False)))
            effects.append(np.maximum(alone, half))
        return divide(np.stack(effects).min(axis=0), np.abs(self.change(env, "base", EMPTY)))


__all__ = [
    "CUT",
    "EMPTY",
    "FULL",
    "HALVES",
    "KEEP",
    "MOST_NODES",
    "RANDOM",
    "SUBSETS",
    "CircuitCurve",
    "Completeness",
    "Faithfulness",
    "FaithfulnessPerPair",
    "Minimality",
    "Necessity",
    "OfCircuit",
    "Sufficiency",
    "cut_subset",
    "half_without",
    "kept_without",
    "kept_without_node",
    "random_run",
]
