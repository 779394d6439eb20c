"""Measures of a whole alignment: causal scrubbing and its like, from runs beside those of the test.

Each row of a test is the reference of one or more runs beside it (:mod:`causal_dsl.planning.alignment_runs`), which stand in
:attr:`~causal_dsl.measures.quantities.Columns.beside` under names that begin as :data:`SCRUBBED` and its like.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.measures.cell_data import CellData
from causal_dsl.measures.evaluation import Evaluation, divide
from causal_dsl.measures.per_cell import CellScore
from causal_dsl.measures.per_pair import ANSWER, Need, Pair
from causal_dsl.measures.quantities import BesideRun, Columns
from causal_dsl.measures.units import SHARE
from causal_dsl.measures.weighted_sums import Array

#: What the runs beside a test are called: one of each of the first three, several of the others, each with what it is about.
SCRUBBED, CARRIED, RANDOM, CONSISTENT, ABSTRACT, RESAMPLED = (
    "scrubbed",
    "carried",
    "random",
    "consistent",
    "abstract",
    "resampled",
)


@dataclass(frozen=True)
class OfAlignment(CellScore):
    """A measure of the runs whose names begin with ``kind``."""

    kind: str

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of runs that it is made from."""
        return (self.kind,)

    @property
    def asked(self) -> Iterator[Need]:
        """The quantities that are read in these runs, with the kind of run in the place of its name."""
        yield self.kind, ANSWER

    def needs(self) -> Iterator[Need]:
        return iter(())  # of the test's own runs it needs nothing

    def runs(self, frame: CellData) -> list[BesideRun]:
        return [one for name, one in frame.columns.beside.items() if name.split(":")[0] == self.kind]

    def exact(self, env: Evaluation) -> bool:
        """Whether its runs are all that can be drawn for each row, with their probabilities."""
        return all(
            one.exact
            for frame in env.frames
            for name, one in frame.columns.beside.items()
            if name.split(":")[0] in self.kinds
        )


@dataclass(frozen=True)
class Agreement(OfAlignment):
    """The share of runs that answer as the causal model says, each kind of run counted alike; ``wrong``: that do not."""

    wrong: bool = False

    def evaluate(self, env: Evaluation) -> Array:
        whole = env.total(lambda frame: np.ones(frame.n))  # added up in the same order: where all are right it is 1
        shares = divide(env.total(self.of_rows), whole)
        return 1 - shares if self.wrong else shares

    def of_rows(self, frame: CellData) -> Array:
        """For each row of the test, the share of its runs that answer right, ``[n]``."""
        runs = [self.of_run(frame, one) for one in self.runs(frame)]
        return np.mean(runs, axis=0) if runs else np.full(frame.n, np.nan)

    @staticmethod
    def of_run(frame: CellData, one: BesideRun) -> Array:
        """The same of one of the runs."""
        right = frame.accepted.right(one.columns[ANSWER], one.expected)
        found = one.over_rows(right.astype(np.float64))
        return found if frame.rows is None else found[frame.rows]


@dataclass(frozen=True)
class RecoveredMetric(OfAlignment):
    """``(E m(run) - E m(random)) / (E m(base) - E m(random))``, with the answers of the reference in ``m`` (Chan et al. 2022)."""

    pair: Pair

    @property
    def kinds(self) -> tuple[str, ...]:
        return (self.kind, RANDOM)

    @property
    def asked(self) -> Iterator[Need]:
        for kind in self.kinds:
            yield from self.pair.needs(kind)

    def needs(self) -> Iterator[Need]:
        yield from self.pair.needs("base")

    def evaluate(self, env: Evaluation) -> Array:
        start = env.total(lambda f: self._of_rows(f, RANDOM))
        moved = env.total(lambda f: self._of_rows(f, self.kind)) - start
        return divide(moved, env.total(lambda f: self.pair.of(f, "base")) - start)

    def _of_rows(self, frame: CellData, kind: str) -> Array:
        one = next((one for name, one in frame.columns.beside.items() if name.split(":")[0] == kind), None)
        if one is None:
            return np.full(frame.n, np.nan)
        inner = CellData(Columns(one.columns), one.expected, accepted=frame.accepted)
        found = one.over_rows(self.pair.of(inner, "base"))
        return found if frame.rows is None else found[frame.rows]


def scrubbed(run: str) -> Agreement:
    return Agreement("scrubbed", SHARE, SCRUBBED)


def carried(run: str) -> Agreement:
    return Agreement("carried", SHARE, CARRIED)


def local_consistency(run: str) -> Agreement:
    return Agreement("local_consistency", SHARE, CONSISTENT)


def abstraction_error(run: str) -> Agreement:
    return Agreement("abstraction_error", SHARE, ABSTRACT, wrong=True)


def abstraction_error_resampled(run: str) -> Agreement:
    return Agreement("abstraction_error_resampled", SHARE, RESAMPLED, wrong=True)


__all__ = [
    "ABSTRACT",
    "CARRIED",
    "CONSISTENT",
    "RANDOM",
    "RESAMPLED",
    "SCRUBBED",
    "Agreement",
    "OfAlignment",
    "RecoveredMetric",
    "abstraction_error",
    "abstraction_error_resampled",
    "carried",
    "local_consistency",
    "scrubbed",
]
