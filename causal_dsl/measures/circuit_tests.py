"""The three idealised hypothesis tests of a circuit (Shi et al. 2024), as scores whose value is a p-value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.measures.cell_data import CellData
from causal_dsl.measures.circuit_run_names import (
    CUT,
    INFLATED,
    KEEP,
    MOST_NODES,
    inflated,
    kept_without_node,
)
from causal_dsl.measures.evaluation import Evaluation
from causal_dsl.measures.hypothesis_tests import Tested, equivalence, independence, minimality
from causal_dsl.measures.of_circuits import OfCircuit
from causal_dsl.measures.weighted_sums import Array

#: Random orders that HSIC is compared with: as many for a circuit as for each random one, since the least p-value depends on them.
_PERMUTATIONS = 999
#: Differences of less than this share of the largest number are rounding, and count as none.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class CircuitTest(OfCircuit):
    """A null hypothesis about a circuit. Its score is a p-value: pairs count alike, whatever their weights, and are not resampled."""

    relative: ClassVar[bool] = False
    resampled: ClassVar[bool] = False

    def tested(self, frame: CellData, cell: Mapping[str, Any]) -> tuple[Tested, ...]:
        """The tests that it is made of: one, or one for each member; none where the metric is not a number in all pairs."""
        raise NotImplementedError

    @property
    def null(self) -> str:
        """The null hypothesis, in words."""
        raise NotImplementedError

    def evaluate(self, env: Evaluation) -> Array:
        values = [self._p(frame, cell) for frame, cell in zip(env.frames, env.cells, strict=True)]
        return np.tile(np.asarray(values, dtype=np.float64), (env.count, 1))

    def _p(self, frame: CellData, cell: Mapping[str, Any]) -> float:
        tested = self.tested(frame, cell) if frame.n else ()
        return min(1.0, len(tested) * min(one.p for one in tested)) if tested else float("nan")

    def least(self, frame: CellData, *runs: str) -> float:
        """The least difference of the metric between some runs that is no rounding."""
        return _ROUNDING * max(float(np.abs(self.pair.of(frame, self.run(run))).max(initial=0.0)) for run in runs)

    def whole(self, frame: CellData, *runs: str) -> bool:
        """Whether the metric is a finite number in all pairs of some runs."""
        return all(bool(np.isfinite(self.pair.of(frame, self.run(run))).all()) for run in runs)


@dataclass(frozen=True)
class EquivalenceTest(CircuitTest):
    """The circuit alone does better than the whole network in half of the pairs, up to ``epsilon``."""

    epsilon: float

    @property
    def own(self) -> tuple[str, ...]:
        return (KEEP, "base")

    @property
    def null(self) -> str:
        return f"the circuit alone scores more than the network in half of the pairs, give or take {self.epsilon:g}"

    def tested(self, frame: CellData, cell: Mapping[str, Any]) -> tuple[Tested, ...]:
        if not self.whole(frame, *self.own):
            return ()
        gaps, least = self.gap(frame, KEEP, "base"), self.least(frame, *self.own)
        return (equivalence(np.where(np.abs(gaps) <= least, 0.0, gaps), self.epsilon),)


@dataclass(frozen=True)
class IndependenceTest(CircuitTest):
    """Whether what the network gives without the circuit is independent of what it gives with it."""

    @property
    def own(self) -> tuple[str, ...]:
        return (CUT, "base")

    @property
    def null(self) -> str:
        return "the score of the network without the circuit is independent of that of the network"

    def tested(self, frame: CellData, cell: Mapping[str, Any]) -> tuple[Tested, ...]:
        if not self.whole(frame, *self.own):
            return ()
        least = self.least(frame, *self.own)
        numbers = [self.pair.of(frame, self.run(run)) for run in ("base", CUT)]
        one, other = (np.zeros(frame.n) if np.ptp(own) <= least else own for own in numbers)
        return (independence(one, other, _PERMUTATIONS),)


@dataclass(frozen=True)
class MinimalityTest(CircuitTest):
    """Each member of the circuit does more than a random one in a circuit that is inflated by a random path. p is multiplied by how many
    members are looked at (Bonferroni). Random circuits are what it compares with."""

    quantile: float
    #: of each cell, how many members its circuit has
    counts: tuple[tuple[frozenset[tuple[str, Any]], int], ...]

    beside: ClassVar[bool] = False

    @property
    def own(self) -> tuple[str, ...]:
        ends = (inflated(j, without) for j in range(INFLATED) for without in (False, True))
        most = min(MOST_NODES, max(count for _, count in self.counts))
        return (KEEP, *map(kept_without_node, range(most)), *ends)

    @property
    def null(self) -> str:
        return f"each member does more than a random one of an inflated circuit with a probability of at least {self.quantile:g}"

    def tested(self, frame: CellData, cell: Mapping[str, Any]) -> tuple[Tested, ...]:
        others = [j for j in range(INFLATED) if inflated(j, False) in frame.columns.sources]
        count = min(MOST_NODES, dict(self.counts)[frozenset(cell.items())])
        tried = [(KEEP, kept_without_node(n)) for n in range(count)]
        more = [(inflated(j, False), inflated(j, True)) for j in others]
        if not count or not others or not self.whole(frame, *(run for both in (*tried, *more) for run in both)):
            return ()
        least = self.least(frame, KEEP)
        effects, random = ([self._effect(frame, both, least) for both in runs] for runs in (tried, more))
        return tuple(minimality(effects, random, self.quantile))

    def _effect(self, frame: CellData, both: tuple[str, str], least: float) -> float:
        """The mean size of the difference of two runs; 0 where it is rounding."""
        found = float(np.abs(self.gap(frame, *both)).mean())
        return found if found > least else 0.0


__all__ = ["CircuitTest", "EquivalenceTest", "IndependenceTest", "MinimalityTest"]
